"""Makes the parcels of a release: for each platform the full one, and one for the owner of each base.

Bodies are cut first, since that is what takes time and may fail; whatever the metadata says by then is put before them.
A full body is taken over from the former full parcel, where it was proven already. A file in a channel is replaced as a
whole, so that a reader has the former or the new one.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from wherry.deliver.body_cache import BOUNDLESS, BodyCache, describe_body
from wherry.deliver.encoder import Layer, LayerDelta, encode_layers
from wherry.deliver.records import ReleaseRecords
from wherry.errors import FormatError, StoreError
from wherry.formats.delta import ReadAt, parse_body
from wherry.formats.parcel import (
    Documents,
    ParcelLayer,
    find_lacking,
    locate_bodies,
    parse_parcel,
    read_documents,
    stream_parcel,
)
from wherry.formats.parcel_documents import same_images
from wherry.model.digest import DiffId, Digest
from wherry.model.platform import Platform
from wherry.model.progress import Progress, be_silent
from wherry.model.release import FULL, PARCELS, Metadata, locate_parcel, name_platform
from wherry.store.archive import read_layer
from wherry.store.disk import DiskStore
from wherry.store.images import StoredImage
from wherry.store.layer_tree import Tree, layered_tree
from wherry.store.posix import explain_os_errors, write_atomically
from wherry.store.spooled import SpooledFile

_NAME = re.compile(f"[0-9a-f]{{64}}|{FULL}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """An image that devices have, under the name that the operator knows: ``release 7``, or a reference."""

    name: str
    image: StoredImage

    @property
    def manifest(self) -> Digest:
        return self.image.manifest.digest


@dataclass(frozen=True, slots=True, kw_only=True)
class CutParcel:
    """The bodies of a parcel for the owner of `base`; None: of one who has nothing. Close it after use."""

    platform: Platform
    base: Base | None
    bodies: tuple[LayerDelta, ...]

    @property
    def layers(self) -> tuple[ParcelLayer, ...]:
        """The bodies as a parcel takes them."""
        return tuple(ParcelLayer(diff_id=body.diff_id, size=body.body.size, chunks=body.body.chunks) for body in self.bodies)

    @property
    def memory(self) -> int:
        """Bytes that the decoder of the most demanding body needs."""
        heads = (parse_body(body.body.read, body.body.size, BOUNDLESS) for body in self.bodies)
        return max((head.memory for head in heads), default=0)

    def close(self) -> None:
        for body in self.bodies:
            body.body.close()


class LayerShelf:
    """The layers of several images in a store. One that is stored under another digest, compressed otherwise, serves too."""

    def __init__(self, store: DiskStore, images: Iterable[StoredImage]) -> None:
        self._store = store
        self._digests: dict[DiffId, Digest] = {}
        for image in images:
            for blob, diff_id in zip(image.manifest.layers, image.config.diff_ids, strict=True):
                if store.has(blob.digest):
                    self._digests.setdefault(diff_id, blob.digest)

    def find_gone(self, image: StoredImage) -> tuple[DiffId, ...]:
        """The layers of an image that are not here."""
        return tuple(dict.fromkeys(diff_id for diff_id in image.config.diff_ids if diff_id not in self._digests))

    def read(self, diff_id: DiffId) -> Iterator[bytes]:
        """A layer's uncompressed tar."""
        if diff_id not in self._digests:
            raise StoreError(f"no layer {diff_id} here", where=str(self._store.root))
        return read_layer(self._store, self._digests[diff_id], diff_id)

    def open_tree(self, image: StoredImage) -> Tree:
        """The files of an image's root. Its layers lie unpacked in temporary files until the tree is closed."""
        tars = (SpooledFile(self.read(diff_id)) for diff_id in image.config.diff_ids)
        return layered_tree(tars, str(image.descriptor.digest))

    def layers(self, image: StoredImage, wanted: Iterable[DiffId]) -> list[Layer]:
        """Some layers of an image, to be cut."""
        names = {layer.diff_id: layer.name for layer in image.layers}
        return [
            Layer(diff_id=diff_id, chunks=lambda diff_id=diff_id: self.read(diff_id), name=names[diff_id])  # type: ignore[misc]
            for diff_id in wanted
        ]


def cut_parcel(
    shelf: LayerShelf, target: StoredImage, base: Base, cache: BodyCache | None = None, progress: Progress = be_silent
) -> CutParcel:
    """The bodies from one base to the target; what the cache has is not cut again."""
    lacking = find_lacking(target.config.raw, base.image.config.raw)
    with ExitStack() as made:
        found = _take_known(made, cache, lacking, base.image.config.diff_ids)
        fresh = [diff_id for diff_id in lacking if diff_id not in found]
        if fresh:
            with shelf.open_tree(base.image) as tree:
                _cut(found, shelf.layers(target, fresh), tree, progress, cache, base.image.config.diff_ids)
        made.pop_all()
    return CutParcel(platform=target.platform, base=base, bodies=tuple(found[diff_id] for diff_id in lacking))


def cut_full_parcel(
    channel: Path, shelf: LayerShelf, target: StoredImage, cache: BodyCache | None = None, progress: Progress = be_silent
) -> CutParcel:
    """The bodies of all layers, each whole; those that the channel's former full parcel has are not made again."""
    wanted = find_lacking(target.config.raw, None)
    with ExitStack() as made:
        found = _take_former(made, channel / locate_parcel(target.platform, None), frozenset(wanted))
        found |= _take_known(made, cache, [diff_id for diff_id in wanted if diff_id not in found], ())
        fresh = [diff_id for diff_id in wanted if diff_id not in found]
        _cut(found, shelf.layers(target, fresh), Tree(()), progress, cache, ())
        made.pop_all()
    return CutParcel(platform=target.platform, base=None, bodies=tuple(found[diff_id] for diff_id in wanted))


