"""Takes in an OCI image layout that lies in a folder (image-spec 1.1, image-layout.md): by way of the archive that it would be.

Links in it are passed over: whoever wrote the folder must not have us read other files.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from wherry.errors import StoreError
from wherry.formats.tar import TarEntry, stream_tar
from wherry.store.disk import DiskStore
from wherry.store.loading import load_archive
from wherry.store.spooled import SliceReader, SpooledFile

MARK = "oci-layout"
_CHUNK = 1 << 18


def is_layout(folder: Path) -> bool:
    return (folder / MARK).is_file() and (folder / "index.json").is_file()


def load_layout(store: DiskStore, folder: Path) -> tuple[str, ...]:
    """Bring a layout's images into the store; gives their names. It is all of them or none."""
    with SpooledFile(stream_tar(_list_entries(folder))) as spooled:
        return load_archive(store, cast(BinaryIO, SliceReader(spooled, 0, spooled.size)), where=str(folder))


def _list_entries(folder: Path) -> Iterator[TarEntry]:
    blobs = folder / "blobs/sha256"
    for path in (folder / MARK, folder / "index.json", *(sorted(blobs.iterdir()) if blobs.is_dir() else ())):
        try:
            state = path.lstat()
        except OSError as error:
            raise StoreError(f"cannot be read: {error.strerror}", where=str(path)) from error
        if stat.S_ISREG(state.st_mode):
            yield TarEntry(path=path.relative_to(folder).as_posix(), size=state.st_size, content=_open(path))


def _open(path: Path) -> Callable[[], Iterator[bytes]]:
    def read() -> Iterator[bytes]:
        try:
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    yield chunk
        except OSError as error:
            raise StoreError(f"cannot be read: {error.strerror}", where=str(path)) from error

    return read
