"""The ends of a delta, from where they lie: an image of the store, a saved archive, a tar, a folder.

Files say themselves what they are. An archive is taken into a store of its own, in a temporary folder that is gone when
the ends are left. A base is wanted as files, a target as layers; an image has a config, the others have one layer.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from wherry.deliver.encoder import Layer
from wherry.deliver.trees import folder_tree, image_layers, image_tree, read_chunks, stream_folder
from wherry.errors import FormatError, StoreError
from wherry.formats.decompress import unpack_layer_chunks
from wherry.formats.untar import read_members
from wherry.model.oci import Descriptor
from wherry.model.platform import Platform
from wherry.store.disk import DiskStore
from wherry.store.images import pick_image
from wherry.store.layer_tree import Tree, layered_tree
from wherry.store.loading import load_archive
from wherry.store.posix import explain_os_errors
from wherry.store.spooled import SpooledFile

_LIMIT = 1 << 40
_TOPS = ("manifest.json", "index.json", "oci-layout")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaEnd:
    """`layers` are all that the end has, the lowest first; `config` is an image's, else empty. Close the tree after use."""

    name: str
    config: bytes
    layers: tuple[Layer, ...]
    open_tree: Callable[[], Tree]


class DeltaEnds:
    """Opens ends, and holds what they need until it is left. Use it as a context manager."""

    def __init__(self, platform: Platform | None = None) -> None:
        self._platform = platform
        self._stack = ExitStack()

    def __enter__(self) -> DeltaEnds:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def open_image(self, name: str, store: DiskStore, descriptor: Descriptor) -> DeltaEnd:
        """An image of a store, which has all of its layers."""
        image = pick_image(store, descriptor, self._platform)
        return DeltaEnd(
            name=name,
            config=image.config.raw,
            layers=image_layers(store, image),
            open_tree=lambda: image_tree(store, image),
        )

    def open_path(self, path: Path) -> DeltaEnd:
        """A folder, a saved archive or a tar."""
        with explain_os_errors(path):
            if path.is_dir():
                return self._open_folder(path)
            return self._open_archive(path) if _is_archive(path) else self._open_tar(path)

    def _open_folder(self, path: Path) -> DeltaEnd:
        tar = self._stack.enter_context(SpooledFile(stream_folder(path)))
        layers = (Layer(diff_id=tar.diff_id, chunks=tar.chunks, name=path.name),)
        return DeltaEnd(name=str(path), config=b"", layers=layers, open_tree=lambda: folder_tree(path))

    def _open_tar(self, path: Path) -> DeltaEnd:
        tar = self._spool_tar(path)
        layers = (Layer(diff_id=tar.diff_id, chunks=tar.chunks, name=path.name),)
        return DeltaEnd(
            name=str(path), config=b"", layers=layers, open_tree=lambda: layered_tree((SpooledFile(tar.chunks()),), str(path))
        )

    def _spool_tar(self, path: Path) -> SpooledFile:
        with path.open("rb") as file:
            return self._stack.enter_context(SpooledFile(unpack_layer_chunks(read_chunks(file), _LIMIT)))

    def _open_archive(self, path: Path) -> DeltaEnd:
        store = DiskStore(Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="wherry-"))))
        with path.open("rb") as file:
            found = {store.resolve(name).digest: name for name in load_archive(store, file, where=str(path))}
        if len(found) != 1:
            raise StoreError(f"holds {len(found)} images", where=str(path), hint="wherry image load, and name one of them")
        return self.open_image(str(path), store, store.resolve(*found.values()))


def _is_archive(path: Path) -> bool:
    """Whether a tar is a saved image, by what lies at its top; else it is a layer, or just a tar."""
    with path.open("rb") as file, suppress(FormatError):
        chunks: Iterable[bytes] = unpack_layer_chunks(read_chunks(file), _LIMIT)
        return any(member.path in _TOPS for member in read_members(chunks, str(path), others=True))
    return False
