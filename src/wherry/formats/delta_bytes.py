"""The small things a delta is written in: varints, signed varints, strings; and the bounds they are read within.

A varint has seven bits a byte, the lowest first (docs/spec/delta.md, "Numbers"). Whatever is too long, too big or cut off
is a `FormatError`.
"""

from __future__ import annotations

from wherry.errors import FormatError

_MAX_NUMBER = 1 << 48
_MAX_STRING = 1 << 14
_NEGATED = bytes(-value & 255 for value in range(256))


def render_number(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def render_signed(value: int) -> bytes:
    """Zigzag: 0, -1, 1, -2, 2 …"""
    return render_number(value * 2 if value >= 0 else -value * 2 - 1)


def render_string(text: str) -> bytes:
    raw = text.encode()
    return render_number(len(raw)) + raw


class ByteReader:
    """Reads numbers and strings from bytes that are at hand."""

    def __init__(self, data: bytes, where: str) -> None:
        self._data = data
        self._at = 0
        self.where = where

    @property
    def position(self) -> int:
        return self._at

    @property
    def at_end(self) -> bool:
        return self._at == len(self._data)

    def take(self, size: int) -> bytes:
        if size > len(self._data) - self._at:
            raise self.refuse("ends before its time")
        self._at += size
        return self._data[self._at - size : self._at]

    def number(self, limit: int = _MAX_NUMBER) -> int:
        """A number of at most `limit`."""
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            if byte < 128:
                break
            shift += 7
            if shift > 56:
                raise self.refuse("a number without end")
        if value > limit:
            raise self.refuse(f"the number {value} where at most {limit} is allowed")
        return value

    def byte(self, limit: int) -> int:
        """One byte, of at most `limit`."""
        value = self.take(1)[0]
        if value > limit:
            raise self.refuse(f"the number {value} where at most {limit} is allowed")
        return value

    def signed(self) -> int:
        value = self.number()
        return -((value + 1) >> 1) if value & 1 else value >> 1

    def text(self, size: int) -> str:
        if size > _MAX_STRING:
            raise self.refuse(f"a name of {size} bytes")
        raw = self.take(size)
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise self.refuse(f"a name that is not UTF-8: {raw[:80]!r}") from error

    def string(self) -> str:
        return self.text(self.number())

    def expect_end(self) -> None:
        if not self.at_end:
            raise self.refuse("goes on after its end")

    def refuse(self, what: str) -> FormatError:
        return FormatError(f"a damaged delta: {what}", where=self.where)


def add_bytes(left: bytes, right: bytes) -> bytes:
    """Byte by byte, modulo 256, as one addition of big numbers: the highest bits are added apart, so that none carries over."""
    size = len(left)
    low = int.from_bytes(b"\x7f" * size, "little")
    one, other = int.from_bytes(left, "little"), int.from_bytes(right, "little")
    total = ((one & low) + (other & low)) ^ ((one ^ other) & ~low)
    return total.to_bytes(size, "little")


def subtract_bytes(left: bytes, right: bytes) -> bytes:
    """Byte by byte, modulo 256."""
    return add_bytes(left, right.translate(_NEGATED))
