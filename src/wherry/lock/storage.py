"""Reads and writes `wherry.lock`, the file, and `wherry.lock.notebook`, which has its grammar."""

from __future__ import annotations

from pathlib import Path

from wherry.errors import LockError, StoreError
from wherry.formats.lockfile import HEADER, parse_lock, render_lock
from wherry.model.lock import Lock
from wherry.store.posix import write_atomically

LOCKFILE = "wherry.lock"
_LIMIT = 16 << 20


def read_lock(root: Path, name: str = LOCKFILE) -> Lock | None:
    """The project's lock, or None where there is none."""
    path = root / name
    try:
        with path.open("rb") as file:
            raw = file.read(_LIMIT + 1)
        if len(raw) > _LIMIT:
            raise LockError(f"larger than {_LIMIT >> 20} MiB", where=name)
        return parse_lock(raw.decode(), name)
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise LockError(f"not UTF-8: {error}", where=name, hint="delete it, and wherry lock") from error
    except OSError as error:
        raise LockError(f"cannot be read: {error.strerror}", where=str(path)) from error


def write_lock(root: Path, lock: Lock, name: str = LOCKFILE, header: str = HEADER) -> bool:
    """Replace the lock as a whole; False when it says that already."""
    path = root / name
    raw = render_lock(lock, header).encode()
    try:
        if path.is_file() and path.read_bytes() == raw:
            return False
        write_atomically(path, raw, root)
    except OSError as error:
        hint = "the project's folder must be writable and have room; with --frozen its lock is taken as it is"
        raise StoreError(f"cannot be written: {error.strerror}", where=str(path), hint=hint) from error
    return True
