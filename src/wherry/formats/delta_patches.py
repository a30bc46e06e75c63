"""Applies bsdiff's operations as a delta's streams tell them (docs/spec/delta.md, "Patches"), in blocks of fixed size.

Operations are many and small, so a block is put together from pieces first, and the difference is added to it at once.
Refused: operations that leave their file, more of them than were announced, runs that are empty or end beyond their file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from wherry.errors import FormatError, TrustError
from wherry.formats.delta_bytes import add_bytes
from wherry.formats.delta_streams import SectionReader

BLOCK_SIZE = 1 << 16
_BEHIND = 1 << 12  # kept before a position when the base is read, since operations also step back


class Patcher:
    """The four streams, which run on from file to file."""

    def __init__(
        self,
        control: SectionReader,
        runs: SectionReader,
        difference: SectionReader,
        literal: SectionReader,
        operations: int,
        where: str,
    ) -> None:
        self._sections = (control, runs, difference)
        self._control, self._runs = control.numbers(), runs.numbers()
        self._difference, self._literal = difference, literal
        self._operations, self._where = operations, where
        self._zeros = self._others = 0
        self._ahead, self._at = b"", 0  # of the difference: what was read of it, and how much of that is used
        self._block: list[bytes] = []
        self._added = bytearray(BLOCK_SIZE)  # what is added to the block; zero beyond its end
        self._fill = 0
        self._dirty = False

    def expect_end(self) -> None:
        """All operations are done, and the streams end there; the literal one is the caller's."""
        if self._at < len(self._ahead):
            raise self._refuse("has more than its index asks for")
        if self._operations or next(self._control, None) is not None or next(self._runs, None) is not None:
            raise self._refuse("has more than its index asks for")
        for section in self._sections:
            section.expect_end()

    def patch(self, reader: BinaryIO, path: str, held: int, size: int) -> Iterator[bytes]:
        """`size` bytes out of a base file that has `held`."""
        window = _Window(reader, path)
        position, left = 0, size
        while left:
            add, extra, seek = self._next_operation()
            if add + extra > left or position + add > held:
                raise self._refuse("an operation that leaves its file")
            left -= add + extra
            while add:
                part = min(add, BLOCK_SIZE - self._fill)
                self._block.append(window.read(position, part))
                self._take_difference(part)
                position += part
                add -= part
                yield from self._grow(part)
            while extra:
                part = min(extra, BLOCK_SIZE - self._fill)
                self._block.append(self._literal.read(part))
                extra -= part
                yield from self._grow(part)
            position += seek
            if not 0 <= position <= held:
                raise self._refuse("an operation that leaves its file")
        if self._zeros or self._others:
            raise self._refuse("a run beyond its file")
        if self._fill:
            yield self._finish_block()

    def _next_operation(self) -> tuple[int, int, int]:
        if not self._operations:
            raise self._refuse("more operations than it says")
        self._operations -= 1
        control = self._control
        add, extra, seek = next(control, -1), next(control, -1), next(control, -1)
        if seek < 0:
            raise self._refuse("a section is shorter than what is asked of it")
        return add, extra, -((seek + 1) >> 1) if seek & 1 else seek >> 1

    def _take_difference(self, size: int) -> None:
        """Put the next `size` bytes of the file's difference where the block has grown to."""
        at, end = self._fill, self._fill + size
        zeros, others, runs, added = self._zeros, self._others, self._runs, self._added
        ahead, taken = self._ahead, self._at
        while at < end:
            if zeros:
                step = zeros if zeros < end - at else end - at
                zeros -= step
            elif others:
                step = others if others < end - at else end - at
                if taken + step > len(ahead):
                    ahead, taken = self._read_ahead(ahead[taken:], step), 0
                added[at : at + step] = ahead[taken : taken + step]
                taken += step
                others -= step
                self._dirty = True
            else:
                step, zeros, others = 0, next(runs, 0), next(runs, 0)
                if not zeros and not others:
                    raise self._refuse("an empty run")
            at += step
        self._zeros, self._others, self._ahead, self._at = zeros, others, ahead, taken

    def _read_ahead(self, rest: bytes, size: int) -> bytes:
        """At least `size` bytes of the difference, `rest` first. They are used a few at a time, and each call costs."""
        return rest + self._difference.read(max(size - len(rest), min(BLOCK_SIZE, self._difference.left)))

    def _grow(self, size: int) -> Iterator[bytes]:
        self._fill += size
        if self._fill == BLOCK_SIZE:
            yield self._finish_block()

    def _finish_block(self) -> bytes:
        data = b"".join(self._block)
        if self._dirty:
            data = add_bytes(data, bytes(self._added[: self._fill]))
            self._added[: self._fill] = bytes(self._fill)
        self._block, self._fill, self._dirty = [], 0, False
        return data

    def _refuse(self, what: str) -> FormatError:
        return FormatError(f"a damaged delta: {what}", where=self._where)


class _Window:
    """A base file, of which one stretch is at hand."""

    def __init__(self, reader: BinaryIO, path: str) -> None:
        self._reader, self._path = reader, path
        self._start, self._data = 0, b""

    def read(self, position: int, size: int) -> bytes:
        at = position - self._start
        if at < 0 or at + size > len(self._data):
            self._start = max(0, position - _BEHIND)
            at = position - self._start
            self._reader.seek(self._start)
            self._data = read_upto(self._reader, BLOCK_SIZE + _BEHIND)
            if at + size > len(self._data):
                raise TrustError("is shorter than it was listed", where=self._path)
        return self._data[at : at + size]


def read_upto(reader: BinaryIO, size: int) -> bytes:
    """`size` bytes; fewer only at the end."""
    parts = []
    while size:
        part = reader.read(size)
        if not part:
            break
        parts.append(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
