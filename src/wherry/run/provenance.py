"""Where a job's code stands: git's commit, and a digest of whatever differs from it below the project's folder.

git is asked and changes nothing: no lock is taken, no hook, filter, pager or external diff runs that asking would not need.
A folder that is in no repository, or a machine without git, has neither commit nor digest.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_TIMEOUT = 120.0
_QUIET = ("--no-optional-locks", "-c", "core.fsmonitor=false", "-c", "core.quotePath=false")
_READ_UP_TO = 16 << 20  # an untracked file that is larger counts by name and size


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """`dirty` is None where nothing differs from the commit."""

    commit: str | None = None
    dirty: str | None = None


def read_provenance(root: Path, env: Mapping[str, str]) -> Provenance:
    """Ask git about the project at `root`."""
    told = _ask(root, env, "status", "--porcelain=v2", "--branch", "-z", "--untracked-files=all", "--", ".")
    if told is None:
        return Provenance()
    lines = told.split(b"\0")
    commits = [line.rpartition(b" ")[2].decode() for line in lines if line.startswith(b"# branch.oid ")]
    commit = commits[0] if commits and commits[0] != "(initial)" else None
    changed = [line for line in lines if line and not line.startswith(b"# ")]
    if not changed:
        return Provenance(commit=commit)
    untracked = [os.fsdecode(line[2:]) for line in changed if line.startswith(b"? ")]
    return Provenance(commit=commit, dirty=_digest_changes(root, env, commit, untracked))


def _digest_changes(root: Path, env: Mapping[str, str], commit: str | None, untracked: list[str]) -> str:
    digest = hashlib.sha256()
    against = ("HEAD",) if commit else ("--cached",)
    options = ("--binary", "--no-ext-diff", "--no-textconv", "--no-color", "--full-index")
    digest.update(_ask(root, env, "diff", *options, *against, "--", ".") or b"")
    top = Path(os.fsdecode((_ask(root, env, "rev-parse", "--show-toplevel") or b"").rstrip(b"\n")) or root)
    for name in sorted(untracked):
        digest.update(f"\0{name}\0".encode("utf-8", "surrogateescape") + _digest_file(top / name))
    return f"sha256:{digest.hexdigest()}"


def _digest_file(path: Path) -> bytes:
    try:
        size = path.lstat().st_size
        if path.is_symlink():
            return os.fsencode(path.readlink())
        return hashlib.sha256(path.read_bytes()).digest() if size <= _READ_UP_TO else str(size).encode()
    except OSError:
        return b"unreadable"


def _ask(root: Path, env: Mapping[str, str], *words: str) -> bytes | None:
    kept = {name: value for name, value in env.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", *_QUIET, *words],
            cwd=root,
            env={**kept, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
