"""One file as bsdiff's operations over another, in the form that a delta's streams have (docs/spec/delta.md, "Patches")."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bsdiff4 import core

from wherry.formats.delta_bytes import render_number, render_signed

_NUMBER = 8  # bytes of each of bsdiff's numbers
_SIGN = 1 << 63
# Up to three equal bytes between others cost less as a difference of zero than as a run of their own.
_OTHERS = re.compile(rb"[^\0](?:\0{0,3}[^\0])*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """What one file adds to each stream."""

    operations: int
    control: bytes
    runs: bytes
    difference: bytes
    literal: bytes


def make_patch(base: bytes, target: bytes) -> Patch:
    triples, difference, literal = core.diff(base, target)
    numbers = [_number(triples[at : at + _NUMBER]) for at in range(0, len(triples), _NUMBER)]
    control, left, operations = bytearray(), len(target), 0
    for at in range(0, len(numbers), 3):
        add, extra, seek = numbers[at : at + 3]
        left -= add + extra
        operations += 1
        control += render_number(add) + render_number(extra) + render_signed(seek if left else 0)
        if not left:
            break
    runs, others = _split_runs(difference)
    return Patch(operations=operations, control=bytes(control), runs=runs, difference=others, literal=bytes(literal))


def _number(raw: bytes) -> int:
    value = int.from_bytes(raw, "little")
    return value if value < _SIGN else _SIGN - value


def _split_runs(difference: bytes) -> tuple[bytes, bytes]:
    runs, others, at = bytearray(), [], 0
    for match in _OTHERS.finditer(difference):
        runs += render_number(match.start() - at) + render_number(match.end() - match.start())
        others.append(match[0])
        at = match.end()
    if at < len(difference):
        runs += render_number(len(difference) - at) + render_number(0)
    return bytes(runs), b"".join(others)
