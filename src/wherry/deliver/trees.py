"""What the encoder makes trees and layers of: a stored image's layers, a folder, a tar."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import BinaryIO

from wherry.deliver.encoder import Layer
from wherry.errors import FormatError
from wherry.formats.tar import EntryKind, TarEntry, add_parents, stream_tar
from wherry.model.digest import Digest
from wherry.store.archive import read_layer
from wherry.store.disk import DiskStore
from wherry.store.folder_tree import FolderBase
from wherry.store.images import StoredImage
from wherry.store.layer_tree import Tree, TreeFile, layered_tree
from wherry.store.spooled import SpooledFile

_CHUNK = 1 << 18


def image_tree(store: DiskStore, image: StoredImage) -> Tree:
    """The files of a stored image's root. Its layers lie unpacked in temporary files until the tree is closed."""
    tars = (SpooledFile(layer.chunks()) for layer in image_layers(store, image))
    return layered_tree(tars, str(image.descriptor.digest))


def image_layers(store: DiskStore, image: StoredImage) -> tuple[Layer, ...]:
    """A stored image's layers as the encoder takes them, the lowest first."""
    return tuple(
        Layer(diff_id=layer.diff_id, chunks=partial(read_layer, store, layer.digest, layer.diff_id), name=layer.name)
        for layer in image.layers
    )


def folder_tree(root: Path) -> Tree:
    """All regular files below a folder, as `FolderBase` lists them."""
    base = FolderBase(root)
    files = [
        TreeFile(
            path=file.path,
            size=file.size,
            mode=file.mode,
            mtime=file.mtime,
            digest=_digest_of(base, file.path),
            open=_opener(base, file.path),
        )
        for file in base.list_files("", 1 << 62)
    ]
    return Tree(files)


def _opener(base: FolderBase, path: str) -> Callable[[], BinaryIO]:
    return lambda: base.open_file(path)


def _digest_of(base: FolderBase, path: str) -> Digest:
    hasher = hashlib.sha256()
    with closing(base.open_file(path)) as file:
        for chunk in read_chunks(file):
            hasher.update(chunk)
    return Digest(hasher.hexdigest())


def read_chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk


def stream_folder(root: Path) -> Iterator[bytes]:
    """A folder as the tar of a layer of ours: files, links and folders with their modes. What else lies there is refused."""
    return stream_tar(add_parents(_folder_entries(root)))


def _folder_entries(root: Path) -> Iterator[TarEntry]:
    for folder, names, files in os.walk(root):
        for name in sorted((*names, *files)):
            full = Path(folder) / name
            path, state = full.relative_to(root).as_posix(), full.lstat()
            mode = state.st_mode & 0o7777
            if stat.S_ISLNK(state.st_mode):
                yield TarEntry(path=path, kind=EntryKind.SYMLINK, mode=0o777, link=str(full.readlink()))
            elif stat.S_ISDIR(state.st_mode):
                yield TarEntry(path=path, kind=EntryKind.DIRECTORY, mode=mode)
            elif stat.S_ISREG(state.st_mode):
                yield TarEntry(path=path, mode=mode, size=state.st_size, content=_stream_file(full))
            else:
                raise FormatError("neither file, link nor folder", where=str(full))


def _stream_file(path: Path) -> Callable[[], Iterator[bytes]]:
    def stream() -> Iterator[bytes]:
        with path.open("rb") as file:
            yield from read_chunks(file)

    return stream
