"""Unpacks streams within a bound: gzip, zstd, xz and bz2, by the bytes they begin with or by the name they came under.

Rules: never more than a block is held; concatenated streams are one, as for the programs, and may be padded with zeros;
what is damaged, ends early, goes on after its end, or grows beyond `limit` is a `FormatError`. The libraries are imported
on first use.
"""

from __future__ import annotations

import bz2
import lzma
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from wherry.errors import FormatError
from wherry.formats.codec import load_zlib_ng, load_zstd

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
CHUNK = 1 << 17

_BLOCK = 1 << 18  # the most that comes out at a time
# xz -9 asks for 65 MiB, `zstd --long` for 128 MiB; nothing that Debian ships or registries hold wants more.
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


@dataclass(frozen=True, slots=True)
class _Codec:
    name: str
    new: Callable[[], _Decoder]
    errors: tuple[type[Exception], ...]


class _Gzip:
    """zlib's object with the interface that the three others share."""

    def __init__(self) -> None:
        self._inner: Any = load_zlib_ng().decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    @property
    def needs_input(self) -> bool:
        return not self._inner.eof and not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return bytes(self._inner.unused_data)

    def decompress(self, data: bytes, max_length: int = _BLOCK) -> bytes:
        return bytes(self._inner.decompress(self._inner.unconsumed_tail + data, max_length))


def _gzip() -> _Codec:
    return _Codec("gzip", _Gzip, (load_zlib_ng().error,))


def _zstd() -> _Codec:
    zstd = load_zstd()
    options = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
    return _Codec("zstd", lambda: zstd.ZstdDecompressor(options=options), (zstd.ZstdError,))


def _xz() -> _Codec:
    return _Codec("xz", lambda: lzma.LZMADecompressor(lzma.FORMAT_AUTO, memlimit=_XZ_MEMORY), (lzma.LZMAError,))


def _bz2() -> _Codec:
    return _Codec("bz2", bz2.BZ2Decompressor, (OSError, EOFError))


_SUFFIXES = {"gz": _gzip, "xz": _xz, "lzma": _xz, "zst": _zstd, "bz2": _bz2}


def codec_of(magic: bytes) -> str:
    """Which codec a layer's first four bytes tell: ``gzip``, ``zstd`` or ``identity``."""
    if magic.startswith(GZIP_MAGIC):
        return "gzip"
    if magic.startswith(ZSTD_MAGIC) or (len(magic) >= 4 and magic[1:4] == b"\x2a\x4d\x18" and magic[0] >> 4 == 5):
        return "zstd"  # the latter is a skippable frame (RFC 8878, 3.1.2)
    return "identity"


def unpack_layer_chunks(chunks: Iterable[bytes], limit: int) -> Iterator[bytes]:
    """What a layer or an archive holds: gzip, zstd or nothing of the kind, by its first bytes, since media types lie."""
    source = iter(chunks)
    first = b""
    for chunk in source:
        first += chunk
        if len(first) >= 4:
            break
    kind = codec_of(first)
    yield from _bound(_resume(first, source), {"gzip": _gzip, "zstd": _zstd}.get(kind), limit, None)


def unpack_chunks(chunks: Iterable[bytes], suffix: str, *, limit: int, where: str) -> Iterator[bytes]:
    """Yield what `chunks` hold, at most `limit` bytes. `suffix` is ``gz``, ``xz``, ``zst``, ``bz2``, or empty for plain."""
    if suffix and suffix not in _SUFFIXES:
        raise FormatError(f"a compression that is not known here: .{suffix}", where=where)
    yield from _bound(chunks, _SUFFIXES[suffix] if suffix else None, limit, where)


def _resume(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from rest


def _bound(chunks: Iterable[bytes], load: Callable[[], _Codec] | None, limit: int, where: str | None) -> Iterator[bytes]:
    codec = load() if load else None
    total = 0
    for piece in _expand(chunks, codec, where) if codec else chunks:
        total += len(piece)
        if total > limit:
            name = codec.name if codec else "plain"
            raise FormatError(f"{name} data that holds more than the {limit} bytes allowed", where=where)
        if piece:
            yield piece


def _expand(chunks: Iterable[bytes], codec: _Codec, where: str | None) -> Iterator[bytes]:
    decoder = codec.new()
    started = False
    for chunk in chunks:
        data = chunk
        while data or not decoder.needs_input:
            if decoder.eof:
                data = (decoder.unused_data + data).lstrip(b"\0")
                if not data:
                    break
                decoder, started = codec.new(), False
            try:
                piece = decoder.decompress(data, _BLOCK)
            except codec.errors as error:
                raise FormatError(f"damaged {codec.name} data: {error}", where=where) from error
            started, data = True, b""
            yield piece
    if not started or not decoder.eof:
        raise FormatError(f"{codec.name} data that ends too early", where=where)
