"""A folder as a base for deltas (`Base` of `delta_decoder`), such as an image's root that an engine has mounted.

Everything is opened beneath the folder, step by step, and no link is followed, neither on the way nor at the end: whatever
the files are, nothing outside can be read. Only regular files with UTF-8 names are listed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from wherry.errors import StoreError, TrustError
from wherry.formats.delta_index import BaseFile

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MAX_DEPTH = 256


class FolderBase:
    """The regular files below `root`. `root` itself may be a link, nothing below it is followed."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def list_files(self, scope: str, limit: int) -> Iterator[BaseFile]:
        """Regular files at or below `scope` (the empty one: all), at most `limit`, in any order; nothing there is no error."""
        try:
            handle, name = self._open_parent(scope) if scope else (os.open(self.root, _FOLDER & ~os.O_NOFOLLOW), ".")
        except OSError:
            return
        try:
            for number, file in enumerate(_list_at(handle, name, scope, 0)):
                if number == limit:
                    return
                yield file
        except OSError as error:
            raise StoreError(error.strerror or str(error), where=str(self.root / scope)) from error
        finally:
            os.close(handle)

    def open_file(self, path: str) -> BinaryIO:
        """A seekable reader; what is not there, no regular file, or behind a link is a `TrustError`."""
        try:
            folder, name = self._open_parent(path)
            try:
                handle = os.open(name, _FILE, dir_fd=folder)
            finally:
                os.close(folder)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a name"
            raise TrustError(f"no regular file of the base: {reason}", where=path, hint="take the full image") from error
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise TrustError("no regular file of the base", where=path, hint="take the full image")
        return os.fdopen(handle, "rb")

    def _open_parent(self, path: str) -> tuple[int, str]:
        """The folder that holds `path`, opened, and the last name in it."""
        *folders, name = path.split("/")
        if name in ("", ".", ".."):
            raise FileNotFoundError(0, "not a plain name", path)
        handle = os.open(self.root, _FOLDER & ~os.O_NOFOLLOW)
        for part in folders:
            try:
                if part in ("", ".", ".."):
                    raise FileNotFoundError(0, "not a plain name", path)
                inner = os.open(part, _FOLDER, dir_fd=handle)
            finally:
                os.close(handle)
            handle = inner
        return handle, name


def _list_at(folder: int, name: str, path: str, depth: int) -> Iterator[BaseFile]:
    """The file `name` of an open folder, or all below it if it is a folder itself."""
    try:
        state = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return
    if stat.S_ISREG(state.st_mode):
        yield BaseFile(path=path, size=state.st_size, mode=state.st_mode & 0o7777, mtime=state.st_mtime_ns // 10**9)
    if not stat.S_ISDIR(state.st_mode) or depth == _MAX_DEPTH:
        return
    handle = os.open(name, _FOLDER, dir_fd=folder)
    try:
        for inner in sorted(os.listdir(handle)):  # noqa: PTH208 - pathlib knows no open folders
            if not any("\udc80" <= letter <= "\udcff" for letter in inner):
                yield from _list_at(handle, inner, f"{path}/{inner}" if path else inner, depth + 1)
    finally:
        os.close(handle)
