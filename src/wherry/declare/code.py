"""The files of the code layer: the project's folder without what must not, or should not, be in an image.

Rules, in this order: models have layers of their own; litter (.git, .venv, caches, wherry's own files) and secrets never
enter; then ``code.exclude``; then .dockerignore, or where there is none every .gitignore; then ``code.include``. A file
that ``code.include`` names without a wildcard wins over an ignore file. It refuses a secret that ``code.include`` asks
for, a symlink out of the project, names that are not UTF-8, and what is neither file, folder nor symlink.

Contents are opened only where a name does not tell whether it is a secret. Imports stay lean: this is part of the 0.1 s
rebuild, which decides by what stat says of each file.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from operator import attrgetter
from pathlib import Path

from wherry.declare.ignore import DockerRules, GitRules, compile_patterns
from wherry.declare.secret_files import find_tokens, holds_secret, is_litter, is_secret_name
from wherry.errors import DeclarationError
from wherry.model.declaration import CodeSelection, Declaration

_IGNORE_LIMIT = 4 << 20
_LEAVE_OUT = "leave it out: code = { exclude = [%s] } in wherry.toml, or a line in .dockerignore"


class CodeKind(Enum):
    FILE = "file"
    SYMLINK = "symlink"


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeFile:
    """`path` is POSIX, relative to the project; `state` is lstat's; `link` is a symlink's target, relative to its folder."""

    path: str
    location: str  # where it lies on this machine
    state: os.stat_result
    link: str | None = None

    @property
    def kind(self) -> CodeKind:
        return CodeKind.FILE if self.link is None else CodeKind.SYMLINK

    @property
    def source(self) -> Path:
        return Path(self.location)

    @property
    def mode(self) -> int:
        """0o644, or 0o755 where the owner may execute it: nothing else of a mode goes into an image."""
        if self.link is not None:
            return 0o777
        return 0o755 if self.state.st_mode & 0o100 else 0o644


def code_files(declaration: Declaration) -> tuple[CodeFile, ...]:
    """The files of the code layer, sorted by path."""
    return list_code(declaration.root, declaration.code, (model.path for model in declaration.models))


def list_code(root: Path, selection: CodeSelection, models: Iterable[str]) -> tuple[CodeFile, ...]:
    """`code_files` of a project's folder, without the paths of its models."""
    return survey_code(root, selection, models)[0]


def survey_code(root: Path, selection: CodeSelection, models: Iterable[str]) -> tuple[tuple[CodeFile, ...], tuple[str, ...]]:
    """The files of the code layer, and the paths that are left out because they look like secrets."""
    walk = _Walk(root, selection, models)
    files = sorted((_describe(walk.root, path, entry) for path, entry in walk.entries()), key=attrgetter("path"))
    return tuple(files), tuple(sorted(walk.secrets))


def find_secrets(declaration: Declaration) -> tuple[str, ...]:
    """Paths that would be in the code layer, but are left out because they look like secrets; to be told to the author."""
    walk = _Walk(declaration.root, declaration.code, (model.path for model in declaration.models))
    for _ in walk.entries():
        pass
    return tuple(sorted(walk.secrets))


