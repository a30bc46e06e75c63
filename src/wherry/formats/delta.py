"""A delta: what turns files of a base into one layer's tar. Its frame, its sections, its bounds (docs/spec/delta.md).

The *body* is what a parcel carries, since there the diff_id stands elsewhere; `delta_file` is the form that travels by
itself. Everything that decides how much is allocated stands in the body's head and is checked here, against `Limits`,
before anything is unpacked. Nothing here reads a base.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from wherry.errors import FormatError
from wherry.formats.delta_bytes import ByteReader, render_number

MAX_PREFIX = 4 << 20  # bytes of base files before a group
MAX_DICTIONARY_LOG = 22  # xz's
MAX_WINDOW_LOG = 23  # zstd's
_MAX_HEAD = 1 << 20
_MAX_GROUPS = 50_000
_MAX_SETTING = 224

# Gives `size` bytes at `offset`; fewer only at the end.
ReadAt = Callable[[int, int], bytes]


class Form(IntEnum):
    FULL = 0
    DELTA = 1


class Codec(IntEnum):
    """How a section is stored. XZ is a raw LZMA1 stream with its end marker, ZSTD a frame without its magic number."""

    STORED = 0
    XZ = 1
    ZSTD = 2


class Part(IntEnum):
    """The sections that a delta has once; groups follow them."""

    INDEX = 0
    SKELETON = 1
    CONTROL = 2
    RUNS = 3
    DIFFERENCE = 4
    LITERAL = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a decoder is willing to hold or to do. Sizes in bytes; `memory` is that of windows, dictionaries and prefix."""

    target_size: int = 1 << 40
    memory: int = 34 << 20
    index_size: int = 8 << 20
    entries: int = 500_000
    listed: int = 100_000
    operations: int = 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """`setting` is xz's lc/lp/pb byte, `window_log` the dictionary's or window's size; `offset` counts from the body's start."""

    codec: Codec
    offset: int
    stored: int
    raw: int
    setting: int = 0
    window_log: int = 0

    @property
    def memory(self) -> int:
        return 1 << self.window_log if self.window_log else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """The head of a body. `prefix` is the most that a group's base files have together."""

    form: Form
    target_size: int
    entries: int = 0
    operations: int = 0
    prefix: int = 0
    parts: tuple[Section | None, ...] = (None,) * len(Part)
    groups: tuple[Section, ...] = ()
    full: Section | None = None

    @property
    def memory(self) -> int:
        """Most that the decoder's windows, dictionaries and prefix take at one time."""
        at_once = sum(section.memory for section in self.parts[1:] if section)
        index = self.parts[Part.INDEX]
        group = max((section.memory for section in self.groups), default=0)
        return max(at_once + group + self.prefix, index.memory if index else 0, self.full.memory if self.full else 0)


def render_head(
    *,
    target_size: int,
    entries: int,
    operations: int,
    prefix: int,
    parts: Mapping[Part, Section],
    groups: Sequence[Section],
) -> bytes:
    """The head of a body of the form DELTA; the sections' bytes follow it, the parts in their order and then the groups.

    Offsets are not told. A part that has no bytes must be left out.
    """
    present = [part for part in Part if part in parts]
    head = [
        bytes((Form.DELTA,)),
        render_number(target_size),
        render_number(entries),
        render_number(operations),
        render_number(prefix),
        bytes((sum(1 << part for part in present),)),
        *(_render_section(parts[part]) for part in present),
        render_number(len(groups)),
        *(_render_section(group) for group in groups),
    ]
    return b"".join(head)


def render_full_head(target_size: int, window_log: int) -> bytes:
    """The head of a body of the form FULL; the whole tar follows as a zstd frame without its magic number."""
    return bytes((Form.FULL,)) + render_number(target_size) + bytes((window_log,))


def _render_section(section: Section) -> bytes:
    head = bytes((section.codec,)) + render_number(section.stored)
    if section.codec is Codec.STORED:
        return head
    head += render_number(section.raw) + bytes((section.window_log,))
    return head + bytes((section.setting,)) if section.codec is Codec.XZ else head


def parse_body(read: ReadAt, size: int, limits: Limits, where: str = "delta") -> Body:
    """Read a body's head, from `size` bytes in all. What exceeds `limits` is a `FormatError`."""
    reader = ByteReader(read(0, min(size, _MAX_HEAD)), where)
    form = reader.number(max(Form))
    target_size = reader.number(limits.target_size)
    body = _parse_full(reader, size, target_size) if form == Form.FULL else _parse_delta(reader, size, target_size, limits)
    if body.memory > limits.memory:
        raise FormatError(f"a delta that needs {body.memory} bytes of memory, {limits.memory} are allowed", where=where)
    return body


def _parse_full(reader: ByteReader, size: int, target_size: int) -> Body:
    window_log = reader.byte(MAX_WINDOW_LOG)
    offset = reader.position
    frame = Section(codec=Codec.ZSTD, offset=offset, stored=size - offset, raw=target_size, window_log=window_log)
    return Body(form=Form.FULL, target_size=target_size, full=frame)


def _parse_delta(reader: ByteReader, size: int, target_size: int, limits: Limits) -> Body:
    entries, operations = reader.number(limits.entries), reader.number(limits.operations)
    prefix = reader.number(MAX_PREFIX)
    mask = reader.number((1 << len(Part)) - 1)
    raw_limits = {Part.INDEX: limits.index_size}
    found = [_parse_section(reader, raw_limits.get(part, 2 * target_size)) if mask >> part & 1 else None for part in Part]
    groups = [_parse_section(reader, target_size) for _ in range(reader.number(_MAX_GROUPS))]
    offset = reader.position
    placed: list[Section | None] = []
    for section in (*found, *groups):
        placed.append(section and replace(section, offset=offset))
        offset += section.stored if section else 0
    if offset != size:
        raise reader.refuse("its sections and its size do not agree")
    return Body(
        form=Form.DELTA,
        target_size=target_size,
        entries=entries,
        operations=operations,
        prefix=prefix,
        parts=tuple(placed[: len(Part)]),
        groups=tuple(section for section in placed[len(Part) :] if section),
    )


def _parse_section(reader: ByteReader, raw_limit: int) -> Section:
    codec = Codec(reader.number(max(Codec)))
    stored = reader.number()
    if codec is Codec.STORED:
        if stored > raw_limit:
            raise reader.refuse("a section larger than it may be")
        return Section(codec=codec, offset=0, stored=stored, raw=stored)
    raw = reader.number(raw_limit)
    window_log = reader.byte(MAX_DICTIONARY_LOG if codec is Codec.XZ else MAX_WINDOW_LOG)
    setting = reader.byte(_MAX_SETTING) if codec is Codec.XZ else 0
    return Section(codec=codec, offset=0, stored=stored, raw=raw, setting=setting, window_log=window_log)
