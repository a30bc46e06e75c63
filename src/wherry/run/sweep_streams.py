"""What an attempt prints, kept within bounds: the beginning as it comes, and the last of it when it was too much.

A task that prints a gigabyte is not stopped for it, fills no disk, and its last words, where errors stand, are kept.
"""

from __future__ import annotations

import os
from pathlib import Path

_TAIL = 64 << 10
PIECE = 64 << 10


class KeptStream:
    """A file that takes at most `cap` bytes and a few words. Begun with its first byte."""

    def __init__(self, path: Path, cap: int) -> None:
        self.path = path
        self.size = 0
        self._room = max(0, cap - _TAIL)
        self._tail = bytearray()
        self._dropped = 0
        self._file: int | None = None

    def take(self, data: bytes) -> None:
        head, rest = data[: self._room], data[self._room :]
        self._room -= len(head)
        self._write(head)
        if rest:
            self._tail += rest
            if (surplus := len(self._tail) - _TAIL) > 0:
                del self._tail[:surplus]
                self._dropped += surplus

    def close(self) -> None:
        try:
            if self._dropped:
                self._write(f"\n[wherry: {self._dropped} bytes are not kept]\n".encode())
            self._write(bytes(self._tail))
        finally:
            if self._file is not None:
                os.close(self._file)

    def _write(self, data: bytes) -> None:
        if data and self._file is None:
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        while data:
            written = os.write(self._file, data)  # type: ignore[arg-type]
            self.size += written
            data = data[written:]