def list_tokens(files: Iterable[CodeFile]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Files of the code layer that hold secrets, with their kinds; to be told to the author, for they go into the image."""
    for file in files:
        if file.link is None:
            try:
                found = find_tokens(file.location)
            except OSError as error:
                raise _unreadable(file.path, error) from error
            if found:
                yield file.path, found


@dataclass(slots=True)
class _Folder:
    """A folder to look into: its path with a slash, the .gitignore rules above it, and what its own match means below."""

    path: str
    rules: tuple[tuple[int, GitRules], ...]
    included: bool
    ignored: bool


class _Walk:
    """One walk over the folder. `secrets` fills while `entries` runs."""

    def __init__(self, root: Path, selection: CodeSelection, models: Iterable[str]) -> None:
        self.root = os.fspath(root)
        self.models = frozenset(models)
        self.exclude = compile_patterns(selection.exclude)
        self.include = compile_patterns(selection.include)
        self.named = frozenset(_literal(pattern) for pattern in selection.include) - {""}
        asked = [pattern for pattern in selection.include if not pattern.endswith("/") and pattern.rpartition("/")[2].strip("*?.")]
        self.asked = compile_patterns(asked)
        self.secrets: list[str] = []
        lines = _read_lines(os.path.join(self.root, ".dockerignore"), ".dockerignore")  # noqa: PTH118
        self.docker = None if lines is None else DockerRules(lines)

    def entries(self) -> Iterator[tuple[str, os.DirEntry[str]]]:
        """Files and symlinks of the code layer, in no particular order."""
        waiting = [_Folder("", (), self.include is None, False)]
        while waiting:
            folder = waiting.pop()
            for entry in self._scan(folder):
                path = folder.path + entry.name
                if not path.isascii():
                    _check_name(path)
                if path in self.models:
                    continue
                is_folder = entry.is_dir(follow_symlinks=False)
                full = f"{path}/" if is_folder else path
                if self.exclude is not None and self.exclude.match(full):
                    continue
                left_out = (folder.ignored or self._is_ignored(full, folder.rules)) and path not in self.named
                inside = folder.included or (self.include is not None and self.include.match(full) is not None)
                if is_folder:
                    if self._may_enter(path, entry, left_out, inside):
                        waiting.append(_Folder(full, folder.rules, inside, left_out and self.docker is None))
                elif inside and not left_out and not self._is_secret(path, entry):
                    yield path, entry

    def _may_enter(self, path: str, entry: os.DirEntry[str], left_out: bool, inside: bool) -> bool:
        if self._is_secret(path, entry, left_out=left_out or not inside):
            return False
        return not left_out or self._may_hold(f"{path}/")

    def _scan(self, folder: _Folder) -> list[os.DirEntry[str]]:
        """What lies in a folder, without litter; nothing where it is somebody's environment, under whatever name."""
        try:
            with os.scandir(os.path.join(self.root, folder.path)) as listing:  # noqa: PTH118
                found = [entry for entry in listing if not is_litter(entry.name)]
        except OSError as error:
            raise _unreadable(folder.path.rstrip("/") or ".", error) from error
        names = {entry.name for entry in found}
        if "pyvenv.cfg" in names or ("conda-meta" in names and folder.path):
            return []
        if self.docker is None and ".gitignore" in names:
            lines = _read_lines(os.path.join(self.root, folder.path, ".gitignore"), f"{folder.path}.gitignore")  # noqa: PTH118
            folder.rules = (*folder.rules, (len(folder.path), GitRules(lines or ())))
        return found

    def _is_ignored(self, path: str, rules: tuple[tuple[int, GitRules], ...]) -> bool:
        if self.docker is not None:
            return self.docker.ignores(path)
        for depth, rule in reversed(rules):
            decided = rule.decide(path[depth:])
            if decided is not None:
                return decided
        return False

    def _may_hold(self, folder: str) -> bool:
        """Whether something below an ignored folder may come back."""
        if any(path.startswith(folder) for path in self.named):
            return True
        return self.docker is not None and self.docker.may_hold_exception(folder)

    def _is_secret(self, path: str, entry: os.DirEntry[str], *, left_out: bool = False) -> bool:
        try:
            secret = is_secret_name(path) or (entry.is_file(follow_symlinks=False) and holds_secret(entry.name, entry.path))
        except OSError as error:
            raise _unreadable(path, error) from error
        if not secret:
            return False
        if self.asked is not None and self.asked.match(path):
            raise DeclarationError(
                f"{_shown(path)} looks like a secret and never enters an image",
                where="code.include",
                hint="remove it from include; hand secrets over when the image runs: wherry run --secret, or -v",
            )
        if not left_out:
            self.secrets.append(path)
        return True


def _describe(root: str, path: str, entry: os.DirEntry[str]) -> CodeFile:
    try:
        state = entry.stat(follow_symlinks=False)
        if stat.S_ISLNK(state.st_mode):
            target = _link_target(root, path, os.readlink(entry.path))  # noqa: PTH115 (pathlib rewrites targets)
            return CodeFile(path=path, location=entry.path, state=state, link=target)
    except OSError as error:
        raise _unreadable(path, error) from error
    if not stat.S_ISREG(state.st_mode):
        raise DeclarationError("neither a file, a folder nor a symlink", where=_shown(path), hint=_LEAVE_OUT % f'"{_shown(path)}"')
    if not os.access(entry.path, os.R_OK):
        raise _unreadable(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
    return CodeFile(path=path, location=entry.path, state=state)


def _link_target(root: str, path: str, written: str) -> str:
    """A symlink's target relative to its folder; it has to stay in the project, by its words and in truth."""
    folder = posixpath.dirname(path)
    real_root = os.path.realpath(root)
    there = os.path.normpath(os.path.join(root, folder, written))  # noqa: PTH118
    truth = os.path.realpath(os.path.join(root, folder, written))  # noqa: PTH118
    for base, place in ((os.path.normpath(root), there), (real_root, truth)):
        if place != base and not place.startswith(base.rstrip("/") + "/"):
            raise DeclarationError(
                f"the symlink leads out of the project, to {_shown(written)}",
                where=_shown(path),
                hint="copy what it points to into the project, or " + _LEAVE_OUT % f'"{_shown(path)}"',
            )
    target = posixpath.relpath(there, posixpath.join(os.path.normpath(root), folder)) if written.startswith("/") else written
    _check_name(target)
    return target


def _literal(pattern: str) -> str:
    """The path that an include pattern names without a wildcard; empty for one with wildcards."""
    if any(char in pattern for char in "*?[\\"):
        return ""
    return posixpath.normpath(pattern).strip("/")


def _read_lines(file: str, shown: str) -> list[str] | None:
    """The lines of an ignore file; None when there is none. Bytes that are not UTF-8 match file names bytewise."""
    try:
        with open(file, "rb") as opened:  # noqa: PTH123 (pathlib costs time here)
            data = opened.read(_IGNORE_LIMIT + 1)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None
    except OSError as error:
        raise _unreadable(shown, error) from error
    if len(data) > _IGNORE_LIMIT:
        raise DeclarationError(f"larger than {_IGNORE_LIMIT >> 20} MiB", where=shown)
    return os.fsdecode(data.removeprefix(b"\xef\xbb\xbf")).split("\n")


def _check_name(path: str) -> None:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        raise DeclarationError(
            "the name is not UTF-8: it would read differently on other machines",
            where=_shown(path),
            hint="rename it, or leave it out",
        ) from None


def _unreadable(path: str, error: OSError) -> DeclarationError:
    return DeclarationError(f"cannot be read: {error.strerror}", where=_shown(path), hint=_LEAVE_OUT % f'"{_shown(path)}"')


def _shown(path: str) -> str:
    """A path for a message: bytes that are no text are escaped, and nothing breaks the line."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
