"""Reads a delta's index (docs/spec/delta.md, "The index"), within bounds and in little memory.

The columns stay bytes, and pieces are made one by one, so that a layer of very many files costs no more than its names in
the base. Refused: names that leave the root, scopes that overlap, numbers beyond the base's list, columns that end too
early or too late.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from wherry.errors import FormatError
from wherry.formats.delta_bytes import ByteReader
from wherry.formats.delta_index import (
    CHECK,
    ELSEWHERE,
    HAS_BASE,
    KINDS,
    MODES,
    BaseFile,
    Op,
    Piece,
    Source,
    sort_key,
)
from wherry.formats.tar import BLOCK, EntryKind

_COLUMNS = 8
MAX_SCOPES = 1 << 12


class ListedFiles(Sequence[BaseFile]):
    """The base's files in the order of `sort_key`, by number; compact."""

    def __init__(self, files: Iterable[BaseFile]) -> None:
        self.paths: list[str] = []
        self._sizes, self._modes, self._times = array("Q"), array("H"), array("q")
        for file in files:
            self.paths.append(file.path)
            self._sizes.append(file.size)
            self._modes.append(file.mode)
            self._times.append(file.mtime)
        if any(sort_key(first) > sort_key(second) for first, second in pairwise(self.paths)):
            order = sorted(range(len(self.paths)), key=lambda number: sort_key(self.paths[number]))
            self.paths = [self.paths[number] for number in order]
            self._sizes = array("Q", (self._sizes[number] for number in order))
            self._modes = array("H", (self._modes[number] for number in order))
            self._times = array("q", (self._times[number] for number in order))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> BaseFile:  # type: ignore[override]  # no slices
        return BaseFile(path=self.paths[number], size=self._sizes[number], mode=self._modes[number], mtime=self._times[number])


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexHead:
    """What has to be known to list the base's files. `columns` are not looked into yet."""

    scopes: tuple[str, ...]
    listed: int
    check: bytes
    sums: tuple[int, int] | None
    derived: bool
    columns: tuple[bytes, ...]


def parse_head(reader: ByteReader, *, listed: int) -> IndexHead:
    """All of the index but what its columns say; `listed` is the most files of the base that may be listed."""
    scopes = tuple(plain_name(reader.string(), reader) for _ in range(reader.number(MAX_SCOPES)))
    for former, scope in pairwise(scopes):
        if sort_key(scope) <= sort_key(former) or scope.startswith(f"{former}/"):
            raise reader.refuse("scopes that overlap")
    count = reader.number(listed)
    check = reader.take(CHECK) if count else b""
    flags = reader.byte(3)
    sums = (int.from_bytes(reader.take(8), "little"), int.from_bytes(reader.take(8), "little")) if flags & 2 else None
    columns = tuple(reader.take(reader.number()) for _ in range(_COLUMNS))
    reader.expect_end()
    return IndexHead(scopes=scopes, listed=count, check=check, sums=sums, derived=bool(flags & 1), columns=columns)


def read_pieces(head: IndexHead, listed: Sequence[BaseFile], entries: int, where: str) -> Iterator[Piece]:
    """The pieces, exactly `entries` of them."""
    columns = _Columns(head.columns, listed, where)
    made = 0
    for piece in columns.derived_pieces(entries) if head.derived else columns.carried_pieces(entries):
        made += 1
        if made > entries:
            break
        yield piece
    if made != entries:
        raise FormatError("a damaged delta: its index and its head do not agree", where=where)
    columns.expect_end()


def read_groups(head: IndexHead, where: str) -> tuple[int, ...]:
    """How many pieces each group has."""
    reader, counts = ByteReader(head.columns[-1], where), []
    while not reader.at_end:
        counts.append(reader.number())
        if not counts[-1]:
            raise reader.refuse("a group of nothing")
    return tuple(counts)


class _Columns:
    def __init__(self, columns: Sequence[bytes], listed: Sequence[BaseFile], where: str) -> None:
        self._read = tuple(ByteReader(column, where) for column in columns[:-1])
        self._ops, self._names, self._modes, self._sources, self._refs, self._sizes, self._gaps = self._read
        self._listed = listed
        self._last = -1
        self._run = (0, 0)

    def expect_end(self) -> None:
        if self._run[1]:
            raise self._sources.refuse("its index and its head do not agree")
        for column in self._read:
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
            kind, count = Op(op & 3), op >> 2
            if kind is Op.SKIP or kind is Op.KEEP:
                if count > len(self._listed) - at:
                    raise self._ops.refuse("names a file that the base's list has not")
                if kind is Op.KEEP and made + count > entries:
                    raise self._ops.refuse("its index and its head do not agree")
                made += count if kind is Op.KEEP else 0
                for number in range(at, at + count if kind is Op.KEEP else at):
                    file = self._listed[number]
                    size, source, base = self._source(number)
                    path = file.path.encode()
                    yield Piece(size=size, source=source, base=base, path=file.path, mode=file.mode)
                at += count
                continue
            repeats = count if kind is Op.NEW else 1
            if made + repeats > entries:
                raise self._ops.refuse("its index and its head do not agree")
            made += repeats
            for _ in range(repeats):
                path = self._name(path)
                yield self._new(path, EntryKind.FILE if kind is Op.NEW else self._kind(count))

    def _new(self, raw: bytes, kind: EntryKind) -> Piece:
        path, mode = plain_name(_decode(raw, self._names), self._names), self._mode()
        if kind is EntryKind.FILE:
            size, source, base = self._source(self._last + 1)
            return Piece(size=size, source=source, base=base, path=path, mode=mode)
        link = "" if kind is EntryKind.DIRECTORY else self._names.string()
        return Piece(size=0, source=None, path=path, kind=kind, mode=mode, link=link)

    def _kind(self, count: int) -> EntryKind:
        if not 1 <= count <= len(KINDS):
            raise self._ops.refuse("an entry of an unknown kind")
        return KINDS[count - 1]

    def _name(self, former: bytes) -> bytes:
        shared = self._names.number(len(former))
        return former[:shared] + self._names.text(self._names.number()).encode()

    def _mode(self) -> int:
        number = self._modes.number(0o7777 + len(MODES))
        return MODES[number] if number < len(MODES) else number - len(MODES)

    def _source(self, expected: int) -> tuple[int, Source, int | None]:
        code, left = self._run
        if not left:
            code, left = self._sources.take(1)[0], self._sources.number()
            if code % ELSEWHERE >= len(Source) or code >= 2 * ELSEWHERE or not left:
                raise self._sources.refuse("a file from an unknown source")
        self._run = (code, left - 1)
        source = Source(code % ELSEWHERE)
        if source not in HAS_BASE:
            if code >= ELSEWHERE:
                raise self._sources.refuse("a file from an unknown source")
            return self._sizes.number(), source, None
        base = expected + (self._refs.signed() if code >= ELSEWHERE else 0)
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
