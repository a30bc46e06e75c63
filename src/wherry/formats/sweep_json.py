"""The documents of a sweep's state: spec, lease, beat, done, round (docs/spec/sweep-state.md). JSON, each with `format` 1.

Rules: a document of another format number is refused by name, so that an older wherry never guesses; unknown members are passed
over; what is not what the values say is a `FormatError` with the document's key. Journals are JSON lines of done documents.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from wherry.errors import FormatError
from wherry.model.sweep import Beat, Lease, Round, SweepSpec, TaskDone

FORMAT = 1
_OURS = b'{"format":%d,' % FORMAT  # how this version begins its documents: no need to look twice
Document = SweepSpec | Lease | Beat | TaskDone | Round
_D = TypeVar("_D", SweepSpec, Lease, Beat, TaskDone, Round)
_ENCODER = msgspec.json.Encoder()


class _Head(msgspec.Struct):
    format: int


_HEAD = msgspec.json.Decoder(_Head)
_DECODERS: dict[type[Any], msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(kind) for kind in (SweepSpec, Lease, Beat, TaskDone, Round)
}


def render_document(value: Document) -> bytes:
    """One document. What a value has by default is left out of none: a reader of another language needs no defaults."""
    return b"%s%s\n" % (_OURS, _ENCODER.encode(value)[1:])


def parse_document(data: bytes, kind: type[_D], where: str) -> _D:
    """A document of this kind; `where` is its key."""
    try:
        if not data.startswith(_OURS) and (number := _HEAD.decode(data).format) != FORMAT:
            raise FormatError(f"format {number} is unknown", where=where, hint="a newer wherry")
        found: _D = _DECODERS[kind].decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise FormatError(f"damaged: {error}", where=where) from error
    return found


def render_journal(ends: Iterable[TaskDone]) -> bytes:
    return b"".join(map(render_document, ends))


def parse_journal(data: bytes, where: str) -> tuple[TaskDone, ...]:
    return tuple(parse_document(line, TaskDone, where) for line in data.splitlines())
