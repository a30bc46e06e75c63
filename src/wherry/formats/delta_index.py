"""A delta's index: which files the target's tar holds, in their order, and where each one's bytes come from.

The index is told against the base's own list of files below the *scopes*, so that a file that stays costs next to nothing.
Columns (docs/spec/delta.md, "The index"): what happens, names, modes, sources, sizes, groups. A *derived* layer is told by
its entries, and its headers follow from them (docs/spec/layers.md); a *carried* one brings all bytes between its files.
Names that leave the root are refused on reading.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from wherry.errors import FormatError
from wherry.formats.delta_bytes import ByteReader, render_number, render_signed, render_string
from wherry.formats.tar import BLOCK, EntryKind

CHECK = 4  # bytes of sha256 over the list of the base's files


class Source(IntEnum):
    """Where a file's bytes come from. EQUAL, PATCH and GROUP_OVER have a base file; LITERAL and GROUP have none."""

    EQUAL = 0
    PATCH = 1
    GROUP_OVER = 2
    GROUP = 3
    LITERAL = 4


HAS_BASE = frozenset((Source.EQUAL, Source.PATCH, Source.GROUP_OVER))
GROUPED = frozenset((Source.GROUP_OVER, Source.GROUP))
_ELSEWHERE = 8  # added to a source whose base file is not the next one in the list
_MODES = (0o644, 0o755, 0o777)
_KINDS = (EntryKind.DIRECTORY, EntryKind.SYMLINK, EntryKind.HARDLINK)


class _Op(IntEnum):
    KEEP = 0
    SKIP = 1
    NEW = 2
    OTHER = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseFile:
    """A regular file of the base. `path` is relative and plain, `mode` has the permission bits."""

    path: str
    size: int
    mode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One content in the target's tar. `base` is a number in the list of the base's files.

    Derived layers have `path`, `kind`, `mode` and `link`; in them an entry that is no file has no source. Carried ones have
    `gap`: how many bytes of the skeleton come before.
    """

    size: int
    source: Source | None
    base: int | None = None
    gap: int = 0
    path: str = ""
    kind: EntryKind = EntryKind.FILE
    mode: int = 0o644
    link: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """`listed` and `check` hold the base's list to what the encoder saw, `sums` its files (`delta_sums`)."""

    scopes: tuple[str, ...]
    listed: int
    check: bytes
    sums: tuple[int, int] | None
    derived: bool
    pieces: tuple[Piece, ...]
    groups: tuple[int, ...]  # how many pieces each group has


def sort_key(path: str) -> tuple[str, ...]:
    """The order of the base's list, and of derived layers."""
    return tuple(path.split("/"))


def check_listed(listed: Sequence[BaseFile]) -> bytes:
    """What tells whether the base's list is the encoder's: over names alone, so that an altered file can still be named."""
    return hashlib.sha256("\0".join(file.path for file in listed).encode("utf-8", "surrogateescape")).digest()[:CHECK]


def render_index(index: Index, listed: Sequence[BaseFile]) -> bytes:
    """The index's raw bytes. Pieces of a derived layer must be in the order of `sort_key`."""
    writer = _Writer(listed)
    for piece in index.pieces:
        writer.add(piece, derived=index.derived)
    head = [
        render_number(len(index.scopes)),
        *(render_string(scope) for scope in index.scopes),
        render_number(len(listed)),
        index.check if listed else b"",
        bytes((index.derived | (index.sums is not None) << 1,)),
        b"".join(total.to_bytes(8, "little") for total in index.sums or ()),
    ]
    groups = b"".join(render_number(count) for count in index.groups)
    columns = (*writer.finish(), groups)
    return b"".join((*head, *(render_number(len(column)) + column for column in columns)))


