"""The roots of images as folders of the cache, for the engine that has no store of its own.

    layers/<diff_id>/          one layer unpacked, whiteouts as it has them
    roots/<image ID>/tree/     all layers laid over each other, hard-linked
    roots/<image ID>/config    the image's config document
    making/<pid>-<random>/     work in progress; renamed when whole, removed when its maker is gone

Reads a hybrid archive as a stream, in one pass. Each layer is believed only when the sha256 of its tar is the diff_id
that names it. Everything here can be made again from the store.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wherry.engines.port import EngineImage
from wherry.engines.unpack import lay_over, unpack_layer
from wherry.errors import EngineError, StoreError, TrustError
from wherry.formats.oci_json import parse_config
from wherry.formats.untar import read_members
from wherry.model.digest import DiffId
from wherry.store.folders import rename_unless_there
from wherry.store.posix import sync_all

_BLOBS = "blobs/sha256/"


class RootCache:
    """Roots below `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def root_of(self, image: EngineImage) -> Path:
        """Where the image's root is, or would be."""
        return self._folder / "roots" / image.image_id.hex / "tree"

    def has(self, image: EngineImage) -> bool:
        return self.root_of(image).is_dir()

    def held_layers(self, image: EngineImage) -> frozenset[DiffId]:
        return frozenset(diff_id for diff_id in image.config.diff_ids if self._layer(diff_id).is_dir())

    def load(self, chunks: Iterable[bytes], image: EngineImage) -> None:
        """Unpack what the archive brings and lay out the image's root."""
        wanted = {f"{_BLOBS}{diff_id.hex}": diff_id for diff_id in image.config.diff_ids}
        with self._making() as made:
            for member in read_members(chunks, "image archive"):
                if member.path in wanted:
                    self._unpack(member.content, wanted[member.path], made)
            self._finish(image, made)

    def load_layers(self, image: EngineImage, read_layer: Callable[[DiffId], Iterable[bytes]]) -> None:
        """The same from a function that opens a layer's tar."""
        with self._making() as made:
            for diff_id in image.config.diff_ids:
                if not self._layer(diff_id).is_dir():
                    self._unpack(read_layer(diff_id), diff_id, made)
            self._finish(image, made)

    def remove(self, image: EngineImage) -> None:
        """Forget an image's root, and the layers that no other image has."""
        with _explain(self._folder):
            shutil.rmtree(self.root_of(image).parent, ignore_errors=True)
            needed = {diff_id for config in self._folder.glob("roots/*/config") for diff_id in _read_diff_ids(config)}
            for diff_id in image.config.diff_ids:
                if diff_id not in needed:
                    shutil.rmtree(self._layer(diff_id), ignore_errors=True)

    def _layer(self, diff_id: DiffId) -> Path:
        return self._folder / "layers" / diff_id.hex

    def _unpack(self, chunks: Iterable[bytes], diff_id: DiffId, made: Path) -> None:
        if self._layer(diff_id).is_dir() or (made / diff_id.hex).is_dir():
            return
        hasher = hashlib.sha256()

        def hashed() -> Iterator[bytes]:
            for piece in chunks:
                hasher.update(piece)
                yield piece

        (made / diff_id.hex).mkdir()
        unpack_layer(hashed(), made / diff_id.hex, f"layer {diff_id}")
        if hasher.hexdigest() != diff_id.hex:
            raise TrustError(f"a layer's bytes are not those of {diff_id}", hint="wherry build --verify, or pull the image again")

    def _finish(self, image: EngineImage, made: Path) -> None:
        """Give the new layers their names, and lay out the image's root from all of them."""
        layers = set(image.config.diff_ids)
        new = [diff_id for diff_id in layers if (made / diff_id.hex).is_dir()]
        missing = [diff_id for diff_id in layers if diff_id not in new and not self._layer(diff_id).is_dir()]
        if missing:
            raise EngineError(f"the archive of image {image.image_id} lacks layer {missing[0]}")
        if new:
            sync_all()  # so that what has a name is whole, also after a power cut
        for diff_id in new:
            rename_unless_there(made / diff_id.hex, self._layer(diff_id))
        root = made / "image" / "tree"
        root.mkdir(parents=True)
        for diff_id in image.config.diff_ids:
            lay_over(self._layer(diff_id), root)
        (made / "image" / "config").write_bytes(image.config.raw)
        rename_unless_there(made / "image", self.root_of(image).parent)

    @contextmanager
    def _making(self) -> Iterator[Path]:
        made = self._folder / "making" / f"{os.getpid()}-{os.urandom(8).hex()}"
        try:
            with _explain(self._folder):
                self._remove_abandoned()
                made.mkdir(parents=True, mode=0o700)
                yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)

    def _remove_abandoned(self) -> None:
        with suppress(FileNotFoundError):
            for entry in os.scandir(self._folder / "making"):
                maker = entry.name.partition("-")[0]
                if maker.isdigit() and not _is_alive(int(maker)):
                    shutil.rmtree(entry.path, ignore_errors=True)


def _read_diff_ids(config: Path) -> tuple[DiffId, ...]:
    return parse_config(config.read_bytes(), str(config)).diff_ids


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def _explain(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"cannot unpack the image: {error.strerror or error}",
            where=str(error.filename or folder),
            hint="free some space, or set WHERRY_CACHE to a folder on another disk",
        ) from error
