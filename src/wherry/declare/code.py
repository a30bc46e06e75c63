"""The files of the code layer: the project's folder without what must not, or should not, be in an image.

Rules, in this order: models have layers of their own; litter (.git, .venv, caches, wherry's own files) and secrets never
enter; then ``code.exclude``; then .dockerignore, or where there is none every .gitignore; then ``code.include``. A file
that ``code.include`` names without a wildcard wins over an ignore file. It refuses a secret that ``code.include`` asks
for, a symlink out of the project, names that are not UTF-8, and what is neither file, folder nor symlink.

Two walks share these rules: `list_code` for the layer, `stat_code` for deciding, without reading contents, whether
anything changed. Imports stay lean: this module is part of the 0.1 s rebuild.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from wherry.declare.ignore import DockerRules, GitRules, compile_patterns
from wherry.declare.secret_files import holds_secret, is_litter, is_secret_name
from wherry.errors import DeclarationError
from wherry.model.declaration import CodeSelection, Declaration

_IGNORE_LIMIT = 4 << 20
_LEAVE_OUT = "leave it out: code = { exclude = [%s] } in wherry.toml, or a line in .dockerignore"


class CodeKind(Enum):
    FILE = "file"
    SYMLINK = "symlink"


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeFile:
    """`path` is POSIX, relative to the project; `mode` is 0o644 or 0o755; `target` is a symlink's, relative to its folder."""

    path: str
    kind: CodeKind
    source: Path
    mode: int
    size: int
    target: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeListing:
    """`files` sorted by path; `secrets` are paths that were left out because they look like secrets."""

    files: tuple[CodeFile, ...]
    secrets: tuple[str, ...]


class FileStat(NamedTuple):
    """What changes when a file does. `mode` is the whole st_mode."""

    path: str
    size: int
    mtime_ns: int
    inode: int
    mode: int


def code_files(declaration: Declaration) -> tuple[CodeFile, ...]:
    """The files of the code layer, sorted by path."""
    return list_code(declaration).files


def list_code(declaration: Declaration) -> CodeListing:
    """The files of the code layer, and the secrets that were left out."""
    walk = _Walk(declaration.root, declaration.code, (model.path for model in declaration.models))
    files = [_describe(walk.root, path, entry) for path, entry in walk.entries()]
    return CodeListing(files=tuple(sorted(files, key=lambda file: file.path)), secrets=tuple(sorted(walk.secrets)))


def code_stat_key(declaration: Declaration) -> tuple[FileStat, ...]:
    """`stat_code` of a declaration."""
    return stat_code(declaration.root, declaration.code, (model.path for model in declaration.models))


def stat_code(root: Path, selection: CodeSelection, models: Iterable[str]) -> tuple[FileStat, ...]:
    """The same files as `list_code` gives, sorted, by what stat tells; cheap, and nothing but names is checked."""
    found = []
    for path, entry in _Walk(root, selection, models).entries():
        try:
            about = entry.stat(follow_symlinks=False)
        except OSError as error:
            raise _unreadable(path, error) from error
        found.append(FileStat(path, about.st_size, about.st_mtime_ns, about.st_ino, about.st_mode))
    found.sort()
    return tuple(found)


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
        return self._folder("", (), included=self.include is None, ignored=False)

    def _folder(
        self, folder: str, rules: tuple[tuple[int, GitRules], ...], *, included: bool, ignored: bool
    ) -> Iterator[tuple[str, os.DirEntry[str]]]:
        listing = self._scan(folder)
        names = {entry.name for entry in listing}
        if "pyvenv.cfg" in names or ("conda-meta" in names and folder):
            return  # somebody's environment, under whatever name
        if self.docker is None and ".gitignore" in names:
            lines = _read_lines(os.path.join(self.root, folder, ".gitignore"), f"{folder}.gitignore")  # noqa: PTH118
            rules = (*rules, (len(folder), GitRules(lines or ())))
        for entry in listing:
            if is_litter(entry.name):
                continue
            path = folder + entry.name
            if not path.isascii():
                _check_name(path)
            if path in self.models:
                continue
            is_folder = entry.is_dir(follow_symlinks=False)
            full = f"{path}/" if is_folder else path
            if self.exclude is not None and self.exclude.match(full):
                continue
            named = path in self.named
            left_out = not named and (ignored or self._is_ignored(full, rules))
            inside = included or (self.include is not None and self.include.match(full) is not None)
            if is_folder:
                if self._is_secret(path, entry, left_out=left_out or not inside):
                    continue
                if not left_out or self._may_hold(full):
                    yield from self._folder(full, rules, included=inside, ignored=left_out and self.docker is None)
            elif inside and not left_out and not self._is_secret(path, entry):
                yield path, entry

    def _scan(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(os.path.join(self.root, folder)) as listing:  # noqa: PTH118
                return list(listing)
        except OSError as error:
            raise _unreadable(folder.rstrip("/") or ".", error) from error

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
                hint="remove it from include; hand secrets over when the image runs: wherry run -e NAME, or -v",
            )
        if not left_out:
            self.secrets.append(path)
        return True


def _describe(root: str, path: str, entry: os.DirEntry[str]) -> CodeFile:
    try:
        about = entry.stat(follow_symlinks=False)
        if stat.S_ISLNK(about.st_mode):
            target = _link_target(root, path, os.readlink(entry.path))  # noqa: PTH115 (pathlib rewrites targets)
            return CodeFile(path=path, kind=CodeKind.SYMLINK, source=Path(entry.path), mode=0o777, size=0, target=target)
    except OSError as error:
        raise _unreadable(path, error) from error
    if not stat.S_ISREG(about.st_mode):
        raise DeclarationError("neither a file, a folder nor a symlink", where=_shown(path), hint=_LEAVE_OUT % f'"{_shown(path)}"')
    if not os.access(entry.path, os.R_OK):
        raise DeclarationError(
            "the file cannot be read: permission denied", where=_shown(path), hint=_LEAVE_OUT % f'"{_shown(path)}"'
        )
    mode = 0o755 if about.st_mode & 0o100 else 0o644
    return CodeFile(path=path, kind=CodeKind.FILE, source=Path(entry.path), mode=mode, size=about.st_size)


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
                hint="copy what it points to, name it in models, or " + _LEAVE_OUT % f'"{_shown(path)}"',
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
