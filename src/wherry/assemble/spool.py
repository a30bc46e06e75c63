"""Bytes laid down once and read back from any offset while a layer is written; gone when closed, also after a crash.

A compressed tar can only be read from its start, and a layer is written in sorted order: so a package's files are
unpacked into one nameless file on disk, and memory stays bounded.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from wherry.errors import StoreError
from wherry.formats.tar import Content

_CHUNK = 1 << 18


class Spool:
    """Use it as a context manager; contents may be read by several threads until it is closed."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / f".spool-{secrets.token_hex(8)}"
        self._lock = threading.Lock()
        self._end = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("x+b")
        except OSError as error:
            raise StoreError(f"cannot write: {error.strerror}", where=str(folder)) from error
        with contextlib.suppress(PermissionError):  # where open files cannot be unlinked, `close` does it
            self._path.unlink()

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def keep(self, chunks: Iterable[bytes]) -> tuple[Content, int]:
        """Lay the chunks down; give back what opens them again, and their size in bytes."""
        try:
            with self._lock:
                start = self._end
                self._file.seek(start)
                for chunk in chunks:
                    self._file.write(chunk)
                    self._end += len(chunk)
                self._file.flush()
                size = self._end - start
        except OSError as error:
            raise StoreError(f"cannot write: {error.strerror}", where=str(self._path.parent), hint="free some space") from error
        return lambda: self._read(start, size), size

    def _read(self, start: int, size: int) -> Iterator[bytes]:
        end = start + size
        while start < end:
            with self._lock:
                self._file.seek(start)
                chunk = self._file.read(min(_CHUNK, end - start))
            if not chunk:
                raise StoreError("the spool ended early", where=str(self._path.parent))
            start += len(chunk)
            yield chunk
