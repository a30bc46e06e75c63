"""Reads what model files say of themselves at their beginning: safetensors' header, ONNX's operator sets.

Follows safetensors' format (8 bytes of length, JSON, data) and ONNX's protobuf (`ModelProto`), of which only the fields of
the uppermost message are looked at; the graph is passed over. Refused: truncation, lengths beyond the file, headers beyond
the bounds, tensors that lie outside of the data or overlap nothing that is there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from wherry.errors import FormatError
from wherry.formats.untar import ChunkReader

_MAX_HEADER = 100_000_000  # safetensors' own bound
_MAX_FIELDS = 100_000
_MAX_MESSAGE = 64 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxFacts:
    """`opsets` are pairs of domain and version; the domain of the usual operators is empty."""

    opsets: tuple[tuple[str, int], ...]
    producer: str = ""


def check_safetensors(chunks: Iterable[bytes], size: int, where: str) -> int:
    """The number of tensors of a sound file; nothing of the data is read."""
    reader = ChunkReader(chunks, where)
    length = int.from_bytes(reader.read_exactly(8), "little")
    if length > min(_MAX_HEADER, size - 8):
        raise FormatError(f"safetensors with a header of {length} bytes in a file of {size}", where=where)
    try:
        header = json.loads(reader.read_exactly(length))
    except (ValueError, RecursionError) as error:
        raise FormatError("safetensors whose header is not JSON", where=where) from error
    if not isinstance(header, dict):
        raise FormatError("safetensors whose header is no table", where=where)
    header.pop("__metadata__", None)
    for name, tensor in header.items():
        offsets = tensor.get("data_offsets") if isinstance(tensor, dict) else None
        sound = isinstance(offsets, list) and len(offsets) == 2 and all(isinstance(one, int) for one in offsets)
        if not sound or not 0 <= offsets[0] <= offsets[1] <= size - 8 - length:  # type: ignore[index]
            raise FormatError(f"safetensors whose tensor {name[:80]!r} lies outside of the file", where=where)
    return len(header)


def parse_onnx(chunks: Iterable[bytes], size: int, where: str) -> OnnxFacts:
    """The operator sets that a model asks for."""
    reader = ChunkReader(chunks, where)
    opsets: list[tuple[str, int]] = []
    producer = ""
    for _ in range(_MAX_FIELDS):
        if reader.position >= size:
            break
        number, kind = divmod(_read_varint(reader), 8)
        if kind == 2:
            length = _read_varint(reader)
            if length > size - reader.position:
                raise FormatError("an ONNX model that ends before its time", where=where)
            if number in (2, 8) and length <= _MAX_MESSAGE:
                data = reader.read_exactly(length)
                if number == 2:
                    producer = data.decode("utf-8", "replace")
                else:
                    opsets.append(_parse_opset(data, where))
            else:
                reader.skip(length)
        elif kind == 0:
            _read_varint(reader)
        elif kind in (1, 5):
            reader.skip(8 if kind == 1 else 4)
        else:
            raise FormatError("no ONNX model", where=where)
    if not opsets:
        raise FormatError("no ONNX model: it names no operator set", where=where)
    return OnnxFacts(opsets=tuple(opsets), producer=producer[:80])


def _parse_opset(data: bytes, where: str) -> tuple[str, int]:
    reader = ChunkReader([data], where)
    domain, version = "", 0
    while reader.position < len(data):
        number, kind = divmod(_read_varint(reader), 8)
        if kind == 2:
            text = reader.read_exactly(min(_read_varint(reader), len(data)))
            domain = text.decode("utf-8", "replace") if number == 1 else domain
        elif kind == 0:
            value = _read_varint(reader)
            version = value if number == 2 else version
        else:
            raise FormatError("no ONNX model", where=where)
    return ("" if domain == "ai.onnx" else domain), version


def _read_varint(reader: ChunkReader) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = reader.read_exactly(1)[0]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value
    raise FormatError("no ONNX model: a number without end", where=reader.where)
