"""What the images in a store consist of: their documents, their layers with what each holds, the blobs they reach.

A layer's kind and members come from its history entry, ``wherry layer KIND NAME`` with the members as comment; layers
that other tools made are `FOREIGN`, named by what their history says. Platforms whose manifest was never brought here
are passed over, and so are attestations, which are no images.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from wherry.errors import FormatError, StoreError
from wherry.formats.oci_json import parse_any_manifest, parse_config
from wherry.model.digest import Digest
from wherry.model.image import BuiltLayer
from wherry.model.lock import LayerKind
from wherry.model.oci import CONFIG, DOCKER_CONFIG, Descriptor, History, ImageConfig, Index, Manifest
from wherry.model.platform import Platform
from wherry.store.disk import DiskStore

_OURS = "wherry layer "
_SHELL_NOISE = ("/bin/sh -c #(nop) ", "/bin/sh -c ", "|0 ")
_KINDS = {kind.value: kind for kind in LayerKind}
_MAX_DEPTH = 4  # indexes within indexes


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredImage:
    """One platform's image in a store. The config's digest is the image ID."""

    descriptor: Descriptor
    manifest: Manifest
    config: ImageConfig

    @property
    def platform(self) -> Platform:
        return self.config.platform

    @property
    def layers(self) -> tuple[BuiltLayer, ...]:
        return layers_of(self.manifest, self.config)

    @property
    def size(self) -> int:
        """Bytes as stored: manifest, config and layers."""
        manifest = self.manifest
        return len(manifest.raw) + manifest.config.size + sum(layer.size for layer in manifest.layers)


def read_images(store: DiskStore, descriptor: Descriptor) -> tuple[StoredImage, ...]:
    """All platforms of an image that are here, in the index's order."""
    images = []
    for found, document in walk_manifests(store, descriptor):
        if isinstance(document, Manifest) and document.config.media_type in (CONFIG, DOCKER_CONFIG):
            config = parse_config(store.read_bytes(document.config.digest), where=str(document.config.digest))
            if config.platform.architecture != "unknown":
                images.append(StoredImage(descriptor=found, manifest=document, config=config))
    return tuple(images)


def pick_image(store: DiskStore, descriptor: Descriptor, platform: Platform | None = None) -> StoredImage:
    """The image for a platform; without one, the only image there is."""
    images = read_images(store, descriptor)
    chosen = [image for image in images if platform in (None, image.platform)]
    if len(chosen) == 1 or (chosen and platform is not None):
        return chosen[0]
    have = ", ".join(str(image.platform) for image in images) or "no image at all"
    if chosen:
        raise StoreError(f"{descriptor.digest} holds several platforms: {have}", hint="--platform")
    raise StoreError(
        f"the image is not for {platform}, but for {have}", where=str(descriptor.digest), hint=f"wherry build --platform {platform}"
    )


def walk_manifests(store: DiskStore, descriptor: Descriptor, depth: int = 0) -> Iterator[tuple[Descriptor, Manifest | Index]]:
    """A manifest or index and, for an index, what it points at as far as it is here."""
    if depth > _MAX_DEPTH:
        raise FormatError("indexes nested too deep", where=str(descriptor.digest))
    raw = store.read_bytes(descriptor.digest)
    document = parse_any_manifest(raw, descriptor.media_type, where=str(descriptor.digest))
    yield descriptor, document
    if isinstance(document, Index):
        for inner in document.manifests:
            if store.has(inner.digest):
                yield from walk_manifests(store, inner, depth + 1)


def reach_blobs(store: DiskStore, descriptor: Descriptor) -> dict[Digest, int]:
    """Every blob that an image needs, with its size, whether or not it is here."""
    reached: dict[Digest, int] = {}
    for found, document in walk_manifests(store, descriptor):
        reached[found.digest] = len(document.raw)
        if isinstance(document, Manifest):
            for part in (document.config, *document.layers):
                reached[part.digest] = part.size
    return reached


def find_missing(store: DiskStore, manifest: Manifest) -> tuple[Descriptor, ...]:
    """The config and layers of a manifest that are not here, or not whole."""
    parts = (manifest.config, *manifest.layers)
    return tuple(part for part in parts if not store.has(part.digest) or store.size(part.digest) != part.size)


def layers_of(manifest: Manifest, config: ImageConfig) -> tuple[BuiltLayer, ...]:
    """The layers of an image, lowest first. A config that has another number of them is a `FormatError`."""
    if len(manifest.layers) != len(config.diff_ids):
        raise FormatError(
            f"the manifest has {len(manifest.layers)} layers, the config {len(config.diff_ids)}", where=str(manifest.digest)
        )
    told = [entry for entry in config.history if not entry.empty_layer]
    if len(told) != len(manifest.layers):
        told = [History(created_by="")] * len(manifest.layers)  # history is optional, and then it explains nothing
    layers = []
    for number, (blob, diff_id, entry) in enumerate(zip(manifest.layers, config.diff_ids, told, strict=True)):
        kind, name, members = _read_history(entry, number)
        layers.append(
            BuiltLayer(
                name=name,
                kind=kind,
                diff_id=diff_id,
                digest=blob.digest,
                size=blob.size,
                media_type=blob.media_type,
                members=members,
            )
        )
    return tuple(layers)


def _read_history(entry: History, number: int) -> tuple[LayerKind, str, tuple[str, ...]]:
    if entry.created_by.startswith(_OURS):
        kind, _, name = entry.created_by.removeprefix(_OURS).partition(" ")
        if kind in _KINDS and name:
            return _KINDS[kind], name, tuple(entry.comment.split(", ")) if entry.comment else ()
    text = entry.created_by
    for noise in _SHELL_NOISE:
        text = text.removeprefix(noise)
    text = " ".join(text.split())
    return LayerKind.FOREIGN, f"layer {number + 1}", (text,) if text else ()
