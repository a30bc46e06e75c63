"""Writes the one tar that a list of entries has, and reads tars that strangers made.

Written: POSIX.1-2001 (pax) with ustar headers; owner 0:0 without names and one fixed time, unless an entry that was
copied from another tar has its own; entries in the order given (the caller sorts), a pax header only where ustar cannot
hold a name, a link, a size or an owner. So equal entries give equal bytes on every host (docs/spec/layers.md, "The tar").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from wherry.errors import FormatError

BLOCK = 512
# 1980-01-01T00:00:00Z: the earliest time a zip file can hold, so that nothing in the image is older than its wheel.
FIXED_TIME = 315532800
_MAX_USTAR_SIZE = 0o77777777777
_MAX_USTAR_OWNER = 0o7777777

Sink = Callable[[bytes], object]
Content = Callable[[], Iterator[bytes]]


class EntryKind(Enum):
    FILE = b"0"
    HARDLINK = b"1"
    SYMLINK = b"2"
    DIRECTORY = b"5"
    OTHER = b"?"  # read only: whatever a foreign tar has that is none of the above


@dataclass(frozen=True, slots=True, kw_only=True)
class TarEntry:
    """One member. `path` is relative, ``/``-separated, without ``.`` or ``..``; `mode` has the permission bits.

    A file's `content` is its bytes, or a function that opens an iterator over exactly `size` bytes. `owner` is user and
    group by number, `mtime` in seconds since 1970.
    """

    path: str
    kind: EntryKind = EntryKind.FILE
    mode: int = 0o644
    size: int = 0
    link: str = ""
    content: bytes | Content = b""
    owner: tuple[int, int] = (0, 0)
    mtime: int = FIXED_TIME


def file_entry(path: str, data: bytes, mode: int = 0o644) -> TarEntry:
    return TarEntry(path=path, mode=mode, size=len(data), content=data)


def directory_entry(path: str, mode: int = 0o755) -> TarEntry:
    return TarEntry(path=path, kind=EntryKind.DIRECTORY, mode=mode)


def symlink_entry(path: str, link: str) -> TarEntry:
    return TarEntry(path=path, kind=EntryKind.SYMLINK, mode=0o777, link=link)


def add_parents(entries: Iterable[TarEntry]) -> list[TarEntry]:
    """Sort entries by path and put in the directories that lie above them, mode 0755.

    Every layer carries the folders of its files: docker makes missing ones 0600, where only root may pass.
    A path that is given twice is a `FormatError`.
    """
    named: dict[str, TarEntry] = {}
    for entry in entries:
        if entry.path in named:
            raise FormatError(f"two entries of one path: {entry.path}")
        named[entry.path] = entry
    for path in list(named):
        while "/" in path:
            path = path.rpartition("/")[0]
            if path in named:
                break
            named[path] = directory_entry(path)
    return [named[path] for path in sorted(named, key=_sort_key)]


def _sort_key(path: str) -> tuple[str, ...]:
    return tuple(path.split("/"))


def write_tar(entries: Iterable[TarEntry], sink: Sink) -> None:
    """Write the entries and the two closing blocks to `sink`, streaming. The order is the caller's."""
    for piece in stream_tar(entries):
        sink(piece)


def stream_tar(entries: Iterable[TarEntry]) -> Iterator[bytes]:
    """The same tar, piece by piece, for who pulls."""
    for entry in entries:
        yield _render_headers(entry)
        if entry.kind is EntryKind.FILE:
            yield from _stream_content(entry)
    yield bytes(2 * BLOCK)


def _stream_content(entry: TarEntry) -> Iterator[bytes]:
    if isinstance(entry.content, bytes):
        written = len(entry.content)
        yield entry.content
    else:
        written = 0
        for chunk in entry.content():
            written += len(chunk)
            if written > entry.size:
                break
            yield chunk
    if written != entry.size:
        raise FormatError(
            f"{entry.path}: expected {entry.size} bytes, the content has {'more' if written > entry.size else written}"
        )
    if written % BLOCK:
        yield bytes(BLOCK - written % BLOCK)


def _render_headers(entry: TarEntry) -> bytes:
    path = entry.path + "/" if entry.kind is EntryKind.DIRECTORY else entry.path
    if "\0" in path or "\0" in entry.link:
        raise FormatError(f"a NUL byte in the name {entry.path!r}")
    records: list[tuple[str, str]] = []
    name, prefix = _split_name(path)
    if name is None:
        records.append(("path", path))
        name, prefix = _ascii(path)[:100], b""
    link = entry.link.encode("ascii", "replace") if entry.link.isascii() else b""
    if len(link) > 100 or not entry.link.isascii():
        records.append(("linkpath", entry.link))
        link = _ascii(entry.link)[:100]
    size = entry.size if entry.kind is EntryKind.FILE else 0
    if size > _MAX_USTAR_SIZE:
        records.append(("size", str(size)))
    records += [(key, str(number)) for key, number in zip(("uid", "gid"), entry.owner, strict=True) if number > _MAX_USTAR_OWNER]
    header = _render_ustar(name, prefix, entry.mode, min(size, _MAX_USTAR_SIZE), entry.kind.value, link, entry.owner, entry.mtime)
    return _render_pax(records) + header if records else header


def _split_name(path: str) -> tuple[bytes | None, bytes]:
    if not path.isascii():
        return None, b""
    raw = path.encode("ascii")
    if len(raw) <= 100:
        return raw, b""
    # The longest prefix that fits, so that the choice is one and the same everywhere.
    cut = raw.rfind(b"/", 0, 156)
    while cut > 0:
        name = raw[cut + 1 :]
        if name and len(name) <= 100:
            return name, raw[:cut]
        cut = -1
    return None, b""


def _ascii(text: str) -> bytes:
    return text.encode("ascii", "replace")


def _render_pax(records: list[tuple[str, str]]) -> bytes:
    body = b"".join(_render_record(key, value) for key, value in records)
    header = _render_ustar(b"pax", b"", 0o644, len(body), b"x", b"")
    return header + body + bytes(-len(body) % BLOCK)


def _render_record(key: str, value: str) -> bytes:
    try:
        tail = f" {key}={value}\n".encode()
    except UnicodeEncodeError as error:
        raise FormatError(
            f"a name that is not Unicode: {value!r}", hint="rename the file, or leave it out in .dockerignore"
        ) from error
    length = len(tail)
    while len(str(length)) + len(tail) != length:
        length = len(str(length)) + len(tail)
    return str(length).encode() + tail


def _render_ustar(
    name: bytes,
    prefix: bytes,
    mode: int,
    size: int,
    kind: bytes,
    link: bytes,
    owner: tuple[int, int] = (0, 0),
    mtime: int = FIXED_TIME,
) -> bytes:
    block = bytearray(BLOCK)
    block[0 : len(name)] = name
    user, group = (min(number, _MAX_USTAR_OWNER) for number in owner)
    block[100:148] = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode & 0o7777, user, group, size, mtime)
    block[148:156] = b"        "
    block[156:157] = kind
    block[157 : 157 + len(link)] = link
    block[257:265] = b"ustar\x0000"
    block[329:345] = b"0000000\x000000000\0"
    block[345 : 345 + len(prefix)] = prefix
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)
