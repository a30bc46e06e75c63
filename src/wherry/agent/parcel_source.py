"""A parcel's bytes, wherever they are: on a stick, or downloaded. Nothing of them is believed here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from wherry.store.posix import explain_os_errors


@dataclass(frozen=True, slots=True, kw_only=True)
class ParcelSource:
    """A parcel of `size` bytes behind a function that reads it; `where` is what to call it."""

    read: Callable[[int, int], bytes]
    size: int
    where: str


@contextmanager
def open_parcel_file(path: Path) -> Iterator[ParcelSource]:
    """A parcel on this machine's disk or on a stick."""
    with explain_os_errors(path):
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(handle).st_size
        yield ParcelSource(read=lambda offset, length: os.pread(handle, length, offset), size=size, where=str(path))
    finally:
        os.close(handle)
