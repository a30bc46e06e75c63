"""Inspects a conda package before anything else may touch it: reads it to its end, lays nothing out, runs nothing.

What lies in it must be exactly what it says: each member is named by `paths.json` (or the older lists), of the kind, size and
sha256 given there, and nothing that is named is missing. Refused besides, as everywhere in an archive: names and links that
leave the prefix, odd names, two members of one name, members below a link, devices, bombs, damage (`conda_archive`,
`conda_metadata`). Link scripts are read, so that they can be named, and never run.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from wherry.errors import FormatError
from wherry.formats.conda_archive import read_conda_archive
from wherry.formats.conda_metadata import (
    DOCUMENTS,
    MAX_DOCUMENT,
    ListedPath,
    check_path,
    parse_index,
    parse_link,
    parse_paths,
)
from wherry.formats.tar import EntryKind
from wherry.formats.untar import TarMember, plain_path
from wherry.model.conda_package import CondaPackage, LinkScript, PackagedPath

_UNSOUND = "tell its publisher; lock another build"
_LONGEST_SCRIPT = 1 << 14
_KINDS = {
    EntryKind.FILE: "hardlink",
    EntryKind.HARDLINK: "hardlink",
    EntryKind.SYMLINK: "softlink",
    EntryKind.DIRECTORY: "directory",
}
_SCRIPT = re.compile(r"(?:bin|python-scripts|Scripts)/\.(?P<name>.+)-(?P<kind>pre-link|post-link|pre-unlink)\.(?:sh|bat)")
_RESERVED = re.compile(r"info(?:/.*)?|conda-meta(?:/[^/]+\.json|/history)?")
_ACTIVATION = re.compile(r"etc/conda/(?:activate|deactivate)\.d/[^/]+\.sh")


def inspect_conda_package(stream: BinaryIO, file: str) -> CondaPackage:
    """Read an archive to its end. `file` is its name; whatever is wrong with it is a `FormatError`."""
    reading = _Reading(file=file)
    for info, member in read_conda_archive(stream, file):
        reading.add(member, info=info)
    return reading.conclude()


@dataclass(slots=True, kw_only=True)
class _Found:
    kind: EntryKind
    size: int = 0
    sha256: str | None = None
    link: str | None = None
    executable: bool = False


@dataclass(slots=True, kw_only=True)
class _Reading:
    """What was read so far. `found` has every member, `above` every folder that one lies in."""

    file: str
    found: dict[str, _Found] = field(default_factory=dict)
    above: set[str] = field(default_factory=set)
    documents: dict[str, bytes] = field(default_factory=dict)
    beginnings: dict[str, bytes] = field(default_factory=dict)

    def add(self, member: TarMember, *, info: bool) -> None:
        if not member.path:
            return
        path = check_path(member.path, self.file)
        self._check_position(path, member)
        if member.kind is EntryKind.SYMLINK:
            self._check_link(path, member.link)
            self.found[path] = _Found(kind=member.kind, link=member.link)
        elif member.kind is EntryKind.HARDLINK:
            target = self.found.get(plain_path(member.link, self.file))
            if target is None or target.kind is not EntryKind.FILE:
                raise self._refusal(f"{path!r} is a hard link to what did not come before it")
            self.found[path] = target
        elif member.kind is EntryKind.DIRECTORY:
            self.found[path] = _Found(kind=member.kind)
        else:
            self.found[path] = self._read_file(path, member, info=info)

    def conclude(self) -> CondaPackage:
        if "info/index.json" not in self.documents:
            raise self._refusal("lacks info/index.json")
        index = parse_index(self.documents["info/index.json"], self.file)
        kind, entry_points = parse_link(self.documents.get("info/link.json", b"{}"), self.file)
        listed = parse_paths(self.documents, self.file)
        self._compare(listed)
        return CondaPackage(
            name=index.name,
            version=index.version,
            build=index.build,
            subdir=index.subdir,
            noarch=index.noarch or kind,
            depends=index.depends,
            paths=tuple(self._describe(path, listed[path]) for path in sorted(listed)),
            entry_points=entry_points,
            scripts=tuple(self._scripts(listed)),
            activation=tuple(path for path in sorted(listed) if _ACTIVATION.fullmatch(path)),
        )

    def _check_position(self, path: str, member: TarMember) -> None:
        former = self.found.get(path)
        both_folders = former is not None and former.kind is member.kind is EntryKind.DIRECTORY
        if (former is not None and not both_folders) or (path in self.above and member.kind is not EntryKind.DIRECTORY):
            raise self._refusal(f"two members of one name: {path!r}")
        parent = posixpath.dirname(path)
        while parent and parent not in self.above:
            over = self.found.get(parent)
            if over is not None and over.kind is not EntryKind.DIRECTORY:
                raise self._refusal(f"{path!r} lies below {parent!r}, which is no folder")
            self.above.add(parent)
            parent = posixpath.dirname(parent)

    def _check_link(self, path: str, link: str) -> None:
        depth = path.count("/")
        for part in link.split("/"):
            depth += {"..": -1, ".": 0, "": 0}.get(part, 1)
            if depth < 0:
                break
        if not link or link.startswith("/") or depth < 0 or "\0" in link or "\n" in link:
            raise self._refusal(f"{path!r} is a link that leaves the prefix: {link[:200]!r}")

    def _read_file(self, path: str, member: TarMember, *, info: bool) -> _Found:
        digest = hashlib.sha256()
        kept = MAX_DOCUMENT if info and path in DOCUMENTS else _LONGEST_SCRIPT if _SCRIPT.fullmatch(path) else 0
        if kept == MAX_DOCUMENT and member.size > MAX_DOCUMENT:
            raise self._refusal(f"{path} has {member.size} bytes")
        beginning = bytearray()
        for piece in member.content:
            digest.update(piece)
            if len(beginning) < kept:
                beginning += piece[: kept - len(beginning)]
        if kept:
            (self.documents if info else self.beginnings)[path] = bytes(beginning)
        executable = bool(member.mode & 0o111)
        return _Found(kind=member.kind, size=member.size, sha256=digest.hexdigest(), executable=executable)

    def _compare(self, listed: Mapping[str, ListedPath]) -> None:
        """Hold what lies in the archive against what it says it has."""
        for path, entry in listed.items():
            if _RESERVED.fullmatch(path):
                raise self._refusal(f"would write {path!r}, which is conda's own")
            found = self.found.get(path)
            if found is None and entry.kind == "directory" and path in self.above:
                continue
            if found is None:
                raise self._refusal(f"names {path!r}, which is not in it")
            if entry.kind and entry.kind != _KINDS[found.kind]:
                raise self._refusal(f"{path!r} is no {entry.kind}")
            if found.sha256 is None:
                continue
            if entry.sha256 is not None and entry.sha256 != found.sha256:
                raise self._refusal(f"{path!r} has the digest sha256:{found.sha256} instead of sha256:{entry.sha256}")
            if entry.size is not None and entry.size != found.size:
                raise self._refusal(f"{path!r} has {found.size} bytes instead of {entry.size}")
        for path, found in self.found.items():
            if path not in listed and found.kind is not EntryKind.DIRECTORY and path.partition("/")[0] != "info":
                raise self._refusal(f"has {path!r}, which it does not name")

    def _describe(self, path: str, entry: ListedPath) -> PackagedPath:
        found = self.found.get(path) or _Found(kind=EntryKind.DIRECTORY)
        return PackagedPath(
            path=path,
            size=found.size,
            sha256=found.sha256,
            link=found.link,
            executable=found.executable,
            placeholder=entry.placeholder,
            binary=entry.binary,
            no_link=entry.no_link,
        )

    def _scripts(self, listed: Mapping[str, ListedPath]) -> list[LinkScript]:
        found = [(path, _SCRIPT.fullmatch(path)) for path in sorted(listed)]
        return [
            LinkScript(kind=match["kind"], path=path, text=self.beginnings.get(path, b"").decode("utf-8", "replace"))
            for path, match in found
            if match is not None
        ]

    def _refusal(self, what: str) -> FormatError:
        return FormatError(what, where=self.file, hint=_UNSOUND)
