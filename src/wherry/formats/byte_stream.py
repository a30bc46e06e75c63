"""Takes bytes, lines and gaps out of a stream, one small piece after the other: what a machine of opcodes reads by.

Quicker than exact reads of a chunk each, as most pieces are a byte. What is skipped is never held. A stream that ends too
early is a `FormatError`.
"""

from __future__ import annotations

from collections.abc import Iterable

from wherry.errors import FormatError


class ByteStream:
    """Takes exact amounts out of chunks of any size."""

    def __init__(self, chunks: Iterable[bytes], where: str, longest: int) -> None:
        self._chunks = iter(chunks)
        self._longest = longest  # bytes of a line that are given
        self._block, self._at = b"", 0
        self.where = where

    def take(self, size: int) -> bytes:
        """`size` bytes, which must be few."""
        end = self._at + size
        if end > len(self._block):
            parts = [self._block[self._at :]]
            held = len(parts[0])
            while held < size:
                piece = next(self._chunks, b"")
                if not piece:
                    raise FormatError("a pickle that ends before its time", where=self.where)
                parts.append(piece)
                held += len(piece)
            self._block, self._at, end = b"".join(parts), 0, size
        data = self._block[self._at : end]
        self._at = end
        return data

    def line(self) -> bytes:
        """Up to the end of a line, which is not part of it; of a long one the beginning."""
        made = b""
        while True:
            end = self._block.find(b"\n", self._at)
            piece = self._block[self._at : end if end >= 0 else None]
            made += piece[: self._longest + 1 - len(made)]
            if end >= 0:
                self._at = end + 1
                return made
            self._block, self._at = next(self._chunks, b""), 0
            if not self._block:
                raise FormatError("a pickle that ends before its time", where=self.where)

    def skip(self, size: int) -> None:
        while size > 0:
            step = min(size, len(self._block) - self._at or 1)
            self.take(step)
            size -= step
