"""Requirement lines that name a source instead of a release: a commit of git's, a folder, a source archive by address.

Each is taken when wherry.toml's ``allow-build`` has its name and something fixes its content: the commit in full, the archive's
sha256, and for a folder the lock, which is made anew when its files change. Else it is `Refused`, with the line to write.
A folder is one of the author's, given relative to the project. Nothing is run: a folder's name is read from its files.
"""

from __future__ import annotations

import configparser
import posixpath
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

from packaging.utils import InvalidSdistFilename, canonicalize_name, parse_sdist_filename

from wherry.declare.redaction import redact
from wherry.declare.refusals import Refusal
from wherry.errors import DeclarationError
from wherry.model.declaration import Requirement, SourceOrigin
from wherry.model.lock import BuildKind

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_PATH = re.compile(
    r"(?:file:)?(?P<path>\.{1,2}(?:/[^\[\];#]*)?|[^\s\[\];#:@]+/[^\[\];#:@]*)"
    r"(?P<extras>\[[^\]]*\])?(?:\s*;(?P<marker>.*))?"
)
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_SIZE_LIMIT = 1 << 20
_REMOVE = "remove the line: the folder's code goes into the image as it is (PYTHONPATH in [env] for a src/ folder)"


class Refused(Exception):
    """A line that is understood and not taken."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.subject)
        self.refusal = refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedBuilds:
    """What the author allows to be built; folders are looked for below `root`. Without a root none are looked for."""

    root: Path | None = None
    names: frozenset[str] = field(default_factory=frozenset)


def parse_commit(name: str | None, extras: str, url: str, marker: str, where: str, allowed: AllowedBuilds) -> Requirement:
    """``git+https://…@COMMIT#egg=NAME&subdirectory=…``."""
    kind, _, address = url.partition("+")
    parts = urlsplit(address)
    fragment = {key: values[0] for key, values in parse_qs(parts.fragment).items()}
    path, at, commit = parts.path.rpartition("@")
    name = name or fragment.get("egg", "").partition("[")[0] or posixpath.basename(path or parts.path).removesuffix(".git")
    name = canonicalize_name(name) if _NAME.fullmatch(name) else ""
    if kind.lower() != "git" or not name or not address:
        raise Refused(_refusal(name or redact(url), where, "version control is not fixed by a digest", _released(name)))
    if not at or not _COMMIT.fullmatch(commit):
        remedy = f"name the commit (…@ and its 40 hex digits), {say_allowed(name)}; or {_released(name)}"
        raise Refused(_refusal(name, where, "version control is not fixed by a digest", remedy))
    _require_allowed(name, where, "a commit has to be built", allowed)
    subfolder = _plain(fragment.get("subdirectory", ""), where)
    origin = SourceOrigin(
        kind=BuildKind.GIT,
        url=urlunsplit((parts.scheme, parts.netloc, path, "", "")),
        commit=commit,
        subfolder=subfolder,
    )
    return _requirement(name, extras, marker, where, origin)


def parse_archive(
    name: str | None, extras: str, url: str, marker: str, sha256: str, where: str, allowed: AllowedBuilds
) -> Requirement:
    """``NAME @ https://…/NAME-1.0.tar.gz#sha256=…``."""
    parts = urlsplit(url)
    file = unquote(parts.path).rpartition("/")[2]
    if name is None:
        try:
            name = parse_sdist_filename(file)[0]
        except InvalidSdistFilename:
            raise Refused(_refusal(redact(url), where, "its name is not told", "write name @ in front of it")) from None
    name = canonicalize_name(name)
    _require_allowed(name, where, "a source archive has to be built", allowed)
    subfolder = _plain(parse_qs(parts.fragment).get("subdirectory", [""])[0], where)
    origin = SourceOrigin(kind=BuildKind.SDIST, url=url.partition("#")[0], subfolder=subfolder)
    return _requirement(name, extras, marker, where, origin, (f"sha256:{sha256}",))


def is_folder_line(text: str) -> bool:
    """Whether a line gives a path, and nothing but that: ``.``, ``./libs/tool[extra]``, ``file:../tool``."""
    return _PATH.fullmatch(text) is not None


