"""Writes images as one tar that engines and other tools take in: an OCI layout, or the *hybrid archive*.

The hybrid archive (formats/hybrid.py) is what docker, podman and containerd all load. Both forms are deterministic and
streamed. Layers are held against their diff_id on the way out.

`load_archive` of `loading` is the way back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import BinaryIO

from wherry.errors import StoreError, TrustError, UsageError
from wherry.formats.decompress import codec_of, unpack_layer_chunks
from wherry.formats.hybrid import LAYOUT, HybridImage, HybridLayer, describe_tar, list_entries, order_entries
from wherry.formats.oci_json import render_index
from wherry.formats.tar import Sink, TarEntry, file_entry, stream_tar
from wherry.model.digest import DiffId, Digest
from wherry.model.oci import INDEX, REF_NAME, Descriptor
from wherry.model.platform import Platform
from wherry.store.disk import DiskStore
from wherry.store.images import StoredImage, find_missing, reach_blobs, read_images
from wherry.store.loading import load_archive

__all__ = ["load_archive", "read_layer", "save_image", "stream_image"]

_CHUNK = 1 << 18
_LAYER_LIMIT = 1 << 40


def save_image(
    store: DiskStore,
    descriptor: Descriptor,
    sink: Sink,
    *,
    name: str,
    form: str = "hybrid",
    platforms: Sequence[Platform] = (),
    omit: Collection[DiffId] = (),
) -> None:
    """Write an archive to `sink`; the arguments are those of `stream_image`."""
    for chunk in stream_image(store, descriptor, name=name, form=form, platforms=platforms, omit=omit):
        sink(chunk)


def stream_image(
    store: DiskStore,
    descriptor: Descriptor,
    *,
    name: str,
    form: str = "hybrid",
    platforms: Sequence[Platform] = (),
    omit: Collection[DiffId] = (),
) -> Iterator[bytes]:
    """The archive's bytes. `name` is what the image is called in it.

    `form` is ``hybrid`` or ``oci`` (blobs as stored, digests kept). `platforms` empty: all that are here; docker's
    manifest.json names the first. `omit` are layers that the engine has, for ``hybrid`` alone. What is missing in the
    store is an error before the first byte.
    """
    if form not in ("hybrid", "oci"):
        raise UsageError(f"unknown form of archive: {form!r}", hint="hybrid or oci")
    images = _choose(store, descriptor, platforms)
    for image in images:
        _require_whole(store, image)
    if form == "oci":
        return stream_tar(order_entries(_oci_entries(store, descriptor, images, name)))
    return stream_tar(list_entries([_uncompress_image(store, image) for image in images], name, omit))


def read_layer(store: DiskStore, digest: Digest, diff_id: DiffId) -> Iterator[bytes]:
    """A layer's uncompressed tar. One that is not `diff_id` is a `TrustError`, at the end."""
    hasher = hashlib.sha256()
    with store.open(digest) as file:
        for chunk in unpack_layer_chunks(_chunks(file), _LAYER_LIMIT):
            hasher.update(chunk)
            yield chunk
    if hasher.hexdigest() != diff_id.hex:
        raise TrustError(f"layer {digest} unpacks to sha256:{hasher.hexdigest()}, its image says {diff_id}", where=str(store.root))


def _choose(store: DiskStore, descriptor: Descriptor, platforms: Sequence[Platform]) -> tuple[StoredImage, ...]:
    images = read_images(store, descriptor)
    if not platforms:
        chosen = images
    else:
        by_platform = {image.platform: image for image in images}
        missing = [str(platform) for platform in platforms if platform not in by_platform]
        if missing:
            have = ", ".join(map(str, by_platform)) or "none"
            raise StoreError(
                f"no image for {', '.join(missing)} in {descriptor.digest}, but for {have}", hint="wherry build --platform"
            )
        chosen = tuple(by_platform[platform] for platform in platforms)
    if not chosen:
        raise StoreError(f"{descriptor.digest} holds no image", where=str(store.root))
    return chosen


def _require_whole(store: DiskStore, image: StoredImage) -> None:
    missing = find_missing(store, image.manifest)
    if missing:
        raise StoreError(
            f"{len(missing)} blobs of {image.descriptor.digest} are not here, such as {missing[0].digest}",
            where=str(store.root),
            hint="build or pull the image again",
        )


# -- the OCI layout


def _oci_entries(store: DiskStore, descriptor: Descriptor, images: Sequence[StoredImage], name: str) -> list[TarEntry]:
    made: list[TarEntry] = []
    parts = [replace(image.descriptor, platform=image.platform) for image in images]
    if len(parts) == len(read_images(store, descriptor)):
        root = descriptor
        parts = [descriptor]
    elif len(parts) == 1:
        root = parts[0]
    else:
        index = render_index(parts)
        root = Descriptor(media_type=INDEX, digest=Digest.of(index), size=len(index))
        made.append(file_entry(f"blobs/sha256/{root.digest.hex}", index))
    blobs: dict[Digest, int] = {}
    for part in parts:
        blobs |= reach_blobs(store, part)
    return [
        file_entry("oci-layout", LAYOUT),
        file_entry("index.json", render_index([replace(root, annotations={**root.annotations, REF_NAME: name})])),
        *made,
        *(_stored_entry(store, digest, size) for digest, size in blobs.items() if store.has(digest)),
    ]


def _stored_entry(store: DiskStore, digest: Digest, size: int) -> TarEntry:
    return TarEntry(path=f"blobs/sha256/{digest.hex}", size=size, content=lambda: _verified(store, digest))


def _verified(store: DiskStore, digest: Digest) -> Iterator[bytes]:
    hasher = hashlib.sha256()
    with store.open(digest) as file:
        for chunk in _chunks(file):
            hasher.update(chunk)
            yield chunk
    if hasher.hexdigest() != digest.hex:
        raise TrustError(f"blob {digest} is damaged", where=str(store.root), hint="build or pull the image again")


# -- the hybrid archive


def _uncompress_image(store: DiskStore, image: StoredImage) -> HybridImage:
    sources = zip(image.manifest.layers, image.config.diff_ids, strict=True)
    sized = [(blob, diff_id, _layer_content(store, blob, diff_id)) for blob, diff_id in sources]
    layers = [
        HybridLayer(diff_id=diff_id, descriptor=describe_tar(diff_id, size, blob.annotations), content=content)
        for blob, diff_id, (size, content) in sized
    ]
    return HybridImage(
        platform=image.platform, config=image.config.raw, layers=tuple(layers), annotations=image.manifest.annotations
    )


def _layer_content(store: DiskStore, blob: Descriptor, diff_id: DiffId) -> tuple[int, bytes | Callable[[], Iterator[bytes]]]:
    """An uncompressed layer's size and content. A tar header tells the size first, so that a big layer is unpacked twice."""

    def content() -> Iterator[bytes]:
        return read_layer(store, blob.digest, diff_id)

    with store.open(blob.digest) as file:
        codec = codec_of(file.read(4))
    if codec == "identity":
        return blob.size, content
    return sum(map(len, content())), content


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk
