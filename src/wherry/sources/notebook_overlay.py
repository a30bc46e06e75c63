"""JupyterLab beside a project's environment, never in it: an environment of its own that sees the project's packages.

What it holds is locked apart, in `wherry.lock.notebook`, which like the lock is no part of any image. Rules: a distribution
that the project has is the project's, in its version, and is not brought again; everything else is pinned by sha256 and
installed from wheels of the configured indexes. Packages that do not go together with the project's are refused.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from wherry.errors import LockError, StoreError
from wherry.model.digest import Digest
from wherry.sources.pip_configuration import UvSettings
from wherry.sources.uv_program import run_uv
from wherry.store.posix import explain_os_errors, hold_lock, write_atomically

NOTEBOOK_LOCK = "wherry.lock.notebook"
_WANTED = ("jupyterlab>=4", "ipykernel>=6")
_HEAD = "# JupyterLab beside the packages of wherry.lock. Written by `wherry notebook`; never part of an image.\n"
_BESIDE = "# beside: "
_MADE = "wherry-notebook.json"
_ASK = """
import importlib.metadata, json, sysconfig
site = sysconfig.get_path("purelib")
have = {one.metadata["Name"]: one.version for one in importlib.metadata.distributions(path=[site]) if one.metadata["Name"]}
print(json.dumps({"site": site, "have": have}))
"""


def bring_overlay(root: Path, prefix: Path, settings: UvSettings, say: Callable[[str], None]) -> Path:
    """The prefix of the environment with JupyterLab, made or made anew where the lock or the project's packages changed."""
    site, have = _ask_environment(prefix)
    overlay = root / ".wherry/notebook"
    overlay.parent.mkdir(parents=True, exist_ok=True)
    with hold_lock(overlay.with_name("notebook.lock"), exclusive=True):
        text = _lock_overlay(root, prefix, have, settings, say)
        made = {"lock": str(Digest.of(text.encode())), "prefix": str(prefix)}
        if not _is_made(overlay / _MADE, made):
            _fill_overlay(root, overlay, prefix, site, settings, say)
            with explain_os_errors(overlay):
                write_atomically(overlay / _MADE, json.dumps(made).encode())
    return overlay


def _ask_environment(prefix: Path) -> tuple[str, dict[str, str]]:
    """Where its packages lie, and their versions by normalised name."""
    argv = [str(prefix / "bin/python"), "-I", "-c", _ASK]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StoreError("its Python does not start", where=str(prefix), hint="wherry env create")
    told = json.loads(done.stdout)
    return str(told["site"]), {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in told["have"].items()}


def _lock_overlay(root: Path, prefix: Path, have: dict[str, str], settings: UvSettings, say: Callable[[str], None]) -> str:
    """The text of the lock; a former one is kept where it was made beside the same packages, else as far as it fits."""
    place, beside = root / NOTEBOOK_LOCK, f"{_BESIDE}{_digest_of(prefix, have)}\n"
    former = place.read_text(encoding="utf-8") if place.is_file() else ""
    if beside in former.splitlines(keepends=True)[:3]:
        return former
    work = root / ".wherry"
    constraints, request, answer = (work / f"notebook-{name}.txt" for name in ("constraints", "request", "answer"))
    with explain_os_errors(work):
        constraints.write_text("".join(f"{name}=={version}\n" for name, version in sorted(have.items())), encoding="utf-8")
        request.write_text("".join(f"{wanted}\n" for wanted in _WANTED), encoding="utf-8")
        answer.write_text(former, encoding="utf-8")
    options = [
        "--quiet",
        "--generate-hashes",
        "--no-header",
        "--no-annotate",
        "--only-binary=:all:",
        "--python",
        f"{prefix}/bin/python",
    ]
    options += [f"--no-emit-package={name}" for name in have]
    words = ["pip", "compile", *options, "-c", str(constraints), "-o", str(answer), str(request)]
    try:
        run_uv(words, settings, root, offline=False)
        pinned = "".join(line for line in answer.read_text(encoding="utf-8").splitlines(keepends=True) if not line.startswith("#"))
    except LockError as error:
        raise LockError(f"JupyterLab does not go together with the project's packages: {error.what}", hint=error.hint) from error
    finally:
        for path in (constraints, request, answer):
            path.unlink(missing_ok=True)
    text = f"{_HEAD}{beside}{pinned}"
    with explain_os_errors(place):
        write_atomically(place, text.encode())
    say(f"wrote {place}")
    return text


def _digest_of(prefix: Path, have: dict[str, str]) -> Digest:
    """What the overlay's lock depends on: the project's packages, and for which Python they are."""
    minor = next((path.name for path in sorted((prefix / "bin").glob("python3.*")) if path.name[8:].isdigit()), "")
    return Digest.of(json.dumps([minor, sys.platform, sorted(have.items())]).encode())


def _is_made(place: Path, made: dict[str, str]) -> bool:
    try:
        return bool(json.loads(place.read_bytes()) == made)
    except (OSError, ValueError):
        return False


def _fill_overlay(root: Path, overlay: Path, prefix: Path, site: str, settings: UvSettings, say: Callable[[str], None]) -> None:
    say("making the environment of JupyterLab, .wherry/notebook")
    (overlay / _MADE).unlink(missing_ok=True)
    run_uv(["venv", "--quiet", "--clear", "--python", f"{prefix}/bin/python", str(overlay)], settings, root, offline=False)
    words = [
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--require-hashes",
        "--only-binary=:all:",
        "--python",
        f"{overlay}/bin/python",
    ]
    run_uv([*words, "-r", str(root / NOTEBOOK_LOCK)], settings, root, offline=False)
    own, _ = _ask_environment(overlay)
    with explain_os_errors(overlay):
        Path(own, "project.pth").write_text(f"import site; site.addsitedir({site!r})\n", encoding="utf-8")
