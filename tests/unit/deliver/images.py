"""Images and locks for tests of differences: layers from a line each, digests from their names."""

from __future__ import annotations

import hashlib

from wherry.model.digest import DiffId, Digest
from wherry.model.image import BuiltImage, BuiltLayer
from wherry.model.lock import LayerKind
from wherry.model.oci import LAYER_GZIP
from wherry.model.platform import Platform

AMD64 = Platform("linux", "amd64")
ARM64 = Platform("linux", "arm64")


def hex_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def make_layer(kind: LayerKind, name: str, *members: str, size: int = 1000, content: str = "", codec: str = "") -> BuiltLayer:
    """Equal members and `content` give an equal diff_id; an equal `codec` too, an equal digest."""
    inside = f"{kind.value} {name} {members} {content}"
    return BuiltLayer(
        name=name,
        kind=kind,
        diff_id=DiffId(hex_of(inside)),
        digest=Digest(hex_of(inside + codec + "blob")),
        size=size,
        media_type=LAYER_GZIP,
        members=members,
    )


def make_image(*layers: BuiltLayer, platform: Platform = AMD64, settings: str = "") -> BuiltImage:
    config = " ".join([settings, str(platform), *(layer.diff_id.hex for layer in layers)])
    manifest = " ".join([config, *(layer.digest.hex for layer in layers)])
    return BuiltImage(
        platform=platform,
        manifest=Digest(hex_of(manifest)),
        manifest_size=len(layers) * 200,
        config=Digest(hex_of(config)),
        layers=layers,
    )
