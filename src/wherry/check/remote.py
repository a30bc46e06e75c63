"""Describes an image of a registry, so that it can be examined. Apart, because an HTTP client is slow to import."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from wherry.check.images import ImageSubject, LayerSource
from wherry.formats.decompress import unpack_layer_chunks
from wherry.model.platform import Platform
from wherry.model.reference import Reference
from wherry.sources.images import BaseImages
from wherry.sources.registries import RegistryAccess
from wherry.store.images import layers_of

_LAYER_LIMIT = 1 << 40
_CHUNK = 1 << 18


def describe_remote(access: RegistryAccess, reference: Reference, platform: Platform) -> ImageSubject:
    """An image of a registry; no layer is fetched until it is asked for."""
    bases = BaseImages(access)
    pinned = bases.pin_base(reference, platform)

    def stream(number: int) -> Iterator[bytes]:
        layer = pinned.manifest.layers[number]
        with bases.open_blob(pinned.reference, layer.digest, layer.size) as blob:
            yield from unpack_layer_chunks(iter(partial(blob.read, _CHUNK), b""), _LAYER_LIMIT)

    told = layers_of(pinned.manifest, pinned.config)
    layers = (LayerSource(built=layer, open=partial(stream, number)) for number, layer in enumerate(told))
    return ImageSubject(name=str(reference), platform=pinned.config.platform, config=pinned.config, layers=tuple(layers))
