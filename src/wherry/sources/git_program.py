"""git, driven as a program: the files of one commit, as a tar of our own (docs/spec/builds.md, "The source archive").

A commit is fetched into an empty repository, so that no configuration, hook or filter of anybody's acts on it; its tree is read
object by object. git itself checks that objects are what their names say. Refused: submodules, paths that leave the tree, and
addresses that are options or commands. A login in an address of HTTP goes by git's environment, and stands in no message.
"""

from __future__ import annotations

import base64
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from wherry.errors import DeclarationError, EngineError, LockError, TransferError
from wherry.formats.tar import TarEntry, add_parents, stream_tar, symlink_entry
from wherry.formats.untar import plain_path
from wherry.formats.urls import strip_login

_TIMEOUT = 600.0
_CHUNK = 1 << 18
_MAX_LINK = 4096
_SCHEME = re.compile(r"(?:https?|ssh|git|file)://[^\s-]", re.IGNORECASE)
_USER = re.compile(r"(?<=://)[^/\s@`]+@")
_NETWORK = ("Could not resolve host", "Connection refused", "timed out", "unable to access", "early EOF", "Connection reset")
_OPTIONS = (
    "-c", "core.hooksPath=/dev/null", "-c", "protocol.ext.allow=never", "-c", "protocol.file.allow=always",
    "-c", "fetch.fsckObjects=true", "-c", "gc.auto=0", "-c", "core.askPass=",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Object:
    mode: str
    name: str
    size: int
    path: str


def archive_commit(url: str, commit: str, sink: BinaryIO, env: Mapping[str, str], *, offline: bool) -> None:
    """Write the tar of a commit's files to `sink`. `commit` is its name in full."""
    where = strip_login(url)
    if not _SCHEME.match(url):
        raise DeclarationError("not an address that git is asked for here", where=where, hint="git+https://… or git+ssh://…")
    if offline and not url.lower().startswith("file:"):
        raise TransferError("this would need the network, and --offline forbids it", where=where, hint="once without --offline")
    with tempfile.TemporaryDirectory(prefix="wherry-git-") as scratch:
        url, login = split_login(url)
        git = _Git(Path(scratch), {**env, **login}, where)
        git.ask("init", "--quiet", "--bare", *(["--object-format=sha256"] if len(commit) == 64 else []), ".")
        git.fetch(url, commit)
        objects = [_parse_line(line, where) for line in git.ask("ls-tree", "-r", "-l", "-z", commit).split(b"\0") if line]
        with git.read_objects() as reading:
            for piece in stream_tar(add_parents(_entries(reading, objects))):
                sink.write(piece)


def split_login(url: str) -> tuple[str, dict[str, str]]:
    """The address as it may stand on a command line, and variables that give git its login (GIT_CONFIG_COUNT)."""
    parts = urlsplit(url)
    if parts.scheme.lower() not in ("http", "https") or parts.username is None:
        return url, {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    header = f"Authorization: Basic {base64.b64encode(pair.encode()).decode()}"
    return strip_login(url), {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "http.extraHeader", "GIT_CONFIG_VALUE_0": header}


class _Git:
    def __init__(self, folder: Path, env: Mapping[str, str], where: str) -> None:
        kept = {name: value for name, value in env.items() if not name.startswith("GIT_") or name.startswith("GIT_CONFIG_")}
        self._env = {**kept, "GIT_TERMINAL_PROMPT": "0", "GIT_DIR": str(folder), "LC_ALL": "C"}
        self._folder = folder
        self._where = where

    def ask(self, *arguments: str) -> bytes:
        done = self._run(*arguments)
        if done.returncode != 0:
            raise self._explain(done.stderr)
        return done.stdout

    def fetch(self, url: str, commit: str) -> None:
        """The commit alone; a server that does not give single commits is asked for all its branches and tags."""
        if self._run("fetch", "--quiet", "--no-tags", "--depth=1", "--", url, commit).returncode == 0:
            return
        self.ask("fetch", "--quiet", "--tags", "--", url, "+refs/heads/*:refs/remotes/origin/*")
        if self._run("cat-file", "-e", f"{commit}^{{commit}}").returncode != 0:
            raise LockError(f"has no commit {commit}", where=self._where)

    def read_objects(self) -> subprocess.Popen[bytes]:
        command = ["git", *_OPTIONS, "cat-file", "--batch"]
        return subprocess.Popen(command, cwd=self._folder, env=self._env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        command = ["git", *_OPTIONS, *arguments]
        try:
            return subprocess.run(
                command,
                cwd=self._folder,
                env=self._env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_TIMEOUT,
                check=False,
            )
        except FileNotFoundError:
            raise EngineError("git is not installed", hint="apt install git") from None
        except subprocess.TimeoutExpired:
            raise TransferError(f"git gave no answer within {_TIMEOUT:.0f} s", where=self._where) from None

    def _explain(self, stderr: bytes) -> LockError | TransferError:
        text = _USER.sub("", stderr.decode("utf-8", "replace"))
        lines = [line.removeprefix("fatal: ") for line in text.splitlines() if line.strip()]
        what = f"git: {lines[0] if lines else 'failed and did not say why'}"[:300]
        if any(sign in text for sign in _NETWORK):
            return TransferError(what, where=self._where, hint="the same command again, later")
        return LockError(what, where=self._where)


def _parse_line(line: bytes, where: str) -> _Object:
    """``MODE TYPE OBJECT SIZE\\tPATH`` of ls-tree."""
    head, _, raw = line.partition(b"\t")
    mode, kind, name, size = head.decode("ascii").split()
    try:
        path = plain_path(raw.decode("utf-8"), where)
    except UnicodeDecodeError:
        raise LockError(f"a name that is not UTF-8: {raw[:80]!r}", where=where) from None
    if kind != "blob":
        raise LockError(f"{path} is a submodule, and those are not fetched", where=where, hint="a release that has its files")
    return _Object(mode, name, int(size), path)


def _entries(reading: subprocess.Popen[bytes], objects: list[_Object]) -> Iterator[TarEntry]:
    """The files, each read when its turn comes, and the links, read at once."""
    for found in objects:
        path = f"source/{found.path}"
        if found.mode == "120000":
            if found.size > _MAX_LINK:
                raise LockError(f"{found.path}: a link of {found.size} bytes")
            yield symlink_entry(path, os.fsdecode(b"".join(_read_object(reading, found))))
        else:
            mode = 0o755 if found.mode == "100755" else 0o644
            yield TarEntry(path=path, mode=mode, size=found.size, content=partial(_read_object, reading, found))


def _read_object(reading: subprocess.Popen[bytes], found: _Object) -> Iterator[bytes]:
    """Ask the running `git cat-file --batch` for one object, and read all of its answer."""
    assert reading.stdin is not None  # noqa: S101 - tells the type checker
    assert reading.stdout is not None  # noqa: S101
    reading.stdin.write(f"{found.name}\n".encode())
    reading.stdin.flush()
    header = reading.stdout.readline(200).split()
    if header[1:] != [b"blob", str(found.size).encode()]:
        raise LockError(f"git gives no {found.path}")
    left = found.size
    while left and (piece := reading.stdout.read(min(left, _CHUNK))):
        left -= len(piece)
        yield piece
    reading.stdout.read(1)  # the line's end
