"""What `wherry push --sign` attests of each platform's image, and how it is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from wherry.cli.export_provenance import describe_origin

if TYPE_CHECKING:
    from wherry.model.lock import Lock
    from wherry.publish.bills import ImageBill
    from wherry.publish.push import PushPlan
    from wherry.publish.signatures import ImageStatement, Signed
    from wherry.store.images import StoredImage


def state_origins(
    name: str, lock: Lock, plan: PushPlan, images: Sequence[StoredImage], bills: Sequence[ImageBill]
) -> tuple[ImageStatement, ...]:
    """Provenance of each image and of the index, and the bills of materials."""
    from wherry.formats.slsa import SLSA
    from wherry.publish.bills import describe_manifest, state_bill
    from wherry.publish.signatures import ImageStatement

    subjects = [(describe_manifest(image.manifest), [image]) for image in images]
    target = plan.target.descriptor
    if not plan.elsewhere and target.digest not in {subject.digest for subject, _ in subjects}:
        subjects.append((target, list(images)))
    origins = [
        ImageStatement(image=subject, predicate_type=SLSA, statement=describe_origin(name, lock, subject.digest, about))
        for subject, about in subjects
    ]
    return (*origins, *(state_bill(name, bill) for bill in bills))


def describe_signing(plan: PushPlan, statements: Sequence[ImageStatement], signed: Signed | None) -> str:
    """One line; `signed` is None where nothing was done."""
    what = f"{_count(len(plan.documents), 'manifest')} and {_count(len(statements), 'attestation')}"
    if signed is None:
        return f"would sign {what}"
    return f"signed {what}" if signed.added else f"{what} were signed before: nothing added"


def render_signing(signed: Signed) -> dict[str, object]:
    """The part of ``push --json``."""
    return {
        "manifests": [str(digest) for digest in signed.images],
        "attestations": [{"manifest": str(one.image.digest), "type": one.predicate_type} for one in signed.attestations],
        "added": signed.added,
        "artifacts": [str(digest) for digest in signed.artifacts],
    }


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
