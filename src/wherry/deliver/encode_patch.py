"""One file as bsdiff's operations over another, in the form that a delta's streams have (docs/spec/delta.md, "Patches").

Sorting the suffixes of a base takes some 17 times its size in memory, so what is large is cut: where target and base are
equal at one offset nothing has to be searched, and what lies between is searched for in that part of the base only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from bsdiff4 import core

from wherry.formats.delta import ReadAt
from wherry.formats.delta_bytes import ByteReader, render_number, render_signed

_NUMBER = 8  # bytes of each of bsdiff's numbers
_SIGN = 1 << 63
# Up to three equal bytes between others cost less as a difference of zero than as a run of their own.
_OTHERS = re.compile(rb"[^\0](?:\0{0,3}[^\0])*")
_WHOLE = 48 << 20  # a base and a target up to this size are compared as they are
_BLOCK = 1 << 16
_SEGMENT = 16 << 20
_MARGIN = 8 << 20  # how much of a large base before and behind a segment is searched
_LEAST = 32  # bytes in common; told as they are, fewer cost less than an operation, and less time
_MAX_SEARCHED = 512 << 20  # bytes of a file that differ; beyond it searching takes too long


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """A file of base or target."""

    size: int
    read: ReadAt


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """What one file adds to each stream."""

    operations: int
    control: bytes
    runs: bytes
    difference: bytes
    literal: bytes

    @property
    def added(self) -> int:
        """Bytes that come from the base."""
        return sum(_numbers(self.runs))

    def spread(self) -> Iterator[bytes]:
        """The difference with its zeros."""
        numbers, at = _numbers(self.runs), 0
        for zeros in numbers:
            for part in range(0, zeros, _BLOCK):
                yield bytes(min(_BLOCK, zeros - part))
            others = next(numbers)
            yield self.difference[at : at + others]
            at += others

    @property
    def size(self) -> int:
        return len(self.control) + len(self.runs) + len(self.difference) + len(self.literal)


def _numbers(data: bytes) -> Iterator[int]:
    reader = ByteReader(data, "runs")
    while not reader.at_end:
        yield reader.number()


def make_patch(base: End, target: End) -> Patch | None:
    """The operations that make `target`; None for what is too large and too different."""
    writer = _Writer()
    if base.size <= _WHOLE and target.size <= _WHOLE:
        writer.add_segment(base.read(0, base.size), target.read(0, target.size), 0)
        return writer.finish()
    segments = list(_cut(base, target))
    if sum(size for _, size, equal in segments if not equal) > _MAX_SEARCHED:
        return None
    for offset, size, equal in segments:
        if equal:
            writer.add_equal(offset, size)
            continue
        start = max(0, min(offset, base.size) - _MARGIN)
        window = base.read(start, min(base.size, offset + size + _MARGIN) - start)
        writer.add_segment(window, target.read(offset, size), start)
    return writer.finish()


def _cut(base: End, target: End) -> Iterator[tuple[int, int, bool]]:
    """The target as stretches (offset, size, whether the base has the same there)."""
    start, kind = 0, False
    for offset in range(0, target.size, _BLOCK):
        size = min(_BLOCK, target.size - offset)
        same = offset + size <= base.size and base.read(offset, size) == target.read(offset, size)
        if offset > start and (same != kind or (not same and offset - start >= _SEGMENT)):
            yield start, offset - start, kind
            start = offset
        kind = same
    if target.size > start:
        yield start, target.size - start, kind


class _Writer:
    """Puts operations together. Positions are those in the base; the seek of an operation is known with the next one."""

    def __init__(self) -> None:
        self._operations: list[tuple[int, int, int]] = []  # position, add, extra
        self._runs, self._others, self._zeros = bytearray(), bytearray(), 0
        self._literal = bytearray()

    def add_equal(self, position: int, size: int) -> None:
        self._operations.append((position, size, 0))
        self._zeros += size

    def add_segment(self, base: bytes, target: bytes, start: int) -> None:
        """`base` lies at `start` of the whole base."""
        triples, difference, _ = core.diff(base, target)
        numbers = [_number(triples[at : at + _NUMBER]) for at in range(0, len(triples), _NUMBER)]
        position, made, differed = start, 0, 0
        kept: list[list[int]] = []  # position, made, differed, add, extra
        for at in range(0, len(numbers), 3):
            add, extra, seek = numbers[at : at + 3]
            if kept and add < _LEAST:
                kept[-1][-1] += add + extra
            elif add + extra:
                kept.append([position, made, differed, add, extra])
            position, made, differed = position + add + seek, made + add + extra, differed + add
        for position, made, differed, add, extra in kept:
            self._operations.append((position, add, extra))
            self._add_difference(difference[differed : differed + add])
            self._literal += target[made + add : made + add + extra]

    def _add_difference(self, difference: bytes) -> None:
        at = 0
        for match in _OTHERS.finditer(difference):
            self._runs += render_number(self._zeros + match.start() - at) + render_number(match.end() - match.start())
            self._others += match[0]
            self._zeros, at = 0, match.end()
        self._zeros += len(difference) - at

    def finish(self) -> Patch:
        if self._zeros:
            self._runs += render_number(self._zeros) + render_number(0)
        control, end = bytearray(), 0
        if self._operations and self._operations[0][0]:
            self._operations.insert(0, (0, 0, 0))
        following = [position for position, _, _ in self._operations[1:]]
        for (position, add, extra), then in zip(self._operations, (*following, None), strict=False):
            end = position + add
            control += render_number(add) + render_number(extra) + render_signed(0 if then is None else then - end)
        return Patch(
            operations=len(self._operations),
            control=bytes(control),
            runs=bytes(self._runs),
            difference=bytes(self._others),
            literal=bytes(self._literal),
        )


def _number(raw: bytes) -> int:
    value = int.from_bytes(raw, "little")
    return value if value < _SIGN else _SIGN - value
