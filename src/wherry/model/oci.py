"""OCI documents as values (image-spec 1.1). Raw bytes are kept beside what was parsed, so a digest is never
recomputed from re-serialised JSON and unknown fields survive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from wherry.model.digest import DiffId, Digest
from wherry.model.platform import Platform

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER_TAR = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"

REF_NAME = "org.opencontainers.image.ref.name"
# Annotations on a manifest (OCI's own): the base's reference as declared, and its manifest's digest when it was pinned.
BASE_NAME = "org.opencontainers.image.base.name"
BASE_DIGEST = "org.opencontainers.image.base.digest"
# On a manifest, too: the names of conda's channels that the image has packages of, separated by commas.
CONDA_CHANNELS = "dev.wherry.conda.channels"
# Annotations on a layer's descriptor; the values of `LayerKind` and `LockedLayer.name`.
LAYER_KIND = "dev.wherry.layer.kind"
LAYER_NAME = "dev.wherry.layer.name"
NOTEBOOK = "dev.wherry.notebook"  # a label: the port that JupyterLab listens on

_NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """Points at a blob. `size` is in bytes. `platform` stands in an index only."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default_factory=lambda: _NONE)
    platform: Platform | None = None
    artifact_type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """An image manifest; `raw` is what its digest is over."""

    raw: bytes
    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=lambda: _NONE)
    subject: Descriptor | None = None
    artifact_type: str | None = None

    @property
    def digest(self) -> Digest:
        return Digest.of(self.raw)


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """An image index (or docker's manifest list)."""

    raw: bytes
    media_type: str
    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=lambda: _NONE)

    @property
    def digest(self) -> Digest:
        return Digest.of(self.raw)


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    created_by: str
    comment: str = ""
    empty_layer: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """An image's config document; its digest is the image ID."""

    raw: bytes
    platform: Platform
    created: str
    diff_ids: tuple[DiffId, ...]
    history: tuple[History, ...]
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    user: str = ""
    workdir: str = ""
    labels: Mapping[str, str] = field(default_factory=lambda: _NONE)
    volumes: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()

    @property
    def digest(self) -> Digest:
        return Digest.of(self.raw)
