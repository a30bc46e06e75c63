"""Documents attached to an image in its registry: each a blob, in a manifest whose subject the image is."""

from __future__ import annotations

import io
from collections.abc import Mapping
from types import MappingProxyType
from typing import BinaryIO, cast

from wherry.formats.oci_json import render_manifest
from wherry.model.digest import Digest
from wherry.model.oci import Descriptor
from wherry.store.registry import RegistryStore
from wherry.store.registry_referrers import attach_referrer
from wherry.store.registry_upload import Upload

_EMPTY = "application/vnd.oci.empty.v1+json"  # image-spec 1.1, "Guidance for an Empty Descriptor"
_NOTHING = b"{}"


def attach_document(
    repository: RegistryStore,
    subject: Descriptor,
    document: bytes,
    media_type: str,
    annotations: Mapping[str, str] = MappingProxyType({}),
) -> Digest:
    """An artifact of one document, whose type is also the artifact's; gives the artifact's digest. Once is enough."""
    config = bring_blob(repository, _NOTHING, _EMPTY)
    layer = bring_blob(repository, document, media_type)
    bare = Descriptor(media_type=subject.media_type, digest=subject.digest, size=subject.size)
    raw = render_manifest(config=config, layers=(layer,), subject=bare, artifact_type=media_type, annotations=annotations)
    return attach_referrer(repository, raw, subject.digest, media_type, annotations).digest


def bring_blob(repository: RegistryStore, data: bytes, media_type: str) -> Descriptor:
    """Have a small blob in the repository."""
    digest = Digest.of(data)
    if not repository.has(digest):
        upload = Upload(digest=digest, size=len(data), open=lambda: cast(BinaryIO, io.BytesIO(data)), report=lambda _sent: None)
        repository.upload(upload)
    return Descriptor(media_type=media_type, digest=digest, size=len(data))
