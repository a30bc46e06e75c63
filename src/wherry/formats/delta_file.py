"""A delta that travels by itself: the bodies of an image's changed layers, with its config, and a checksum over all.

docs/spec/delta.md, "The file". One that comes from a tar or a folder has one layer and no config. The checksum finds
accidents; what proves a layer is its diff_id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wherry.errors import FormatError
from wherry.formats.delta import ReadAt
from wherry.formats.delta_bytes import ByteReader, render_number
from wherry.model.digest import DiffId

MAGIC = b"wdl\x01"
CHECKSUM = 8  # bytes of sha256 over all before, at the end
MAX_CONFIG = 4 << 20
MAX_LAYERS = 1000
_DIFF_ID = 32
_CHUNK = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLayer:
    """A layer that the file makes; its body lies at `offset` and has `size` bytes."""

    diff_id: DiffId
    offset: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaFile:
    """`config` is empty unless the target is an image; then it names all layers, also those that stay."""

    config: bytes
    layers: tuple[FileLayer, ...]


def render_file_head(config: bytes, layers: Sequence[tuple[DiffId, int]]) -> bytes:
    """All before the bodies, which follow in the order of `layers` (diff_id, size of the body); the checksum ends the file."""
    told = (bytes.fromhex(diff_id.hex) + render_number(size) for diff_id, size in layers)
    return b"".join((MAGIC, render_number(len(config)), config, render_number(len(layers)), *told))


def checksum_of(chunks: Iterable[bytes]) -> bytes:
    hasher = hashlib.sha256()
    for chunk in chunks:
        hasher.update(chunk)
    return hasher.digest()[:CHECKSUM]


def parse_file(read: ReadAt, size: int, where: str = "delta") -> DeltaFile:
    """Find the bodies in a file of `size` bytes. A file that was altered anywhere is a `FormatError`."""
    if not read(0, len(MAGIC)).startswith(MAGIC):
        raise FormatError("not a delta of wherry's, or of another version", where=where)
    end = size - CHECKSUM
    if end < len(MAGIC) or checksum_of(_pieces(read, end, where)) != read(end, CHECKSUM):
        raise FormatError("a damaged delta: its checksum is wrong", where=where, hint="transfer or make it again")
    reader = ByteReader(read(0, min(end, MAX_CONFIG + MAX_LAYERS * 40 + 64)), where)
    reader.take(len(MAGIC))
    config = reader.take(reader.number(MAX_CONFIG))
    told = [(DiffId(reader.take(_DIFF_ID).hex()), reader.number(end)) for _ in range(reader.number(MAX_LAYERS))]
    at, layers = reader.position, []
    for diff_id, length in told:
        layers.append(FileLayer(diff_id=diff_id, offset=at, size=length))
        at += length
    if at != end:
        raise reader.refuse("its layers and its size do not agree")
    return DeltaFile(config=config, layers=tuple(layers))


def _pieces(read: ReadAt, size: int, where: str) -> Iterable[bytes]:
    at = 0
    while at < size:
        piece = read(at, min(_CHUNK, size - at))
        if not piece:
            raise FormatError("a damaged delta: ends before its time", where=where)
        at += len(piece)
        yield piece
