"""What an image was made of, as it is attached to the image in a registry (docs/spec/sources.md)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import BinaryIO

from wherry.model.digest import Digest
from wherry.model.oci import ImageConfig, Manifest

SOURCES = "application/vnd.wherry.sources.v1"  # the artifact's type
SOURCES_DOCUMENT = "application/vnd.wherry.sources.v1+json"  # its config
SOURCES_LOCK = "application/vnd.wherry.lock.v1+toml"  # its first layer
SOURCE_FILE = "application/vnd.wherry.source.v1"  # each of the other layers
# Annotations on a file's descriptor: its name (OCI's own), and a value of `SourceKind`.
FILE_NAME = "org.opencontainers.image.title"
FILE_KIND = "dev.wherry.source.kind"


class SourceKind(Enum):
    """What a file is. `BASE` are the documents and layers of a base given by reference."""

    DEB = "deb"
    RECORD = "record"
    WHEEL = "wheel"
    PYTHON = "python"  # an interpreter as it is published
    ARCHIVE = "archive"  # the source that a wheel was built from
    TOOL = "tool"  # a wheel that another one was built with
    BASE = "base"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One file by digest. `file` is its own name, no folder; `open` gives its bytes, which whoever reads them verifies."""

    kind: SourceKind
    file: str
    digest: Digest
    size: int
    open: Callable[[], BinaryIO]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSources:
    """One platform's image and all that it was made of. `document` is the recipe, `lock` the lockfile, both as bytes."""

    manifest: Manifest
    config: ImageConfig
    document: bytes
    lock: bytes
    files: tuple[SourceFile, ...]
