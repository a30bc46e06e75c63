"""Reads a delta's sections as streams, exact amounts at a time, within the window that the section's head allows.

A stream that ends too early, goes on too long, or is damaged is a `FormatError`.
"""

from __future__ import annotations

import lzma
import sys
from collections.abc import Iterator
from typing import Any

from wherry.errors import FormatError
from wherry.formats.delta import Codec, ReadAt, Section

if sys.version_info >= (3, 14):
    from compression.zstd import DecompressionParameter, ZstdDecompressor, ZstdDict, ZstdError
else:
    from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdDict, ZstdError

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_CHUNK = 1 << 16
_MIN_PREFIX = 8  # zstd takes no shorter one
_MIN_WINDOW_LOG = 10
_AHEAD = 1 << 12
_MAX_SHIFT = 48


class SectionReader:
    """One section's raw bytes, front to back."""

    def __init__(self, read: ReadAt, section: Section | None, where: str, prefix: bytes | bytearray = b"") -> None:
        self._read = read
        self._section = section or Section(codec=Codec.STORED, offset=0, stored=0, raw=0)
        self._where = where
        self._taken = 0  # stored bytes
        self._left = self._section.raw  # bytes that callers may still ask for
        self._ready, self._at = b"", 0  # what was unpacked, and how much of it is read
        self._engine = self._new_engine(prefix)

    @property
    def left(self) -> int:
        return self._left

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes, which the caller keeps small."""
        if size > self._left:
            raise self._refuse("a section is shorter than what is asked of it")
        self._left -= size
        start, end = self._at, self._at + size
        if end <= len(self._ready):
            self._at = end
            return self._ready[start:end]
        parts = [self._ready[start:]]
        size -= len(parts[0])
        while size:
            self._ready = self._next()
            self._at = min(size, len(self._ready))
            parts.append(self._ready[: self._at])
            size -= self._at
        return b"".join(parts)

    def numbers(self) -> Iterator[int]:
        """All of the section as numbers. They are read ahead, so nothing else may read it."""
        value = shift = 0
        while self._left:
            for byte in self.read(min(self._left, _AHEAD)):
                if byte < 128:
                    yield value | byte << shift
                    value = shift = 0
                else:
                    value |= (byte & 127) << shift
                    shift += 7
                    if shift > _MAX_SHIFT:
                        raise self._refuse("a number without end")
        if shift:
            raise self._refuse("ends before its time")

    def expect_end(self) -> None:
        """All was read, and the stream ends there."""
        if self._left or self._at < len(self._ready):
            raise self._refuse("a section has more than is asked of it")
        while self._engine is not None and not self._engine.eof:
            if self._next(at_end=True):
                raise self._refuse("a section is longer than it says")
        if self._taken != self._section.stored or (self._engine is not None and self._engine.unused_data):
            raise self._refuse("a section goes on after its end")

    def _next(self, *, at_end: bool = False) -> bytes:
        """Some more raw bytes; none only at the end."""
        while True:
            if self._engine is None:
                piece = self._stored()
                if not piece:
                    raise self._refuse("a section ends before its time")
                return piece
            if self._engine.eof:
                raise self._refuse("a section ends before its time")
            data = self._stored() if self._engine.needs_input else b""
            if self._engine.needs_input and not data:
                raise self._refuse("a section ends before its time")
            try:
                piece = self._engine.decompress(data, _CHUNK)
            except (lzma.LZMAError, ZstdError, EOFError, ValueError, MemoryError) as error:
                raise self._refuse(str(error)) from error
            if piece or (at_end and self._engine.eof):
                return bytes(piece)

    def _stored(self) -> bytes:
        if self._taken == 0 and self._section.codec is Codec.ZSTD and self._section.stored:
            first = self._fetch(min(_CHUNK, self._section.stored))
            return ZSTD_MAGIC + first
        return self._fetch(min(_CHUNK, self._section.stored - self._taken))

    def _fetch(self, size: int) -> bytes:
        data = self._read(self._section.offset + self._taken, size) if size else b""
        if len(data) != size:
            raise self._refuse("it is cut off")
        self._taken += size
        return data

    def _new_engine(self, prefix: bytes | bytearray) -> Any:
        section = self._section
        if section.codec is Codec.STORED:
            return None
        if section.codec is Codec.XZ:
            return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[xz_filter(section.setting, section.window_log, self._where)])
        options: dict[int, int] = {DecompressionParameter.window_log_max: max(section.window_log, _MIN_WINDOW_LOG)}
        if len(prefix) < _MIN_PREFIX:
            return ZstdDecompressor(options=options)
        return ZstdDecompressor(zstd_dict=ZstdDict(prefix, is_raw=True).as_prefix, options=options)

    def _refuse(self, what: str) -> FormatError:
        return FormatError(f"a damaged delta: {what}", where=self._where)


def xz_filter(setting: int, dictionary_log: int, where: str = "delta") -> dict[str, int]:
    """The filter of a raw LZMA1 stream. `setting` is LZMA's own byte, (pb * 5 + lp) * 9 + lc."""
    rest, lc = divmod(setting, 9)
    pb, lp = divmod(rest, 5)
    if pb > 4 or lc + lp > 4 or dictionary_log < 12:
        raise FormatError("a damaged delta: settings that xz does not have", where=where)
    return {"id": lzma.FILTER_LZMA1, "dict_size": 1 << dictionary_log, "lc": lc, "lp": lp, "pb": pb}
