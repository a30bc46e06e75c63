"""A delta's index: which files the target's tar holds, in their order, and where each one's bytes come from.

The index is told against the base's own list of files below the *scopes*, so that a file that stays costs next to nothing.
Columns (docs/spec/delta.md, "The index"): what happens, names, modes, sources, base files, sizes, gaps, groups. A *derived*
layer is told by its entries, and its headers follow from them (docs/spec/layers.md); a *carried* one brings all bytes
between its files, as far as they cannot be guessed (`delta_headers`). Here are the values and the writer; `delta_columns` reads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from wherry.formats.delta_bytes import render_number, render_signed, render_string
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
ELSEWHERE = 8  # added to a source whose base file is not the next one in the list
MODES = (0o644, 0o755, 0o777)
KINDS = (EntryKind.DIRECTORY, EntryKind.SYMLINK, EntryKind.HARDLINK)


class Op(IntEnum):
    KEEP = 0
    SKIP = 1
    NEW = 2
    OTHER = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseFile:
    """A regular file of the base. `path` is relative and plain, `mode` has the permission bits, `mtime` is in whole seconds."""

    path: str
    size: int
    mode: int
    mtime: int


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


def sort_key(path: str) -> str:
    """The order of the base's list, and of derived layers: part by part."""
    return path.replace("/", "\0")


def check_paths(paths: Iterable[str]) -> bytes:
    """What tells whether the base's list is the encoder's: over names alone, so that an altered file can still be named."""
    hasher = hashlib.sha256()
    for path in paths:
        hasher.update(path.encode() + b"\0")
    return hasher.digest()[:CHECK]


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
            self._op(Op.SKIP, number - self._next)
            self._op(Op.KEEP, 1)
            self._next, self._path = number + 1, piece.path
            return number
        shared = next((at for at, pair in enumerate(zip(piece.path, self._path, strict=False)) if pair[0] != pair[1]), None)
        shared = min(len(piece.path), len(self._path)) if shared is None else shared
        rest = piece.path[shared:].encode()
        self._names += render_number(len(piece.path[:shared].encode())) + render_number(len(rest)) + rest
        self._path = piece.path
        self._modes += _render_mode(piece.mode)
        if piece.kind is EntryKind.FILE:
            self._op(Op.NEW, 1)
        else:
            self._op(Op.OTHER, 1 + KINDS.index(piece.kind))
            if piece.kind is not EntryKind.DIRECTORY:
                self._names += render_string(piece.link)
        return None

    def _op(self, kind: Op, count: int) -> None:
        if count and kind is not Op.OTHER and self._ops and self._ops[-1][0] == kind:
            self._ops[-1] = (kind, self._ops[-1][1] + count)
        elif count:
            self._ops.append((kind, count))

    def _tell_source(self, piece: Piece, source: Source, expected: int) -> None:
        code = int(source)
        if source in HAS_BASE and piece.base is not None:
            if piece.base != expected:
                code += ELSEWHERE
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
    return render_number(MODES.index(mode) if mode in MODES else mode + len(MODES))
