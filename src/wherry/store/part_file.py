"""A file that comes in ranges, in any order, and is gone on with after a crash: ``NAME.part``, with a journal beside it.

The journal's first line says of which object, in which version and size; then a line for each range that was written, with its
CRC-32. Whoever goes on reads those ranges again and believes what agrees: a power cut may have kept the line and lost the bytes.
Another version begins anew. One that has no version is never gone on with, because nobody could tell that it is the same.

The whole size is taken from the disk at the beginning, so that a full disk is known before anything is moved.
"""

from __future__ import annotations

import json
import os
import re
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from wherry.errors import TransferError
from wherry.store.posix import explain_os_errors, reserve_space

RANGE = 8 << 20
_PIECE = 1 << 20
_LINE = re.compile(rb"(\d{1,12}) ([0-9a-f]{8})")
_MAKE_ROOM = "free some space there, or WHERRY_CACHE on another disk"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectFacts:
    """How large an object is, and what changes when it does; None where the server has no such thing."""

    size: int
    version: str | None


class PartFile:
    """Open for one process, which holds a lock meanwhile. `kept` are the ranges that were there already, by number."""

    def __init__(self, path: Path, address: str, facts: ObjectFacts) -> None:
        self.path = path
        self.size = facts.size
        self.range = RANGE if facts.version else max(1, facts.size)
        self.journal = path.with_name(f"{path.name}.journal")
        self.kept: frozenset[int] = frozenset()
        self._idle, self._writers, self._closed = threading.Condition(), 0, False
        head = json.dumps({"format": 1, "address": address, "version": facts.version, "size": self.size, "range": self.range})
        with explain_os_errors(path, _MAKE_ROOM):
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                self._notes = os.open(self.journal, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            except OSError:
                os.close(self._file)
                raise
            try:
                self._begin(head.encode(), go_on=facts.version is not None)
            except BaseException:
                self.close()
                self.discard()  # a file that found no room takes none
                raise

    def __len__(self) -> int:
        """How many ranges it has."""
        return -(-self.size // self.range)

    def place(self, number: int) -> tuple[int, int]:
        """Where a range begins, and how long it is."""
        start = number * self.range
        return start, min(self.range, self.size - start)

    def write(self, offset: int, data: bytes) -> None:
        with self._open_for_writing(), explain_os_errors(self.path, _MAKE_ROOM):
            view = memoryview(data)
            while view:
                written = os.pwrite(self._file, view, offset)
                offset, view = offset + written, view[written:]

    def note(self, number: int, crc: int) -> None:
        """A range is written, with this CRC-32."""
        with self._open_for_writing(), explain_os_errors(self.journal, _MAKE_ROOM):
            os.write(self._notes, b"%d %08x\n" % (number, crc))

    def read(self, number: int) -> Iterator[bytes]:
        """A range that was written."""
        offset, length = self.place(number)
        end = offset + length
        with explain_os_errors(self.path):
            while offset < end and (data := os.pread(self._file, min(_PIECE, end - offset), offset)):
                offset += len(data)
                yield data

    def sync(self) -> None:
        """All of it is to stay."""
        with explain_os_errors(self.path, _MAKE_ROOM):
            os.fsync(self._file)

    def close(self) -> None:
        """Nobody writes any more, whoever still means to: its number may be another file's from now on."""
        with self._idle:
            self._closed = True
            self._idle.wait_for(lambda: not self._writers)
        os.close(self._file)
        os.close(self._notes)

    def discard(self) -> None:
        """Forget it; also what was kept."""
        self.path.unlink(missing_ok=True)
        self.journal.unlink(missing_ok=True)

    @contextmanager
    def _open_for_writing(self) -> Iterator[None]:
        with self._idle:
            if self._closed:
                raise TransferError("the download was stopped", where=str(self.path))
            self._writers += 1
        try:
            yield
        finally:
            with self._idle:
                self._writers -= 1
                self._idle.notify_all()

    def _begin(self, head: bytes, *, go_on: bool) -> None:
        sums: dict[int, int] = {}
        lines = self.journal.read_bytes().split(b"\n") if go_on else []
        if lines[:1] == [head] and os.fstat(self._file).st_size == self.size:
            sums = self._verify(lines[1:-1])  # the last one is empty, or was cut short
        self.kept = frozenset(sums)
        if not sums:
            os.ftruncate(self._file, 0)
        reserve_space(self._file, self.size)
        os.ftruncate(self._notes, 0)
        os.write(self._notes, head + b"\n" + b"".join(b"%d %08x\n" % one for one in sums.items()))

    def _verify(self, lines: list[bytes]) -> dict[int, int]:
        sums = {int(found[1]): int(found[2], 16) for line in lines if (found := _LINE.fullmatch(line))}
        return {number: crc for number, crc in sums.items() if number < len(self) and self._sum(number) == crc}

    def _sum(self, number: int) -> int:
        crc = 0
        for data in self.read(number):
            crc = zlib.crc32(data, crc)
        return crc
