"""Reads what a conda package says of itself: ``info/index.json``, ``paths.json``, ``link.json``, and the older lists.

Follows conda-build's formats; packages from before 2017 have `files`, `has_prefix` and `no_link` in place of `paths.json`.
Refused: paths that leave the prefix (absolute ones abort py-rattler's whole process) or have control characters, a path
twice, digests that are none, entry points that would be written elsewhere than to `bin`, documents beyond `MAX_DOCUMENT`.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from wherry.errors import FormatError

MAX_DOCUMENT = 64 << 20
MAX_PLACEHOLDER = 4096
DOCUMENTS = ("info/index.json", "info/paths.json", "info/link.json", "info/files", "info/has_prefix", "info/no_link")

_UNSOUND = "tell its publisher; lock another build"
_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*)", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z0-9_.+!~=-]+")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_ENTRY_POINT = re.compile(r"([A-Za-z0-9_.+-]+)\s*=\s*([A-Za-z_][\w.]*)\s*:\s*([A-Za-z_][\w.]*)")
_LONGEST_REFUSAL = 400  # characters; what is quoted is a stranger's
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")
_KINDS = ("hardlink", "softlink", "directory")
_OLD_PLACEHOLDER = "/opt/anaconda1anaconda2anaconda3"
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPath:
    """A path as `paths.json` has it; the older lists know neither digest nor kind."""

    kind: str = ""
    sha256: str | None = None
    size: int | None = None
    placeholder: str = ""
    binary: bool = False
    no_link: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageIndex:
    name: str
    version: str
    build: str
    subdir: str
    noarch: str
    depends: tuple[str, ...]


def parse_index(data: bytes, file: str) -> PackageIndex:
    """``info/index.json``."""
    where = f"{file}: info/index.json"
    document = _as_table(_load(data, where), where)
    name, version, build = (_text(document, key, where) for key in ("name", "version", "build"))
    if not _NAME.fullmatch(name) or not _WORD.fullmatch(version) or not _WORD.fullmatch(build):
        _refuse(f"is not of a package: {name!r} {version!r} {build!r}", where)
    noarch = document.get("noarch")
    if noarch not in (None, False, True, "python", "generic"):
        _refuse(f"noarch is {noarch!r}", where)
    depends = document.get("depends", [])
    if not isinstance(depends, list) or not all(isinstance(spec, str) for spec in depends):
        _refuse("depends is not a list of specs", where)
    return PackageIndex(
        name=name,
        version=version,
        build=build,
        subdir=str(document.get("subdir") or ""),
        noarch="generic" if noarch is True else noarch or "",
        depends=tuple(depends),
    )


def parse_paths(documents: Mapping[str, bytes], file: str) -> dict[str, ListedPath]:
    """What the package says that it has, by path: from ``info/paths.json``, else from the older lists."""
    if "info/paths.json" in documents:
        where = f"{file}: info/paths.json"
        document = _as_table(_load(documents["info/paths.json"], where), where)
        entries = document.get("paths")
        if document.get("paths_version", 1) != 1 or not isinstance(entries, list):
            _refuse("is of a form that is not known here", where)
        return _collect(entries, lambda entry: _parse_path(entry, where), where)
    if "info/files" not in documents:
        _refuse("lacks info/paths.json", file)
    where = f"{file}: info/files"
    prefixes = _parse_prefixes(documents.get("info/has_prefix", b""), f"{file}: info/has_prefix")
    unlinked = set(_lines(documents.get("info/no_link", b""), f"{file}: info/no_link"))
    plain = ListedPath()

    def read(line: str) -> tuple[str, ListedPath]:
        placeholder, binary = prefixes.get(line, ("", False))
        listed = ListedPath(placeholder=placeholder, binary=binary, no_link=line in unlinked)
        return check_path(line, where), plain if listed == plain else listed

    return _collect(_lines(documents["info/files"], where), read, where)


def parse_link(data: bytes, file: str) -> tuple[str, tuple[str, ...]]:
    """``info/link.json``: which kind of noarch it is, and the entry points."""
    where = f"{file}: info/link.json"
    noarch = _as_table(_load(data, where), where).get("noarch") or {}
    table = _as_table(noarch, where)
    kind, points = table.get("type"), table.get("entry_points") or []
    if kind not in (None, "python", "generic") or not isinstance(points, list):
        _refuse(f"is of a form that is not known here: {kind!r}", where)
    for point in points:
        if not isinstance(point, str) or not _ENTRY_POINT.fullmatch(point.strip()):
            _refuse(f"an entry point that is none: {point!r}", where)
    return kind or "", tuple(" ".join(point.split()) for point in points)


def check_path(path: object, where: str) -> str:
    """A path as it must be: relative, plain, printable, and such that a file system can hold it."""
    if not isinstance(path, str) or not path:
        _refuse("a path that is none", where)
    parts = path.split("/")
    if path.startswith("/") or not {"", ".", ".."}.isdisjoint(parts):
        _refuse(f"a path that leaves the prefix: {path[:200]!r}", where)
    if _CONTROL.search(path) or any(0xD800 <= ord(letter) <= 0xDFFF for letter in path):
        _refuse(f"a path with odd characters: {path[:200]!r}", where)
    if len(path) > 1000 or any(len(part.encode()) > 255 for part in parts):
        _refuse(f"a path that is too long: {path[:60]!r}…", where)
    return path


def _parse_path(entry: object, where: str) -> tuple[str, ListedPath]:
    table = _as_table(entry, where)
    path = check_path(table.get("_path"), where)
    kind, sha256, size = table.get("path_type", "hardlink"), table.get("sha256"), table.get("size_in_bytes")
    if kind not in _KINDS:
        _refuse(f"{path!r} is of the kind {kind!r}", where)
    if sha256 is not None and not (isinstance(sha256, str) and _DIGEST.fullmatch(sha256)):
        _refuse(f"{path!r} has no sha256", where)
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 0):
        _refuse(f"{path!r} has no size", where)
    placeholder, mode = table.get("prefix_placeholder") or "", table.get("file_mode") or "text"
    if mode not in ("text", "binary"):
        _refuse(f"{path!r} is neither text nor binary", where)
    return path, ListedPath(
        kind=kind,
        sha256=sha256,
        size=size,
        placeholder=_check_placeholder(placeholder, path, where),
        binary=bool(placeholder) and mode == "binary",
        no_link=table.get("no_link") is True,
    )


def _parse_prefixes(data: bytes, where: str) -> dict[str, tuple[str, bool]]:
    """``has_prefix``: a path alone (the oldest), or a placeholder, ``text`` or ``binary``, and a path."""
    found: dict[str, tuple[str, bool]] = {}
    for line in _lines(data, where):
        try:
            words = shlex.split(line, posix=False)
        except ValueError:
            words = []
        plain = [word[1:-1] if len(word) > 1 and word[0] == word[-1] == '"' else word for word in words]
        if len(plain) == 3 and plain[1] in ("text", "binary"):
            found[plain[2]] = (_check_placeholder(plain[0], plain[2], where), plain[1] == "binary")
        elif plain:
            found[line.strip('"')] = (_OLD_PLACEHOLDER, False)
        else:
            _refuse(f"cannot be read: {line[:200]!r}", where)
    return found


def _check_placeholder(placeholder: object, path: str, where: str) -> str:
    if not isinstance(placeholder, str) or len(placeholder) > MAX_PLACEHOLDER or "\0" in placeholder or "\n" in placeholder:
        _refuse(f"{path!r} has a placeholder that is none", where)
    return placeholder


def _collect(items: list[Any], read: Callable[[Any], tuple[str, T]], where: str) -> dict[str, T]:
    found: dict[str, T] = {}
    for item in items:
        path, value = read(item)
        if path in found:
            _refuse(f"names {path!r} twice", where)
        found[path] = value
    return found


def _lines(data: bytes, where: str) -> list[str]:
    try:
        return [line for line in data.decode("utf-8").replace("\r\n", "\n").split("\n") if line]
    except UnicodeDecodeError:
        _refuse("is not UTF-8", where)


def _load(data: bytes, where: str) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        _refuse("is not valid JSON", where)


def _as_table(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        _refuse("is of a form that is not known here", where)
    return value


def _text(table: Mapping[str, Any], key: str, where: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value:
        _refuse(f"has no {key}", where)
    return value


def _refuse(what: str, where: str) -> NoReturn:
    raise FormatError(what[:_LONGEST_REFUSAL], where=where, hint=_UNSOUND)