def _cut(
    found: dict[DiffId, LayerDelta],
    layers: Sequence[Layer],
    tree: Tree,
    progress: Progress,
    cache: BodyCache | None,
    base: Sequence[DiffId],
) -> None:
    """Cut what was not found, and keep it for another time."""
    for body in encode_layers(layers, tree, progress):
        found[body.diff_id] = body
        if cache:
            cache.keep(body, base)


def _take_known(
    made: ExitStack, cache: BodyCache | None, wanted: Iterable[DiffId], base: Sequence[DiffId]
) -> dict[DiffId, LayerDelta]:
    taken = {}
    for diff_id in wanted:
        if cache and (known := cache.find(diff_id, base)):
            made.callback(known.body.close)
            taken[diff_id] = known
    return taken


def _take_former(made: ExitStack, path: Path, wanted: frozenset[DiffId]) -> dict[DiffId, LayerDelta]:
    """The bodies of a full parcel that are wanted again. A damaged or missing parcel has none."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return {}
    taken: dict[DiffId, LayerDelta] = {}
    try:
        read = _reader(handle)
        head = parse_parcel(read, os.fstat(handle).st_size, where=str(path))
        for place in locate_bodies(head, read_documents(read, head, None).config, None):
            if place.diff_id in wanted:
                taken[place.diff_id] = describe_body(place.diff_id, SpooledFile(_cut_out(read, place.offset, place.size)))
                made.callback(taken[place.diff_id].body.close)
    except FormatError:
        return {}
    finally:
        os.close(handle)
    return taken


def _reader(handle: int) -> ReadAt:
    return lambda offset, size: os.pread(handle, size, offset)


def _cut_out(read: ReadAt, offset: int, size: int) -> Iterator[bytes]:
    end = offset + size
    while offset < end:
        chunk = read(offset, min(1 << 18, end - offset))
        if not chunk:
            raise FormatError("it is cut off", where="parcel")
        offset += len(chunk)
        yield chunk


# -- what lies in a channel


def stream_cut(records: ReleaseRecords, cut: CutParcel, target: StoredImage, metadata: Metadata) -> Iterator[bytes]:
    """The bytes of a parcel of a release that the records know, or have coming."""
    manifest = cut.base.manifest if cut.base else None
    base = records.base_documents(cut.platform, manifest) if manifest else None
    documents = Documents(metadata=metadata, manifest=target.manifest.raw, config=target.config.raw)
    return stream_parcel(_without_roots(documents, records.known_root(cut.platform, manifest)), base, cut.layers)


def _without_roots(documents: Documents, known: int) -> Documents:
    """Of the roots, those that somebody lacks who knows all up to number `known`."""
    roots = tuple(root for root in documents.metadata.roots if _number_of(root) > known)
    return replace(documents, metadata=replace(documents.metadata, roots=roots))


def _number_of(root: bytes) -> int:
    return int(json.loads(root)["signed"]["version"])


def write_parcels(
    channel: Path, records: ReleaseRecords, cuts: Sequence[CutParcel], targets: Sequence[StoredImage], metadata: Metadata
) -> None:
    """Put the parcels of a release into its channel, one after another, and take away those that lead to former ones."""
    image_of = {image.platform: image for image in targets}
    written = set()
    for cut in cuts:
        path = channel / locate_parcel(cut.platform, cut.base.manifest if cut.base else None)
        with explain_os_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, stream_cut(records, cut, image_of[cut.platform], metadata))
        written.add(path)
    for path in (channel / PARCELS).glob("*/*"):
        if path not in written and (_NAME.fullmatch(path.name) or path.suffix == ".part"):
            path.unlink(missing_ok=True)


def renew_parcels(channel: Path, metadata: Metadata) -> int:
    """Put metadata that was signed again into the parcels of the newest release; gives how many there are.

    A parcel of another release among them, left by a release that was stopped, is a `StoreError`: it cannot be renewed.
    """
    records = ReleaseRecords(channel)
    renewed = 0
    for record in records.read_all()[:1]:
        for image in record.images:
            for path in sorted((channel / PARCELS / name_platform(image.platform)).glob("*")):
                if _NAME.fullmatch(path.name):
                    with explain_os_errors(path):
                        _renew_parcel(path, records, image.platform, metadata)
                    renewed += 1
    return renewed


def _renew_parcel(path: Path, records: ReleaseRecords, platform: Platform, metadata: Metadata) -> None:
    base = None if path.name == FULL else Digest(path.name)
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        read = _reader(handle)
        head = parse_parcel(read, os.fstat(handle).st_size, where=str(path))
        known = records.base_documents(platform, base) if base else None
        former = read_documents(read, head, known, where=str(path))
        if not same_images(former.metadata.targets, metadata.targets):
            what = "leads to another release: the newest one was stopped before it was finished"
            raise StoreError(what, where=str(path), hint="wherry release the same image again")
        layers = [
            ParcelLayer(
                diff_id=place.diff_id,
                size=place.size,
                chunks=lambda place=place: _cut_out(read, place.offset, place.size),  # type: ignore[misc]
            )
            for place in locate_bodies(head, former.config, known.config if known else None)
        ]
        documents = _without_roots(replace(former, metadata=metadata), records.known_root(platform, base))
        write_atomically(path, stream_parcel(documents, known, layers))
    finally:
        os.close(handle)
