"""A download that survives: what has arrived is on the disk, verified, and never fetched again.

Two files: the bytes, and beside them `NAME.blocks` with what they are part of (address, validator, length) and a sha256 for each
block of up to 16 KiB. A block counts once both are on the disk; after a power cut, the blocks whose digests still agree are the
beginning that is kept, so at most one block is fetched twice. The order in which the two reach the disk does not matter.
Nothing here is believed to be what it should be: that is for who reads the whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from wherry.store.posix import explain_os_errors, sync_folder, write_atomically

BLOCK = 16 << 10
_RECORD = struct.Struct(">I32s")
_HEADER = 4096  # the longest header line that is read


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a server said it sends: under which address, with which validator (an ETag or a date, empty for none), how long."""

    address: str
    validator: str
    size: int


class PartialFile:
    """Opens what a former process left, as far as it is whole. `content` is None where nothing was begun."""

    def __init__(self, path: Path) -> None:
        self._path, self._blocks = path, path.with_name(f"{path.name}.blocks")
        self._data = self._sums = -1
        self._pending = bytearray()
        self.content: Content | None = None
        self.done = 0  # bytes that are safe, from the beginning
        with explain_os_errors(path):
            self._resume()

    @property
    def arrived(self) -> int:
        """Bytes from the beginning, also those that are not safe yet."""
        return self.done + len(self._pending)

    @property
    def complete(self) -> bool:
        return self.content is not None and self.done == self.content.size

    def begin(self, content: Content) -> None:
        """Forget what is there and expect this; its room on the disk is taken at once. No room is a `StoreError`."""
        self.discard()
        with explain_os_errors(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._data = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            if content.size:
                os.posix_fallocate(self._data, 0, content.size)
            write_atomically(self._blocks, json.dumps(asdict(content)).encode() + b"\n")
            self._sums = os.open(self._blocks, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
            self.content = content

    def write(self, chunk: bytes) -> None:
        """Append; every full block is safe when this returns. More than was announced is a `ValueError`."""
        if self.content is None or self.arrived + len(chunk) > self.content.size:
            raise ValueError("more bytes than announced")
        self._pending += chunk
        with explain_os_errors(self._path):
            while len(self._pending) >= BLOCK:
                self._keep_block(bytes(self._pending[:BLOCK]))
            if self._pending and self.arrived == self.content.size:
                self._keep_block(bytes(self._pending))

    def settle(self) -> None:
        """Make safe what has arrived of an unfinished block, because nothing more will come for now."""
        if self._pending:
            with explain_os_errors(self._path):
                self._keep_block(bytes(self._pending))

    def read(self, offset: int, size: int) -> bytes:
        """Bytes that are safe; fewer at the end of them."""
        with explain_os_errors(self._path):
            return os.pread(self._data, max(0, min(size, self.done - offset)), offset) if self._data >= 0 else b""

    def discard(self) -> None:
        """Remove both files; what described the bytes goes first."""
        self.close()
        self.content, self.done = None, 0
        with explain_os_errors(self._path):
            for path in (self._blocks, self._path):
                path.unlink(missing_ok=True)
            with suppress(FileNotFoundError):
                sync_folder(self._path.parent)

    def close(self) -> None:
        self._pending.clear()
        for handle in (self._data, self._sums):
            if handle >= 0:
                os.close(handle)
        self._data = self._sums = -1

    def _keep_block(self, block: bytes) -> None:
        _write_all(self._data, block, self.done)
        os.write(self._sums, _RECORD.pack(len(block), hashlib.sha256(block).digest()))
        os.fdatasync(self._data)
        os.fdatasync(self._sums)
        self.done += len(block)
        del self._pending[: len(block)]

    def _resume(self) -> None:
        try:
            self._sums = os.open(self._blocks, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
            self._data = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            self.close()
            return
        line = os.pread(self._sums, _HEADER, 0).partition(b"\n")[0]
        content = _parse_content(line)
        if content is None:
            self.close()
            return
        self.content, kept = content, len(line) + 1
        for length, digest in _read_records(self._sums, kept):
            block = os.pread(self._data, length, self.done)
            if length > BLOCK or self.done + length > content.size or hashlib.sha256(block).digest() != digest:
                break
            self.done += length
            kept += _RECORD.size
        os.ftruncate(self._sums, kept)


def _parse_content(line: bytes) -> Content | None:
    with suppress(ValueError, TypeError):
        content = Content(**json.loads(line))
        if all(isinstance(text, str) for text in (content.address, content.validator)) and type(content.size) is int:
            return content if content.size >= 0 else None
    return None


def _read_records(handle: int, offset: int) -> Iterator[tuple[int, bytes]]:
    while len(record := os.pread(handle, _RECORD.size, offset)) == _RECORD.size:
        yield _RECORD.unpack(record)
        offset += _RECORD.size


def _write_all(handle: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(handle, view, offset)
        view, offset = view[written:], offset + written
