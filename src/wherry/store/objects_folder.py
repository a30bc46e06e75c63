"""Objects as files below a folder, which may be on a file system that several machines share.

Conditional puts are the file system's own: link(2), which never replaces, for `put_if_absent`; a lock that dies with its holder
for `put_if_match`. A put is durable when it returns. A killed writer leaves a ``.part`` file that is no object.

Refuses: file systems without hard links, when the first conditional put comes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path

from wherry.store.objects import PAGE, Held, Listed, check_key
from wherry.store.objects_memory import version_of
from wherry.store.posix import create_once, explain_os_errors, hold_lock, sync_folder, write_atomically

_BLOCK = 1 << 20
_LOCKS = 64
_MAKE_ROOM = "free some space where the objects lie"


class FolderObjects:
    """An `ObjectStore` below `root`, which is made with the first object."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    @property
    def url(self) -> str:
        return self._root.as_uri()

    def place(self, key: str) -> Path:
        """The file of an object."""
        return self._root / check_key(key)

    def get(self, key: str) -> Held | None:
        path = self.place(key)
        with explain_os_errors(path):
            try:
                data = path.read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None
        return Held(data, version_of(data))

    def size(self, key: str) -> int | None:
        path = self.place(key)
        with explain_os_errors(path):
            try:
                return path.stat().st_size
            except (FileNotFoundError, NotADirectoryError):
                return None

    def read(self, key: str, offset: int, length: int) -> bytes:
        path = self.place(key)
        with explain_os_errors(path), path.open("rb") as file:
            file.seek(offset)
            return file.read(length)

    def put(self, key: str, source: bytes | Path) -> None:
        path = self.place(key)
        with explain_os_errors(path, _MAKE_ROOM):
            self._make_folder(path.parent)
            if isinstance(source, bytes):
                write_atomically(path, source)
            else:
                with source.open("rb") as file:
                    write_atomically(path, iter(partial(file.read, _BLOCK), b""))

    def put_if_absent(self, key: str, data: bytes) -> bool:
        path = self.place(key)
        with explain_os_errors(path, _MAKE_ROOM):
            try:
                return create_once(path, data)
            except FileNotFoundError:
                self._make_folder(path.parent)
                return create_once(path, data)

    def put_if_match(self, key: str, data: bytes, version: str) -> bool:
        path, locks = self.place(key), self._root / ".locks"
        with explain_os_errors(path, _MAKE_ROOM):
            self._make_folder(locks)
            number = hashlib.sha256(key.encode()).digest()[0] % _LOCKS
            with hold_lock(locks / str(number), exclusive=True):
                held = self.get(key)
                if held is None or held.version != version:
                    return False
                write_atomically(path, data)
                return True

    def list(self, prefix: str) -> Iterator[tuple[Listed, ...]]:
        with explain_os_errors(self._root):
            found = _walk(str(self._root), prefix)
            while page := tuple(islice(found, PAGE)):
                yield page

    def folders(self, prefix: str) -> tuple[str, ...]:
        place = self._root / prefix
        with explain_os_errors(place):
            try:
                return tuple(sorted(path.name for path in place.iterdir() if path.is_dir() and path.name[0] != "."))
            except (FileNotFoundError, NotADirectoryError):
                return ()

    def delete(self, key: str) -> None:
        path = self.place(key)
        with explain_os_errors(path):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # the folder has others in it
            while path.parent != self._root:
                path = path.parent
                path.rmdir()

    def _make_folder(self, folder: Path) -> None:
        """Make a folder, and what is above it, to stay after a power cut."""
        missing = []
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for made in reversed(missing):
            made.mkdir(exist_ok=True)
            sync_folder(made.parent)


def _walk(root: str, folder: str) -> Iterator[Listed]:
    """Files below a folder, in the order of their keys: a folder stands where its name with a slash would."""
    try:
        with os.scandir(f"{root}/{folder}") as entries:
            named = sorted((f"{entry.name}/" if entry.is_dir() else entry.name, entry) for entry in entries if entry.name[0] != ".")
    except (FileNotFoundError, NotADirectoryError):
        return
    for name, entry in named:
        if name.endswith("/"):
            yield from _walk(root, folder + name)
        else:
            with suppress(FileNotFoundError):  # gone meanwhile
                yield Listed(folder + name, entry.stat().st_size)
