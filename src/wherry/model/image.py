"""What a build gives: images with their layers and the cause of each byte."""

from __future__ import annotations

from dataclasses import dataclass

from wherry.model.digest import DiffId, Digest
from wherry.model.lock import LayerKind
from wherry.model.platform import Platform

ROOT_FORMS = ("squashfs", "sif")  # how a root is written as one file


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltLayer:
    """`size` is that of the stored (compressed) blob, in bytes; `cause` names what brought it (docs/spec/layers.md)."""

    name: str
    kind: LayerKind
    diff_id: DiffId
    digest: Digest
    size: int
    media_type: str
    members: tuple[str, ...]

    @property
    def cause(self) -> str:
        return self.name if len(self.members) != 1 else self.members[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltImage:
    """One platform's image. `config` is the image ID."""

    platform: Platform
    manifest: Digest
    manifest_size: int
    config: Digest
    layers: tuple[BuiltLayer, ...]

    @property
    def size(self) -> int:
        """Bytes of all layers as stored."""
        return sum(layer.size for layer in self.layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """`index` is the digest of the index over all platforms; `name` is the local name, such as ``anomaly:latest``."""

    name: str
    index: Digest
    images: tuple[BuiltImage, ...]
