"""A parcel: one file from a base to a release, with the documents that make its layers believed (docs/spec/parcel.md).

It is untrusted: whatever is read from it counts only by a signature or a digest. The checksum at its end tells damage, not
attack. All sizes stand in its head and are held against `ParcelLimits` before anything is unpacked. A parcel without a
base is the full one. Which layers its bodies are follows from the two configs, so that they carry no names.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from wherry.errors import FormatError
from wherry.formats.delta import ReadAt
from wherry.formats.delta_bytes import ByteReader, render_number
from wherry.formats.oci_json import parse_config
from wherry.formats.parcel_documents import (
    CHECK,
    BaseDocuments,
    Documents,
    PackedDocuments,
    Prefix,
    pack_documents,
    unpack_documents,
)
from wherry.model.digest import DiffId

__all__ = [
    "MAGIC",
    "BaseDocuments",
    "BodyPlace",
    "Documents",
    "ParcelHead",
    "ParcelLayer",
    "ParcelLimits",
    "find_lacking",
    "locate_bodies",
    "parse_parcel",
    "read_documents",
    "stream_parcel",
]

MAGIC = b"wpl\x01"
CHECKSUM = 4  # bytes of CRC-32 at the end
_MAX_LAYERS = 128  # engines take no more than 127
_MAX_HEAD = 4 << 10
_CHUNK = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class ParcelLimits:
    """What a device is willing to take, in bytes: a parcel in all, and its documents; the layers have `delta.Limits`."""

    size: int = 1 << 40
    documents: int = 2 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ParcelLayer:
    """A layer on its way into a parcel: `chunks` gives the body of its delta (docs/spec/delta.md), `size` bytes of it."""

    diff_id: DiffId
    size: int
    chunks: Callable[[], Iterable[bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    offset: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ParcelHead:
    """Where things lie in a parcel of `size` bytes. `check` tells the base's documents; empty in a full parcel."""

    size: int
    prefix: Prefix
    check: bytes
    folded: int
    documents: Span
    layers: tuple[Span, ...]

    @property
    def is_full(self) -> bool:
        return self.prefix is Prefix.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyPlace:
    """Where the body of one layer's delta lies in a parcel."""

    diff_id: DiffId
    offset: int
    size: int


def stream_parcel(
    documents: Documents, base: BaseDocuments | None, layers: Sequence[ParcelLayer], limits: ParcelLimits | None = None
) -> Iterator[bytes]:
    """The parcel for the owner of `base`, with a body for each layer that it lacks, in their order (`find_lacking`)."""
    limits = limits or ParcelLimits()
    lacking = find_lacking(documents.config, base.config if base else None)
    if tuple(layer.diff_id for layer in layers) != lacking:
        raise FormatError("the layers given are not those that the base lacks", where="parcel")
    checksum = 0
    for chunk in _render(pack_documents(documents, base, limits.documents), layers):
        checksum = zlib.crc32(chunk, checksum)
        yield chunk
    yield checksum.to_bytes(CHECKSUM, "little")


def _render(packed: PackedDocuments, layers: Sequence[ParcelLayer]) -> Iterator[bytes]:
    if len(layers) > _MAX_LAYERS:
        raise FormatError(f"{len(layers)} layers, a parcel holds at most {_MAX_LAYERS}", where="parcel")
    numbers = (packed.folded, len(packed.frame), len(layers), *(layer.size for layer in layers))
    check = b"" if packed.prefix is Prefix.NONE else packed.check
    yield b"".join((MAGIC, bytes((packed.prefix,)), check, *map(render_number, numbers), packed.frame))
    for layer in layers:
        size = 0
        for chunk in layer.chunks():
            size += len(chunk)
            yield chunk
        if size != layer.size:
            raise FormatError(f"a body of {size} bytes, {layer.size} were announced", where=str(layer.diff_id))


def parse_parcel(read: ReadAt, size: int, limits: ParcelLimits | None = None, where: str = "parcel") -> ParcelHead:
    """Read a parcel's head and hold all of it against its checksum. What is damaged or exceeds `limits` is a `FormatError`."""
    limits = limits or ParcelLimits()
    if size > limits.size:
        raise FormatError(f"a parcel of {size} bytes, at most {limits.size} are taken", where=where)
    if read(0, len(MAGIC)) != MAGIC:
        raise FormatError("not a parcel of wherry's, or of another version", where=where)
    head = _parse_head(_HeadReader(read(0, min(size - CHECKSUM, _MAX_HEAD)), where), size, limits)
    _check_whole(read, size, where)
    return head


def _parse_head(reader: ByteReader, size: int, limits: ParcelLimits) -> ParcelHead:
    reader.take(len(MAGIC))
    prefix = Prefix(reader.number(max(Prefix)))
    check = b"" if prefix is Prefix.NONE else reader.take(CHECK)
    folded = reader.number(limits.documents)
    stored = reader.number(limits.documents)
    sizes = [reader.number(size) for _ in range(reader.number(_MAX_LAYERS))]
    at = reader.position + stored
    layers = []
    for each in sizes:
        layers.append(Span(offset=at, size=each))
        at += each
    if at != size - CHECKSUM:
        raise reader.refuse("its size is not what its head says")
    documents = Span(offset=reader.position, size=stored)
    return ParcelHead(size=size, prefix=prefix, check=check, folded=folded, documents=documents, layers=tuple(layers))


def _check_whole(read: ReadAt, size: int, where: str) -> None:
    checksum, at = 0, 0
    while at < size - CHECKSUM:
        chunk = read(at, min(_CHUNK, size - CHECKSUM - at))
        if not chunk:
            raise FormatError("a damaged parcel: it is cut off", where=where)
        checksum = zlib.crc32(chunk, checksum)
        at += len(chunk)
    if checksum.to_bytes(CHECKSUM, "little") != read(at, CHECKSUM):
        raise FormatError("a damaged parcel: its checksum is wrong", where=where, hint="transfer it again")


def read_documents(
    read: ReadAt, head: ParcelHead, base: BaseDocuments | None, limits: ParcelLimits | None = None, where: str = "parcel"
) -> Documents:
    """Unpack the documents, for the owner of `base`; they are to be verified before anything else of the parcel is used.

    A parcel that was made for another base is a `DeviceError`.
    """
    frame = read(head.documents.offset, head.documents.size)
    packed = PackedDocuments(prefix=head.prefix, check=head.check, folded=head.folded, frame=frame)
    return unpack_documents(packed, base, (limits or ParcelLimits()).documents, where)


def find_lacking(config: bytes, base: bytes | None) -> tuple[DiffId, ...]:
    """The layers of an image that the owner of `base` (both configs) lacks, each once, the lowest first."""
    held = set(parse_config(base, "config of the base").diff_ids) if base else set()
    return tuple(dict.fromkeys(diff_id for diff_id in parse_config(config).diff_ids if diff_id not in held))


def locate_bodies(head: ParcelHead, config: bytes, base: bytes | None, where: str = "parcel") -> tuple[BodyPlace, ...]:
    """Which layer each body makes, by the verified config and that of the base."""
    lacking = find_lacking(config, None if head.is_full else base)
    if len(lacking) != len(head.layers):
        raise FormatError(f"a damaged parcel: {len(head.layers)} bodies, and {len(lacking)} layers are lacking", where=where)
    places = zip(lacking, head.layers, strict=True)
    return tuple(BodyPlace(diff_id=diff_id, offset=span.offset, size=span.size) for diff_id, span in places)


class _HeadReader(ByteReader):
    def refuse(self, what: str) -> FormatError:
        return FormatError(f"a damaged parcel: {what}", where=self.where)
