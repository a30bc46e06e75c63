"""Reads a tar that a stranger made, as a stream, within fixed bounds.

Knows ustar, pax headers (path, linkpath, size, uid, gid) and GNU's long names. Yields regular files, hard links, symbolic
links and directories. Refuses what else there is (devices, pipes, sparse files), a wrong header checksum, a name
that leaves the root or is not UTF-8, more than `MAX_MEMBERS` members, long-name headers beyond `MAX_EXTENSION`.
Who only looks for contents asks to be told what else there is as `OTHER`, instead of a refusal.
Whether names repeat, and where links lead, is for the caller to judge: formats differ.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from wherry.errors import FormatError
from wherry.formats.tar import BLOCK, EntryKind

MAX_MEMBERS = 500_000
MAX_EXTENSION = 1 << 20

_KINDS = {
    b"0": EntryKind.FILE,
    b"\0": EntryKind.FILE,
    b"7": EntryKind.FILE,
    b"1": EntryKind.HARDLINK,
    b"2": EntryKind.SYMLINK,
    b"5": EntryKind.DIRECTORY,
}
_WITHOUT_CONTENT = (b"1", b"2", b"3", b"4", b"5", b"6")
_NOWHERE = ".."  # stands for a name that cannot be told, and is refused like one that leaves the root


class ChunkReader:
    """Reads exact amounts from an iterator of chunks of any size."""

    def __init__(self, chunks: Iterable[bytes], where: str) -> None:
        self._chunks = iter(chunks)
        self._rest = b""
        self.position = 0  # bytes given so far
        self.where = where

    def read_exactly(self, size: int) -> bytes:
        """`size` bytes, which must be few: they are held in memory. A short stream is a `FormatError`."""
        return b"".join(self.stream(size))

    def stream(self, size: int) -> Iterator[bytes]:
        """Pass on the next `size` bytes in pieces."""
        left = size
        while left:
            piece = self._rest or next(self._chunks, b"")
            if not piece:
                raise FormatError("ends before its time", where=self.where)
            self._rest = piece[left:]
            piece = piece[:left]
            left -= len(piece)
            self.position += len(piece)
            yield piece

    def skip(self, size: int) -> None:
        for _ in self.stream(size):
            pass

    def rest(self) -> Iterator[bytes]:
        """Pass on all that is left, in pieces."""
        while not self.at_end():
            piece, self._rest = self._rest, b""
            self.position += len(piece)
            yield piece

    def at_end(self) -> bool:
        while not self._rest:
            piece = next(self._chunks, None)
            if piece is None:
                return True
            self._rest = piece
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class TarMember:
    """One member. `path` is relative and plain; ``""`` is the root itself. `content` must be read before the next member.

    `offset` is where the content lies in the tar.
    """

    path: str
    kind: EntryKind
    mode: int
    size: int
    link: str
    mtime: int  # seconds since 1970, as far as the header can be believed
    owner: tuple[int, int]  # user and group by number, as far as the header can be believed
    offset: int
    content: Iterator[bytes]


def read_members(
    chunks: Iterable[bytes], where: str, *, others: bool = False, one_size: bool = False, lenient: bool = False
) -> Iterator[TarMember]:
    """Yield the members in their order. Content that the caller leaves unread is skipped.

    With `one_size`, a pax header that gives another size than the member's own header is refused: readers differ in which of
    the two they believe, and so in where they see the next member. With `others`, what has no place here (devices, pipes,
    sparse files, names that leave the root or are not UTF-8) is of the kind `OTHER`, its path empty where it cannot be told.
    With `lenient`, names are taken as engines take them: from the root on, and bytes that are not UTF-8 as codes (``\\xff``).
    """
    reader = ChunkReader(chunks, where)
    extension: dict[str, str] = {}
    for _ in range(MAX_MEMBERS):
        block = reader.read_exactly(BLOCK)
        if not block.strip(b"\0"):
            _read_trailer(reader)
            return
        _check_sum(block, where)
        size, kind = _number(block[124:136], where), block[156:157]
        if kind in (b"x", b"g", b"L", b"K"):
            extension |= _read_extension(reader, kind, size, others=others, lenient=lenient)
            continue
        if one_size and extension.get("size", str(size)) != str(size):
            raise FormatError("a member of two sizes", where=where)
        if others and kind == b"S":
            _skip_sparse_map(block, reader)
        try:
            member, stored = _parse_member(block, size, extension, reader, lenient=lenient)
        except FormatError:
            if not others:
                raise
            member, stored = _other_member(block, size, extension, reader)
        extension = {}
        yield member
        for _piece in member.content:
            pass
        reader.skip(-stored % BLOCK)
    raise FormatError(f"has more than {MAX_MEMBERS} members", where=where)


def plain_path(raw: str, where: str) -> str:
    """Normalise ``./a//b/`` to ``a/b``. A name that leaves the root is a `FormatError`."""
    parts = [part for part in raw.split("/") if part not in ("", ".")]
    if raw.startswith("/") or ".." in parts or "\0" in raw:
        raise FormatError(f"a member whose name leaves the root: {raw!r}", where=where)
    return "/".join(parts)


