"""Bills of materials attached to an image in its registry, where scanners look: as referrers, each an artifact of one document."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO, cast

from wherry.formats.oci_json import render_manifest
from wherry.model.bill import BillForm
from wherry.model.digest import Digest
from wherry.model.oci import Descriptor, Manifest
from wherry.model.reference import Reference
from wherry.sources.registries import RegistryAccess
from wherry.store.registry import RegistryStore
from wherry.store.registry_referrers import attach_referrer
from wherry.store.registry_upload import Upload

_EMPTY = "application/vnd.oci.empty.v1+json"  # image-spec 1.1, "Guidance for an Empty Descriptor"
_NOTHING = b"{}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageBill:
    """One platform's image and the document about it."""

    manifest: Manifest
    form: BillForm
    document: bytes


def push_bills(access: RegistryAccess, bills: Sequence[ImageBill], destination: Reference) -> tuple[Digest, ...]:
    """Attach each to its image, which lies in the destination's repository already; gives the artifacts' digests."""
    repository = access.open(destination, push=True)
    return tuple(_attach(repository, bill) for bill in bills)


def _attach(repository: RegistryStore, bill: ImageBill) -> Digest:
    config = _bring(repository, _NOTHING, _EMPTY)
    layer = _bring(repository, bill.document, bill.form.media_type)
    image = bill.manifest
    subject = Descriptor(media_type=image.media_type, digest=image.digest, size=len(image.raw))
    raw = render_manifest(config=config, layers=(layer,), subject=subject, artifact_type=bill.form.media_type)
    return attach_referrer(repository, raw, image.digest, bill.form.media_type).digest


def _bring(repository: RegistryStore, data: bytes, media_type: str) -> Descriptor:
    digest = Digest.of(data)
    if not repository.has(digest):
        upload = Upload(digest=digest, size=len(data), open=lambda: cast(BinaryIO, io.BytesIO(data)), report=lambda _sent: None)
        repository.upload(upload)
    return Descriptor(media_type=media_type, digest=digest, size=len(data))
