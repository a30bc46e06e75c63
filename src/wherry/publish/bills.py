"""Bills of materials attached to an image in its registry, where scanners look: as referrers, each an artifact of one document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wherry.formats.in_toto import CYCLONEDX, MAX_STATEMENT, SPDX, render_statement
from wherry.formats.oci_json import parse_json
from wherry.model.bill import BillForm
from wherry.model.digest import Digest
from wherry.model.oci import Descriptor, Manifest
from wherry.model.reference import Reference
from wherry.publish.artifacts import attach_document
from wherry.publish.signatures import ImageStatement
from wherry.sources.registries import RegistryAccess


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageBill:
    """One platform's image and the document about it."""

    manifest: Manifest
    form: BillForm
    document: bytes


def push_bills(access: RegistryAccess, bills: Sequence[ImageBill], destination: Reference) -> tuple[Digest, ...]:
    """Attach each to its image, which lies in the destination's repository already; gives the artifacts' digests."""
    repository = access.open(destination, push=True)
    return tuple(
        attach_document(repository, describe_manifest(bill.manifest), bill.document, bill.form.media_type) for bill in bills
    )


def state_bill(name: str, bill: ImageBill) -> ImageStatement:
    """The document as a statement about its image."""
    kind = SPDX if bill.form is BillForm.SPDX else CYCLONEDX
    statement = render_statement([(name, bill.manifest.digest)], kind, parse_json(bill.document, "bill", MAX_STATEMENT))
    return ImageStatement(image=describe_manifest(bill.manifest), predicate_type=kind, statement=statement)


def describe_manifest(manifest: Manifest) -> Descriptor:
    return Descriptor(media_type=manifest.media_type, digest=manifest.digest, size=len(manifest.raw))
