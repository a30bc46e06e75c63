"""Reads a Debian binary package (deb(5), format 2.0) as a stream; runs nothing that lies in it.

A `.deb` is an `ar` of `debian-binary`, `control.tar.*` and `data.tar.*`, in that order. Read are the control
paragraph, the texts of the maintainer scripts and the data members. Refused: another order or format, truncation,
names or links that leave the root, hard links to what did not come before, a file twice, a member below a file or
link, devices, and data that unpack to more than `MAX_RATIO` times the package or `MAX_UNPACKED` bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from wherry.errors import FormatError
from wherry.formats.decompress import CHUNK, unpack_chunks
from wherry.formats.tar import EntryKind
from wherry.formats.untar import ChunkReader, TarMember, plain_path, read_members

MAX_CONTROL = 64 << 20
MAX_PARAGRAPH = 1 << 20
MAX_SCRIPT = 1 << 20  # a longer one, or a program, is not kept
MAX_UNPACKED = 16 << 30
MAX_RATIO = 150
_SMALL = 64 << 20  # below this no ratio is looked at

_MAGIC = b"!<arch>\n"
_SCRIPTS = ("config", "preinst", "postinst")  # those that run when a package is installed
_CONTROL = ("", "gz", "xz", "zst")
_DATA = ("", "gz", "xz", "zst", "bz2", "lzma")


@dataclass(frozen=True, slots=True, kw_only=True)
class _ArMember:
    name: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Deb:
    """An opened package: `control` is the paragraph's bytes, `members` the data, to be read once and in order.

    `scripts` are the texts of the maintainer scripts that would run at its installation, by name.
    """

    control: bytes
    members: Iterator[TarMember]
    scripts: Mapping[str, str]


def open_deb(stream: BinaryIO, where: str) -> Deb:
    """Read up to the data. `where` is the name to use in errors. Damage anywhere is a `FormatError`."""
    reader = ChunkReader(iter(lambda: stream.read(CHUNK), b""), where)
    if reader.read_exactly(len(_MAGIC)) != _MAGIC:
        raise FormatError("not a Debian package", where=where)
    version = _read_header(reader)
    if version.name != "debian-binary" or version.size > 64:
        raise FormatError("not a Debian package: debian-binary does not come first", where=where)
    if not reader.read_exactly(version.size + version.size % 2).startswith(b"2."):
        raise FormatError("a package format that is not 2.x", where=where)
    head = _read_header(reader)
    control, scripts = _read_control(reader, head)
    data = _read_header(reader)
    suffix = _suffix_of(data.name, "data.tar", _DATA, where)
    limit = min(MAX_UNPACKED, max(_SMALL, MAX_RATIO * data.size))
    chunks = unpack_chunks(reader.stream(data.size), suffix, limit=limit, where=where)
    return Deb(control=control, members=_read_data(chunks, reader, data.size), scripts=scripts)


def _read_header(reader: ChunkReader) -> _ArMember:
    header = reader.read_exactly(60)
    size = header[48:58].rstrip()
    if header[58:] != b"`\n" or not size.isdigit():
        raise FormatError("a damaged ar header", where=reader.where)
    return _ArMember(name=header[:16].rstrip(b" /").decode("ascii", "replace"), size=int(size))


def _suffix_of(name: str, stem: str, allowed: tuple[str, ...], where: str) -> str:
    suffix = name.removeprefix(stem).removeprefix(".")
    if not name.startswith(stem) or suffix not in allowed:
        raise FormatError(f"{name!r} stands where {stem} should", where=where)
    return suffix


def _read_control(reader: ChunkReader, head: _ArMember) -> tuple[bytes, Mapping[str, str]]:
    suffix = _suffix_of(head.name, "control.tar", _CONTROL, reader.where)
    chunks = unpack_chunks(reader.stream(head.size), suffix, limit=MAX_CONTROL, where=reader.where)
    control: bytes | None = None
    scripts: dict[str, str] = {}
    for member in read_members(chunks, f"{reader.where}: control.tar"):
        if member.path in _SCRIPTS and member.kind is EntryKind.FILE and member.size <= MAX_SCRIPT:
            scripts[member.path] = b"".join(member.content).decode("utf-8", "replace")
        if member.path != "control":
            continue
        if control is not None or member.kind is not EntryKind.FILE or member.size > MAX_PARAGRAPH:
            raise FormatError("a control file that is twice there, too large, or not a file", where=reader.where)
        control = b"".join(member.content)
    if control is None:
        raise FormatError("no control file", where=reader.where)
    reader.skip(head.size % 2)
    return control, scripts


def _read_data(chunks: Iterator[bytes], reader: ChunkReader, size: int) -> Iterator[TarMember]:
    rules = _Rules(reader.where)
    for member in read_members(chunks, reader.where):
        if member.path:
            rules.check(member)
            yield member
    for _rest in chunks:
        pass
    reader.skip(size % 2)
    if not reader.at_end():
        raise FormatError("goes on after data.tar", where=reader.where)


class _Rules:
    """What a member may be, given those that came before."""

    def __init__(self, where: str) -> None:
        self._kinds: dict[str, EntryKind] = {}
        self._where = where

    def check(self, member: TarMember) -> None:
        former = self._kinds.get(member.path)
        if former is not None and not (former is member.kind is EntryKind.DIRECTORY):
            raise FormatError(f"two members of one name: {member.path}", where=self._where)
        parent = member.path.rpartition("/")[0]
        while parent:
            if self._kinds.get(parent, EntryKind.DIRECTORY) is not EntryKind.DIRECTORY:
                raise FormatError(f"{member.path} lies below {parent}, which is no folder", where=self._where)
            parent = parent.rpartition("/")[0]
        if member.kind is EntryKind.HARDLINK:
            target = plain_path(member.link, self._where)
            if self._kinds.get(target) not in (EntryKind.FILE, EntryKind.HARDLINK):
                raise FormatError(f"{member.path} is a hard link to {member.link!r}, which is no file of it", where=self._where)
        if member.kind is EntryKind.SYMLINK:
            check_symlink(member.path, member.link, self._where)
        self._kinds[member.path] = member.kind


def check_symlink(path: str, link: str, where: str) -> None:
    """Refuse a relative target that climbs above the root. An absolute one is meant from the image's root."""
    depth = 0 if link.startswith("/") else path.count("/")
    for part in link.split("/"):
        depth += {"..": -1, ".": 0, "": 0}.get(part, 1)
        if depth < 0:
            raise FormatError(f"{path} is a link out of the root: {link!r}", where=where)
    if not link or "\0" in link:
        raise FormatError(f"{path} is a link to nowhere", where=where)
