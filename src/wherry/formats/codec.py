"""Compresses streams: gzip, zstd, identity (docs/adr/0002-compression.md).

Rules: equal input gives equal output for one `codec_version`, however the input was cut into pieces: a compressor
passes its library blocks of one fixed size. The gzip header holds no name, no time and no host. zstd runs in one
thread, because its bytes depend on that. The libraries are imported on first use: a rebuild that compresses nothing
loads none. Reading is `decompress`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from wherry.errors import FormatError

DEFAULT_LEVEL = {"gzip": 5, "zstd": 10, "identity": 0}

_BLOCK = 1 << 18  # bytes passed to a library at a time
# RFC 1952: deflate, no flags, mtime 0, no extra flags, unknown operating system.
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


class Compressor(Protocol):
    """Takes bytes, gives what is ready; `finish` gives the rest."""

    def write(self, data: bytes) -> bytes: ...

    def finish(self) -> bytes: ...


def compressor(codec: str, level: int | None = None) -> Compressor:
    """A new compressor for ``gzip``, ``zstd`` or ``identity``."""
    chosen = DEFAULT_LEVEL.get(codec, 0) if level is None else level
    if codec == "gzip":
        return _Gzip(chosen)
    if codec == "zstd":
        return _zstd_compressor(chosen)
    if codec == "identity":
        return _Identity()
    raise FormatError(f"unknown compression {codec!r}", hint="gzip, zstd or identity")


def codec_version(codec: str) -> str:
    """Library and version on which the bytes depend, such as ``zlib-ng 2.3.3, blocks of 262144``; part of every cache key."""
    if codec == "gzip":
        zlib_ng = load_zlib_ng()
        return f"zlib-ng {zlib_ng.ZLIBNG_RUNTIME_VERSION}, blocks of {_BLOCK}"
    if codec == "zstd":
        return f"zstd {load_zstd().zstd_version}, blocks of {_BLOCK}"
    return "identity"


class _Blocks:
    """Cuts what is written into blocks of one size, so that output never depends on the writer's chunks."""

    def __init__(self, sink: Callable[[bytes], bytes], end: Callable[[bytes], bytes]) -> None:
        self._sink = sink
        self._end = end
        self._pending = bytearray()

    def write(self, data: bytes) -> bytes:
        self._pending += data
        if len(self._pending) < _BLOCK:
            return b""
        out = []
        whole = len(self._pending) - len(self._pending) % _BLOCK
        with memoryview(self._pending) as view:
            for start in range(0, whole, _BLOCK):
                out.append(self._sink(bytes(view[start : start + _BLOCK])))
        del self._pending[:whole]
        return b"".join(out)

    def finish(self) -> bytes:
        rest = bytes(self._pending)
        self._pending.clear()
        return self._end(rest)


class _Gzip(_Blocks):
    def __init__(self, level: int) -> None:
        zlib_ng = load_zlib_ng()
        self._deflate: Any = zlib_ng.compressobj(level, zlib_ng.DEFLATED, -15)
        self._crc32: Any = zlib_ng.crc32
        self._checksum = 0
        self._size = 0
        self._started = False
        super().__init__(self._compress, self._close)

    def _compress(self, block: bytes) -> bytes:
        self._checksum = self._crc32(block, self._checksum)
        self._size += len(block)
        out: bytes = self._deflate.compress(block)
        if self._started:
            return out
        self._started = True
        return _GZIP_HEADER + out

    def _close(self, rest: bytes) -> bytes:
        body: bytes = self._compress(rest) + self._deflate.flush()
        return body + self._checksum.to_bytes(4, "little") + (self._size & 0xFFFFFFFF).to_bytes(4, "little")


def load_zlib_ng() -> Any:
    """The deflate library."""
    from zlib_ng import zlib_ng

    return zlib_ng


def load_zstd() -> Any:
    """The zstd library: Python's own from 3.14 on."""
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]  # Python 3.14
    except ImportError:
        from backports import zstd
    return zstd


def _zstd_compressor(level: int) -> Compressor:
    zstd = load_zstd()
    option = zstd.CompressionParameter
    engine = zstd.ZstdCompressor(
        options={option.compression_level: level, option.nb_workers: 0, option.checksum_flag: 1, option.content_size_flag: 0}
    )
    return _Blocks(engine.compress, lambda rest: engine.compress(rest, mode=engine.FLUSH_FRAME))


class _Identity:
    def write(self, data: bytes) -> bytes:
        return data

    def finish(self) -> bytes:
        return b""