class _Writer:
    def __init__(self, listed: Sequence[BaseFile]) -> None:
        self._listed = listed
        self._numbers = {file.path: number for number, file in enumerate(listed)}
        self._ops: list[tuple[int, int]] = []
        self._names, self._modes, self._sizes, self._gaps = bytearray(), bytearray(), bytearray(), bytearray()
        self._sources: list[tuple[int, int]] = []
        self._refs = bytearray()
        self._next = 0  # in the list, by keeping and skipping
        self._last = -1  # base file named last
        self._path = ""
        self._padding = 0

    def add(self, piece: Piece, *, derived: bool) -> None:
        expected = self._last + 1
        if derived:
            number = self._place(piece)
            expected = self._last + 1 if number is None else number
        else:
            self._gaps += render_signed(piece.gap - self._padding - BLOCK)
            self._padding = -piece.size % BLOCK
        if piece.source is not None:
            self._tell_source(piece, piece.source, expected)

    def _place(self, piece: Piece) -> int | None:
        """Say the path and the attributes; gives the number of the base's file that stays in its place."""
        number = self._numbers.get(piece.path)
        # Roots that were unpacked without privileges have no set-user-ID bits and no unreadable files: such modes are told.
        usual = piece.mode & 0o7400 == 0o400
        if piece.kind is EntryKind.FILE and number is not None and usual and self._listed[number].mode == piece.mode:
            self._op(_Op.SKIP, number - self._next)
            self._op(_Op.KEEP, 1)
            self._next, self._path = number + 1, piece.path
            return number
        shared = next((at for at, pair in enumerate(zip(piece.path, self._path, strict=False)) if pair[0] != pair[1]), None)
        shared = min(len(piece.path), len(self._path)) if shared is None else shared
        rest = piece.path[shared:].encode()
        self._names += render_number(len(piece.path[:shared].encode())) + render_number(len(rest)) + rest
        self._path = piece.path
        self._modes += _render_mode(piece.mode)
        if piece.kind is EntryKind.FILE:
            self._op(_Op.NEW, 1)
        else:
            self._op(_Op.OTHER, 1 + _KINDS.index(piece.kind))
            if piece.kind is not EntryKind.DIRECTORY:
                self._names += render_string(piece.link)
        return None

    def _op(self, kind: _Op, count: int) -> None:
        if count and kind is not _Op.OTHER and self._ops and self._ops[-1][0] == kind:
            self._ops[-1] = (kind, self._ops[-1][1] + count)
        elif count:
            self._ops.append((kind, count))

    def _tell_source(self, piece: Piece, source: Source, expected: int) -> None:
        code = int(source)
        if source in HAS_BASE and piece.base is not None:
            if piece.base != expected:
                code += _ELSEWHERE
                self._refs += render_signed(piece.base - expected)
            self._last = piece.base
        if source in (Source.PATCH, Source.GROUP_OVER) and piece.base is not None:
            self._sizes += render_signed(piece.size - self._listed[piece.base].size)
        elif source is not Source.EQUAL:
            self._sizes += render_number(piece.size)
        if self._sources and self._sources[-1][0] == code:
            self._sources[-1] = (code, self._sources[-1][1] + 1)
        else:
            self._sources.append((code, 1))

    def finish(self) -> tuple[bytes, ...]:
        ops = b"".join(render_number(count << 2 | kind) for kind, count in self._ops)
        sources = b"".join(bytes((code,)) + render_number(count) for code, count in self._sources)
        return ops, bytes(self._names), bytes(self._modes), sources, bytes(self._refs), bytes(self._sizes), bytes(self._gaps)


def _render_mode(mode: int) -> bytes:
    return render_number(_MODES.index(mode) if mode in _MODES else mode + len(_MODES))


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexHead:
    """What has to be known to list the base's files."""

    scopes: tuple[str, ...]
    listed: int
    check: bytes
    sums: tuple[int, int] | None
    derived: bool


def parse_head(reader: ByteReader, *, listed: int) -> IndexHead:
    """The index's head; `listed` is the most files of the base that may be listed."""
    scopes = tuple(plain_name(reader.string(), reader) for _ in range(reader.number(1 << 12)))
    count = reader.number(listed)
    check = reader.take(CHECK) if count else b""
    flags = reader.number(3)
    sums = (int.from_bytes(reader.take(8), "little"), int.from_bytes(reader.take(8), "little")) if flags & 2 else None
    return IndexHead(scopes=scopes, listed=count, check=check, sums=sums, derived=bool(flags & 1))


def parse_pieces(
    reader: ByteReader, head: IndexHead, listed: Sequence[BaseFile], entries: int
) -> tuple[tuple[Piece, ...], tuple[int, ...]]:
    """The pieces, exactly `entries` of them, and how many each group has."""
    columns = _Columns(reader, listed)
    placed = columns.derived_pieces(entries) if head.derived else columns.carried_pieces(entries)
    pieces = tuple(placed)
    if len(pieces) != entries:
        raise reader.refuse("its index and its head do not agree")
    groups = columns.groups()
    columns.expect_end()
    if sum(groups) != sum(piece.source in GROUPED for piece in pieces):
        raise reader.refuse("its groups do not agree with its index")
    reader.expect_end()
    return pieces, groups


