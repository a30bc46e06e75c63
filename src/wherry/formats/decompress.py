"""Unpacks a stream of compressed chunks within a bound, whichever of gzip, xz, zstd or bz2 it is in.

Never more than one chunk is held; concatenated streams are one, as for the programs; what ends early, goes on
after its end, or grows beyond `limit` is a `FormatError`.
"""

from __future__ import annotations

import bz2
import lzma
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from wherry.errors import FormatError

if sys.version_info >= (3, 14):
    from compression.zstd import DecompressionParameter, ZstdDecompressor, ZstdError
else:
    from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdError

CHUNK = 1 << 17
# xz -9 asks for 65 MiB, `zstd --long` for 128 MiB; nothing that Debian ships wants more.
_XZ_MEMORY = 96 << 20
_ZSTD_WINDOW_LOG = 27


class _Decoder(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = ...) -> bytes: ...


class _Gzip:
    """zlib's object with the interface that the three others share."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(31)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.eof and not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = CHUNK) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


def _new_xz() -> _Decoder:
    return lzma.LZMADecompressor(lzma.FORMAT_AUTO, memlimit=_XZ_MEMORY)


def _new_zstd() -> _Decoder:
    return ZstdDecompressor(options={DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG})


_DECODERS: dict[str, Callable[[], _Decoder]] = {
    "gz": _Gzip,
    "xz": _new_xz,
    "lzma": _new_xz,
    "zst": _new_zstd,
    "bz2": bz2.BZ2Decompressor,
}


def unpack_chunks(chunks: Iterable[bytes], suffix: str, *, limit: int, where: str) -> Iterator[bytes]:
    """Yield what `chunks` hold, at most `limit` bytes. `suffix` is ``gz``, ``xz``, ``zst``, ``bz2``, or empty for plain."""
    if suffix and suffix not in _DECODERS:
        raise FormatError(f"a compression that is not known here: .{suffix}", where=where)
    total = 0
    try:
        for piece in _decode(chunks, _DECODERS[suffix], where) if suffix else chunks:
            total += len(piece)
            if total > limit:
                raise FormatError(f"unpacks to more than {limit} bytes", where=where)
            yield piece
    except (zlib.error, lzma.LZMAError, ZstdError, OSError, EOFError) as error:
        raise FormatError(f"damaged .{suffix} data: {error}", where=where) from error


def _decode(chunks: Iterable[bytes], new: Callable[[], _Decoder], where: str) -> Iterator[bytes]:
    decoder = new()
    started = False
    for chunk in chunks:
        data = chunk
        while data or not decoder.needs_input:
            if decoder.eof:
                data = (decoder.unused_data + data).lstrip(b"\0")  # xz and gzip may be padded with zeros
                if not data:
                    break
                decoder, started = new(), False
            piece = decoder.decompress(data, CHUNK)
            started, data = True, b""
            if piece:
                yield piece
            elif not decoder.needs_input and not decoder.eof:
                continue
    if not started or not decoder.eof:
        raise FormatError("ends before its time", where=where)