def parse_folder(text: str, where: str, allowed: AllowedBuilds) -> Requirement:
    """A path to a package's source."""
    match = _PATH.fullmatch(text)
    if match is None or allowed.root is None:
        raise Refused(_refusal(_last_part(text), where, "a path is not fixed by a digest", _released("")))
    folder = posixpath.normpath(redact(match["path"].strip()))  # before the slashes go by which a login is known
    return take_folder(folder, match["extras"] or "", (match["marker"] or "").strip(), where, allowed)


def take_folder(folder: str, extras: str, marker: str, where: str, allowed: AllowedBuilds) -> Requirement:
    """The package in a folder, given relative to the project."""
    if allowed.root is None or posixpath.isabs(folder):
        raise Refused(_refusal(redact(folder), where, "a path of one machine", "a path relative to the project"))
    place = allowed.root / folder
    if not any((place / file).is_file() for file in ("pyproject.toml", "setup.py", "setup.cfg")):
        if folder == ".":
            raise Refused(_refusal(".", where, "the project's own folder is no package", _REMOVE))
        reason = "a path is not fixed by a digest, and there is no package there"
        raise Refused(_refusal(_last_part(folder), where, reason, _released("")))
    name = name_folder(place)
    reason = "the project's own folder is not installed unasked" if folder == "." else "a path is not fixed by a digest"
    _require_allowed(name, where, reason, allowed, own=folder == ".")
    return _requirement(name, extras, marker, where, SourceOrigin(kind=BuildKind.FOLDER, folder=folder))


def name_folder(folder: Path) -> str:
    """The name of the package whose source a folder is: pyproject.toml's, setup.cfg's, else the folder's."""
    written = _read_names(folder)
    found = next((name for name in written if isinstance(name, str) and _NAME.fullmatch(name)), None)
    return canonicalize_name(found or re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).strip("-._") or "project")


def _read_names(folder: Path) -> list[object]:
    try:
        document = tomllib.loads(_read_text(folder / "pyproject.toml"))
        setup = configparser.RawConfigParser(strict=False)
        setup.read_string(_read_text(folder / "setup.cfg"))
    except (tomllib.TOMLDecodeError, configparser.Error, RecursionError):
        return []
    tool = document.get("tool")
    tables = (document.get("project"), tool.get("poetry") if isinstance(tool, Mapping) else None)
    named: list[object] = [table.get("name") for table in tables if isinstance(table, Mapping)]
    return [*named, setup.get("metadata", "name", fallback=None)]


def _read_text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            return file.read(_SIZE_LIMIT)
    except OSError:
        return ""


def _require_allowed(name: str, where: str, reason: str, allowed: AllowedBuilds, *, own: bool = False) -> None:
    if name in allowed.names:
        return
    other = _REMOVE if own else _released(name)
    raise Refused(_refusal(name, where, reason, f"{say_allowed(name).removeprefix('and ')}; or {other}"))


def _requirement(
    name: str, extras: str, marker: str, where: str, origin: SourceOrigin, hashes: tuple[str, ...] = ()
) -> Requirement:
    text = f"{name}{extras}{f' ; {marker}' if marker else ''}"
    return Requirement(text=text, name=name, hashes=hashes, where=where, source=origin)


def _plain(path: str, where: str) -> str:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise DeclarationError("a subdirectory that leaves the source", where=where)
    return "/".join(parts)


def _refusal(subject: str, where: str, reason: str, remedy: str) -> Refusal:
    return Refusal(where=where, subject=subject, reason=reason, remedy=remedy)


def _last_part(path: str) -> str:
    last = path.rstrip("/").rpartition("/")[2]
    return last if _NAME.fullmatch(last) else redact(path)


def say_allowed(name: str) -> str:
    """What to write for a name."""
    return f'and allow-build = ["{canonicalize_name(name)}"] in wherry.toml'


def _released(name: str) -> str:
    return f"a released version ({name or 'name'}==1.2.3)"