def _parse_member(
    block: bytes, size: int, extension: dict[str, str], reader: ChunkReader, *, lenient: bool
) -> tuple[TarMember, int]:
    where = reader.where
    kind = _KINDS.get(block[156:157])
    name = extension.get("path")
    if name is None:
        prefix = _text(block[345:500], where, lenient=lenient) if block[257:263] == b"ustar\0" else ""
        name = "/".join(part for part in (prefix, _text(block[:100], where, lenient=lenient)) if part)
    if kind is None:
        raise FormatError(f"{name!r} is neither file, link nor folder (type {block[156:157]!r})", where=where)
    if any(key.startswith("GNU.sparse") for key in extension):
        raise FormatError(f"{name!r} is a sparse file", where=where)
    if kind is EntryKind.FILE and name.endswith("/"):
        kind = EntryKind.DIRECTORY  # the oldest tars
    if "size" in extension:
        size = _decimal(extension["size"], where)
    size = size if kind is EntryKind.FILE else 0
    link = extension.get("linkpath") or _text(block[157:257], where, lenient=lenient)
    member = TarMember(
        path=posixpath.normpath(f"/{name}").strip("/") if lenient else plain_path(name, where),
        kind=kind,
        mode=_number(block[100:108], where) & 0o7777,
        size=size,
        link=link if kind in (EntryKind.HARDLINK, EntryKind.SYMLINK) else "",
        mtime=_time(block[136:148]),
        owner=(_owner(block[108:116], extension.get("uid")), _owner(block[116:124], extension.get("gid"))),
        offset=reader.position,
        content=reader.stream(size),
    )
    return member, size


def _other_member(block: bytes, size: int, extension: dict[str, str], reader: ChunkReader) -> tuple[TarMember, int]:
    """What `_parse_member` refuses, with as much as can be told of it."""
    where = reader.where
    if "size" in extension:
        size = _decimal(extension["size"], where)
    size = 0 if block[156:157] in _WITHOUT_CONTENT else size
    try:
        path = plain_path(extension.get("path") or _text(block[:100], where), where)
    except FormatError:
        path = ""
    member = TarMember(
        path=path,
        kind=EntryKind.OTHER,
        mode=0,
        size=size,
        link="",
        mtime=0,
        owner=(0, 0),
        offset=reader.position,
        content=reader.stream(size),
    )
    return member, size


def _skip_sparse_map(block: bytes, reader: ChunkReader) -> None:
    """GNU's old form: blocks with more of the map stand before the content, each saying whether another follows."""
    more = block[482]
    while more:
        more = reader.read_exactly(BLOCK)[504]


def _read_extension(reader: ChunkReader, kind: bytes, size: int, *, others: bool, lenient: bool) -> dict[str, str]:
    where = reader.where
    if size > MAX_EXTENSION:
        raise FormatError(f"a header of {size} bytes", where=where)
    body = reader.read_exactly(size)
    reader.skip(-size % BLOCK)
    if kind == b"g":
        return {}  # a comment on the whole archive
    if kind == b"x":
        return _parse_pax(body, where, others=others, lenient=lenient)
    try:
        return {"path" if kind == b"L" else "linkpath": _text(body, where, lenient=lenient)}
    except FormatError:
        if not others:
            raise
        return {"path": _NOWHERE} if kind == b"L" else {}


def _parse_pax(body: bytes, where: str, *, others: bool, lenient: bool) -> dict[str, str]:
    records: dict[str, str] = {}
    at = 0
    while at < len(body):
        space = body.find(b" ", at, at + 20)
        length = _decimal(body[at:space].decode("ascii", "replace"), where) if space > 0 else 0
        record = body[space + 1 : at + length]
        key, equals, value = record[:-1].partition(b"=")
        if length < 5 or not equals or record[-1:] != b"\n" or at + length > len(body):
            raise FormatError("a damaged pax header", where=where)
        try:
            records[_text(key, where)] = _text(value, where, lenient=lenient)
        except FormatError:
            if not others:
                raise
            if key == b"path":
                records["path"] = _NOWHERE
        at += length
    return records


def _read_trailer(reader: ChunkReader) -> None:
    for piece in reader.rest():
        if piece.strip(b"\0"):
            raise FormatError("goes on after its end", where=reader.where)


def _check_sum(block: bytes, where: str) -> None:
    expected = sum(block[:148]) + 8 * 32 + sum(block[156:])
    if _number(block[148:156], where) != expected:
        raise FormatError("a damaged tar header", where=where)


def _time(field: bytes) -> int:
    """A time between 1970 and 2242; odd ones happen, and are no reason to refuse a tar."""
    digits = field.strip(b"\0 ")
    return min(int(digits, 8), 0o77777777777) if digits.isdigit() and not digits.strip(b"01234567") else 0


def _owner(field: bytes, extended: str | None) -> int:
    """A user's or group's number; 0 where it cannot be told."""
    if extended is not None:
        return int(extended) if extended.isascii() and extended.isdigit() and len(extended) < 20 else 0
    return int.from_bytes(field[1:], "big") if field[0] == 0x80 else _time(field)


def _number(field: bytes, where: str) -> int:
    if field[0] & 0x80:  # GNU's binary form
        if field[0] != 0x80:
            raise FormatError("a negative number in a tar header", where=where)
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b"\0 ")
    if digits.strip(b"01234567"):
        raise FormatError("a damaged tar header", where=where)
    return int(digits or b"0", 8)


def _decimal(text: str, where: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise FormatError("a damaged pax header", where=where)
    return int(text)


def _text(field: bytes, where: str, *, lenient: bool = False) -> str:
    raw = field.partition(b"\0")[0]
    try:
        return raw.decode("utf-8", "backslashreplace" if lenient else "strict")
    except UnicodeDecodeError as error:
        raise FormatError(f"a name that is not UTF-8: {raw[:80]!r}", where=where) from error