class _Columns:
    def __init__(self, reader: ByteReader, listed: Sequence[BaseFile]) -> None:
        self.all = tuple(reader.column() for _ in range(8))
        self._ops, self._names, self._modes, self._sources, self._refs, self._sizes, self._gaps, self._groups = self.all
        self._listed = listed
        self._last = -1
        self._run = (0, 0)

    def groups(self) -> tuple[int, ...]:
        counts = []
        while not self._groups.at_end:
            counts.append(self._groups.number())
        return tuple(counts)

    def expect_end(self) -> None:
        if self._run[1]:
            raise self._sources.refuse("its index and its head do not agree")
        for column in self.all:
            column.expect_end()

    def carried_pieces(self, entries: int) -> Iterator[Piece]:
        padding = 0
        for _ in range(entries):
            gap = self._gaps.signed() + padding + BLOCK
            if gap < 0:
                raise self._gaps.refuse("a gap of negative size")
            size, source, base = self._source(self._last + 1)
            padding = -size % BLOCK
            yield Piece(size=size, source=source, base=base, gap=gap)

    def derived_pieces(self, entries: int) -> Iterator[Piece]:
        at, path, made = 0, b"", 0
        while not self._ops.at_end:
            op = self._ops.number()
            kind, count = _Op(op & 3), op >> 2
            if kind is _Op.SKIP or kind is _Op.KEEP:
                if count > len(self._listed) - at:
                    raise self._ops.refuse("names a file that the base's list has not")
                for number in range(at, at + count if kind is _Op.KEEP else at):
                    file = self._listed[number]
                    size, source, base = self._source(number)
                    path = file.path.encode()
                    yield Piece(size=size, source=source, base=base, path=file.path, mode=file.mode)
                at += count
                continue
            repeats = count if kind is _Op.NEW else 1
            if made + repeats > entries:
                raise self._ops.refuse("its index and its head do not agree")
            made += repeats
            for _ in range(repeats):
                path = self._name(path)
                yield self._new(path, EntryKind.FILE if kind is _Op.NEW else self._kind(count))

    def _new(self, raw: bytes, kind: EntryKind) -> Piece:
        path, mode = plain_name(_decode(raw, self._names), self._names), self._mode()
        if kind is EntryKind.FILE:
            size, source, base = self._source(self._last + 1)
            return Piece(size=size, source=source, base=base, path=path, mode=mode)
        link = "" if kind is EntryKind.DIRECTORY else self._names.string()
        return Piece(size=0, source=None, path=path, kind=kind, mode=mode, link=link)

    def _kind(self, count: int) -> EntryKind:
        if not 1 <= count <= len(_KINDS):
            raise self._ops.refuse("an entry of an unknown kind")
        return _KINDS[count - 1]

    def _name(self, former: bytes) -> bytes:
        shared = self._names.number(len(former))
        return former[:shared] + self._names.text(self._names.number()).encode()

    def _mode(self) -> int:
        number = self._modes.number(0o7777 + len(_MODES))
        return _MODES[number] if number < len(_MODES) else number - len(_MODES)

    def _source(self, expected: int) -> tuple[int, Source, int | None]:
        code, left = self._run
        if not left:
            code, left = self._sources.take(1)[0], self._sources.number()
            if code % _ELSEWHERE >= len(Source) or code >= 2 * _ELSEWHERE or not left:
                raise self._sources.refuse("a file from an unknown source")
        self._run = (code, left - 1)
        source = Source(code % _ELSEWHERE)
        if source not in HAS_BASE:
            if code >= _ELSEWHERE:
                raise self._sources.refuse("a file from an unknown source")
            return self._sizes.number(), source, None
        base = expected + (self._refs.signed() if code >= _ELSEWHERE else 0)
        if not 0 <= base < len(self._listed):
            raise self._refs.refuse("names a file that the base's list has not")
        self._last = base
        held = self._listed[base].size
        size = held if source is Source.EQUAL else held + self._sizes.signed()
        if size < 0:
            raise self._sizes.refuse("a file of negative size")
        return size, source, base


def plain_name(path: str, reader: ByteReader) -> str:
    """A path that stays below the root; anything else is a `FormatError`."""
    if not path or "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
        raise reader.refuse(f"a name that leaves the root: {path[:80]!r}")
    return path


def _decode(raw: bytes, reader: ByteReader) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise FormatError("a damaged delta: a name that is not UTF-8", where=reader.where) from error
