"""Bytes that are needed again at any place, and are too many for memory: kept in an unnamed temporary file, or if few, held.

The file is gone when it is closed, or when the process ends, however it ends. Safe for threads.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Iterable, Iterator
from typing import BinaryIO, cast

from wherry.errors import StoreError
from wherry.model.digest import DiffId, Digest

_CHUNK = 1 << 18
_HELD = 1 << 20  # bytes that need no file


class SpooledFile:
    """Takes all of `chunks` at once; close it after use."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        hasher = hashlib.sha256()
        self.size = 0
        self._held: bytes | bytearray = bytearray()
        self._file: BinaryIO | None = None
        try:
            for chunk in chunks:
                hasher.update(chunk)
                self.size += len(chunk)
                self._take(chunk)
            if self._file:
                self._file.flush()
        except OSError as error:
            self.close()
            place = tempfile.gettempdir()
            raise StoreError(f"no room for a temporary file: {error.strerror}", where=place, hint="set TMPDIR") from error
        except BaseException:
            self.close()
            raise
        self._held = bytes(self._held)
        self.digest = Digest(hasher.hexdigest())

    @property
    def diff_id(self) -> DiffId:
        """The digest, for what is an uncompressed layer tar."""
        return DiffId(self.digest.hex)

    def _take(self, chunk: bytes) -> None:
        if self._file is None and len(self._held) + len(chunk) > _HELD:
            self._file = cast(BinaryIO, tempfile.TemporaryFile(prefix="wherry-"))  # noqa: SIM115 - closed by `close`
            self._file.write(self._held)
            self._held = b""
        if self._file is None:
            self._held += chunk
        else:
            self._file.write(chunk)

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`; fewer only at the end."""
        if self._file is None:
            return bytes(self._held[offset : offset + size])
        return os.pread(self._file.fileno(), size, offset)

    def chunks(self, offset: int = 0, size: int | None = None) -> Iterator[bytes]:
        """`size` bytes from `offset`, as far as there are, or all from there, in pieces."""
        left = self.size - offset if size is None else min(size, self.size - offset)
        while left > 0:
            chunk = self.read(offset, min(left, _CHUNK))
            if not chunk:
                raise StoreError("a temporary file is shorter than it was written", where=tempfile.gettempdir())
            offset, left = offset + len(chunk), left - len(chunk)
            yield chunk

    def close(self) -> None:
        if self._file:
            self._file.close()

    def __enter__(self) -> SpooledFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class SliceReader(io.RawIOBase):
    """A part of a spooled file as a file of its own."""

    def __init__(self, spooled: SpooledFile, offset: int, size: int) -> None:
        super().__init__()
        self._spooled, self._offset, self._size, self._at = spooled, offset, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = start + offset
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._size - self._at)
        wanted = left if size is None or size < 0 else min(size, left)
        data = self._spooled.read(self._offset + self._at, wanted) if wanted else b""
        self._at += len(data)
        return data
