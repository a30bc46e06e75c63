"""Holds a channel to what a device will ask of it, without changing anything, and says all that is wrong.

Checked: the chain of roots and every signature; that nothing expired; that each platform has its full parcel and one from
the release to itself; that each parcel lies where its base's devices look, carries these very documents, and is whole;
that its layers have the sizes, and its decoder the bounds, that were signed; that the layers of full parcels are those that
were signed, and of the others too where the store has their bases' layers, which are not in a channel; that the records are
what their names say.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from wherry.deliver.body_cache import BOUNDLESS
from wherry.deliver.channel import read_channel
from wherry.deliver.channel_status import ParcelFile, list_parcels
from wherry.deliver.metadata import read_release
from wherry.deliver.parcels import LayerShelf
from wherry.deliver.records import ReleaseRecords
from wherry.errors import FormatError, WherryError
from wherry.formats.delta import ReadAt, parse_body
from wherry.formats.delta_decoder import decode_delta
from wherry.formats.oci_json import parse_config, parse_manifest
from wherry.formats.parcel import BodyPlace, Documents, locate_bodies, parse_parcel, read_documents
from wherry.formats.parcel_documents import BaseDocuments
from wherry.formats.tuf_workflow import Clock, step_snapshot, step_targets, step_timestamp, trust_root
from wherry.model.digest import Digest
from wherry.model.oci import Descriptor
from wherry.model.progress import Progress, be_silent
from wherry.model.release import FULL, Metadata, ReleaseTarget, name_platform
from wherry.store.disk import DiskStore
from wherry.store.images import StoredImage
from wherry.store.layer_tree import Tree
from wherry.store.posix import explain_os_errors


def check_channel(
    folder: Path, now: datetime, pinned: bytes | None = None, progress: Progress = be_silent, store: DiskStore | None = None
) -> tuple[str, ...]:
    """Everything that is wrong, one line each; what cannot be read at all is raised. `store` may have layers of bases."""
    channel = read_channel(folder, pinned)
    metadata = channel.metadata
    if metadata is None:
        return ()
    problems: list[str] = []
    with _gather(problems):
        _check_metadata(metadata, now)
    records = ReleaseRecords(folder)
    with _gather(problems):
        _check_records(records)
    for target in read_release(channel):
        problems += _check_placement(folder, target)
        for parcel in list_parcels(folder, target.platform):
            progress(f"checking {parcel.path.name[:12]}", 0, 0)
            with _gather(problems), explain_os_errors(parcel.path):
                _check_parcel(parcel, target, metadata, records, store)
    return tuple(problems)


def _check_metadata(metadata: Metadata, now: datetime) -> None:
    """As a device with the newest root does."""
    clock = Clock(now=now)
    trusted = step_timestamp(trust_root(metadata.roots[-1]), metadata.timestamp, clock)
    step_targets(step_snapshot(trusted, metadata.snapshot, clock), metadata.targets, clock)


def _check_records(records: ReleaseRecords) -> None:
    for record in records.read_all():
        for image in record.images:
            records.read_document(parse_manifest(records.read_document(image.manifest)).config.digest)


def _check_placement(folder: Path, target: ReleaseTarget) -> list[str]:
    have = {parcel.base for parcel in list_parcels(folder, target.platform)}
    place = name_platform(target.platform)
    missing = []
    if None not in have:
        missing.append(f"parcels/{place}/{FULL}: missing, so a device without a known base cannot be served")
    if target.manifest not in have:
        missing.append(f"parcels/{place}/{target.manifest.hex[:12]}…: missing, so devices that are up to date take the full one")
    return missing


def _check_parcel(
    parcel: ParcelFile, target: ReleaseTarget, metadata: Metadata, records: ReleaseRecords, store: DiskStore | None
) -> None:
    where = f"parcels/{name_platform(parcel.platform)}/{parcel.base.hex[:12] + '…' if parcel.base else FULL}"
    handle = os.open(parcel.path, os.O_RDONLY | os.O_CLOEXEC)

    def read(offset: int, size: int) -> bytes:
        return os.pread(handle, size, offset)

    try:
        head = parse_parcel(read, parcel.size, where=where)
        if parcel.base and head.is_full:
            raise FormatError("the full parcel, where devices look for a small one", where=where, hint="wherry release")
        base = records.base_documents(parcel.platform, parcel.base) if parcel.base else None
        documents = read_documents(read, head, base, where=where)
        _check_documents(documents, target, metadata, where)
        places = locate_bodies(head, documents.config, base.config if base else None, where)
        with _open_base(base, store) as tree:
            for place in places:
                _check_body(_cut_out(read, place), place, target, tree, where)
    finally:
        os.close(handle)


def _check_documents(documents: Documents, target: ReleaseTarget, metadata: Metadata, where: str) -> None:
    carried = documents.metadata
    if (carried.timestamp, carried.snapshot, carried.targets) != (metadata.timestamp, metadata.snapshot, metadata.targets):
        raise FormatError("it carries other signed documents than the channel has", where=where, hint="wherry channel refresh")
    if carried.roots != metadata.roots[len(metadata.roots) - len(carried.roots) :]:
        raise FormatError("it carries other roots than the channel has", where=where, hint="wherry channel refresh")
    if Digest.of(documents.manifest) != target.manifest or len(documents.manifest) != target.size:
        raise FormatError("it leads to another image than the one that is released", where=where, hint="wherry release")
    if parse_manifest(documents.manifest, where).config.digest != Digest.of(documents.config):
        raise FormatError("its config is not the one that the manifest names", where=where, hint="wherry release")


@contextmanager
def _open_base(base: BaseDocuments | None, store: DiskStore | None) -> Iterator[Tree | None]:
    """The files that a parcel starts from; None where they are not here."""
    if base is None:
        yield Tree(())
        return
    manifest, config = parse_manifest(base.manifest), parse_config(base.config)
    descriptor = Descriptor(media_type=manifest.media_type, digest=manifest.digest, size=len(base.manifest))
    image = StoredImage(descriptor=descriptor, manifest=manifest, config=config)
    shelf = LayerShelf(store, [image]) if store else None
    if shelf is None or shelf.find_gone(image):
        yield None
        return
    with shelf.open_tree(image) as tree:
        yield tree


def _check_body(read: ReadAt, place: BodyPlace, target: ReleaseTarget, tree: Tree | None, where: str) -> None:
    head = parse_body(read, place.size, BOUNDLESS, where)
    if head.target_size != {layer.diff_id: layer.size for layer in target.layers}.get(place.diff_id):
        raise FormatError(f"layer {place.diff_id} has {head.target_size} bytes, and other ones were signed", where=where)
    if target.memory and head.memory > target.memory:
        raise FormatError(f"layer {place.diff_id} asks for more memory than was signed", where=where, hint="wherry release")
    if tree is not None:
        for _ in decode_delta(read, place.size, tree, place.diff_id, limits=BOUNDLESS, where=where):
            pass


def _cut_out(read: ReadAt, place: BodyPlace) -> ReadAt:
    return lambda offset, size: read(place.offset + offset, max(min(size, place.size - offset), 0))


@contextmanager
def _gather(problems: list[str]) -> Iterator[None]:
    try:
        yield
    except WherryError as error:
        problems.append(" · ".join(str(error).splitlines()))
