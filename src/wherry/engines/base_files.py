"""Reads an image's files from the engine that has it: in place where the layers lie as folders, else out of a saved archive.

The archive is read once, front to back, and its layers are laid into a scratch folder, each under the digest of its tar: that
is the only name that all engines' archives agree on.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from wherry.engines.device import DeviceEngine
from wherry.engines.layer_folders import LayersBase
from wherry.engines.port import EngineImage
from wherry.engines.unpack import unpack_layer
from wherry.errors import EngineError, StoreError
from wherry.formats.decompress import unpack_layer_chunks
from wherry.formats.tar import EntryKind
from wherry.formats.untar import ChunkReader, read_members
from wherry.model.digest import DiffId

_LAYER_LIMIT = 1 << 40
_USTAR = slice(257, 262)
_JSON = (b"{", b"[")
_BLOCK = 512


@contextmanager
def open_base(engine: DeviceEngine, image: EngineImage, scratch: Path) -> Iterator[LayersBase]:
    """The image's files. `scratch` is a folder to be made, used where the engine's own folders cannot be read."""
    try:
        folders = engine.layer_folders(image)
        for folder in folders:
            os.scandir(folder).close()
    except (EngineError, OSError):
        folders = ()
    if folders:
        yield LayersBase(folders)
        return
    try:
        yield LayersBase(_unpack_saved(engine, image, scratch))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def spool_saved_layers(engine: DeviceEngine, image: EngineImage, scratch: Path) -> dict[DiffId, Path]:
    """The tars of all the image's layers as files of `scratch`, made from what the engine saves."""

    def keep(place: Path, chunks: Iterable[bytes]) -> None:
        with place.open("xb") as file:
            for chunk in chunks:
                file.write(chunk)

    return _take_saved(engine, image, scratch, keep)


def _unpack_saved(engine: DeviceEngine, image: EngineImage, scratch: Path) -> tuple[Path, ...]:
    def unpack(place: Path, chunks: Iterable[bytes]) -> None:
        place.mkdir()
        # Read to the end, so that the digest is that of the whole tar.
        reader = iter(chunks)
        unpack_layer(reader, place, f"a layer of {image.name}", others=True)
        for _ in reader:
            pass

    found = _take_saved(engine, image, scratch, unpack)
    return tuple(found[diff_id] for diff_id in reversed(image.config.diff_ids))


def _take_saved(
    engine: DeviceEngine, image: EngineImage, scratch: Path, take: Callable[[Path, Iterable[bytes]], None]
) -> dict[DiffId, Path]:
    scratch.mkdir(parents=True, mode=0o700)
    found: dict[DiffId, Path] = {}
    try:
        for member in read_members(engine.save(image), f"what {engine.name} saved"):
            if member.kind is not EntryKind.FILE or member.size < _BLOCK:
                continue
            reader = ChunkReader(member.content, member.path)
            head = reader.read_exactly(_BLOCK)
            if not head.startswith(_JSON):
                place = scratch / str(len(found))
                diff_id = _take_layer(place, _chain(head, reader.rest()), take)
                found[diff_id] = place
    except OSError as error:
        raise StoreError(f"no room for the base: {error.strerror}", where=str(scratch)) from error
    missing = [diff_id for diff_id in image.config.diff_ids if diff_id not in found]
    if missing:
        raise EngineError(f"{engine.name} saved image {image.name} without layer {missing[0]}")
    return found


def _take_layer(place: Path, blob: Iterator[bytes], take: Callable[[Path, Iterable[bytes]], None]) -> DiffId:
    hasher = hashlib.sha256()

    def hashed() -> Iterator[bytes]:
        for chunk in unpack_layer_chunks(blob, _LAYER_LIMIT):
            hasher.update(chunk)
            yield chunk

    take(place, hashed())
    return DiffId(hasher.hexdigest())


def _chain(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    yield from rest
