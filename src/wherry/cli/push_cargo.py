"""What `wherry push` brings besides the image, gathered before anything moves: sources, bills of materials, statements to sign.

Loads the network's modules, and is itself loaded when there is something to push.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.cli.export_provenance import describe_origin, require_lock_of
from wherry.cli.signing_options import open_signing_key
from wherry.cli.talk import say, show_progress
from wherry.declare.project import read_declaration
from wherry.errors import LockError
from wherry.formats.bill import draw_bill, render_bill
from wherry.formats.slsa import SLSA
from wherry.lock.storage import LOCKFILE, read_lock
from wherry.model.bill import BillForm
from wherry.model.lock import Lock
from wherry.model.progress import Progress
from wherry.model.reference import Reference
from wherry.publish.bills import ImageBill, describe_manifest, push_bills, state_bill
from wherry.publish.push import PushPlan, PushResult, push_image, survey_push
from wherry.publish.signatures import ImageStatement, Signed, sign_images
from wherry.publish.sources import AttachedSources, push_sources, survey_sources
from wherry.sources.registries import RegistryAccess
from wherry.store.disk import DiskStore
from wherry.store.images import StoredImage, read_images
from wherry.store.places import cache_path
from wherry.version import VERSION

if TYPE_CHECKING:
    from wherry.formats.signing_keys import SigningKey
    from wherry.model.sources import ImageSources


@dataclass(frozen=True, slots=True, kw_only=True)
class Cargo:
    """An image's plan and what goes with it; with a `key`, the image and the `statements` are signed."""

    plan: PushPlan
    sources: tuple[ImageSources, ...]
    bills: tuple[ImageBill, ...]
    key: SigningKey | None
    statements: tuple[ImageStatement, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What became of it. `sources` is None where none were asked for, `signed` where nothing was signed."""

    result: PushResult
    sources: AttachedSources | None
    signed: Signed | None = None


def gather_cargo(store: DiskStore, plan: PushPlan, *, sources: bool, forms: Sequence[BillForm], sign: str, strange: bool) -> Cargo:
    """All that was asked for. A `strange` image is not the project's: what nobody here knows of it is not claimed."""
    images = _read_pushed(store, plan)
    made_of = _gather_sources(store, images) if sources else ()
    key = open_signing_key(sign) if sign else None
    bills = _draw_bills(images, forms) if forms else ()
    statements = _state_origins(plan, images, bills, strange=strange) if key else ()
    return Cargo(plan=plan, sources=made_of, bills=bills, key=key, statements=statements)


def survey_cargo(access: RegistryAccess, cargo: Cargo, destination: Reference) -> Delivered:
    """What delivering would move, from questions alone."""
    result = survey_push(access, cargo.plan, destination)
    return Delivered(result=result, sources=survey_sources(access, cargo.sources, destination) if cargo.sources else None)


def deliver_cargo(access: RegistryAccess, store: DiskStore, cargo: Cargo, destination: Reference, progress: Progress) -> Delivered:
    """The image first, then what refers to it."""
    result = push_image(access, store, cargo.plan, destination, progress)
    attached = push_sources(access, cargo.sources, destination, progress) if cargo.sources else None
    push_bills(access, cargo.bills, destination)
    signed = None
    if cargo.key is not None:
        images = [document.descriptor for document in cargo.plan.documents]
        signed = sign_images(access, destination, images, cargo.statements, cargo.key)
    return Delivered(result=result, sources=attached, signed=signed)


def _read_pushed(store: DiskStore, plan: PushPlan) -> tuple[StoredImage, ...]:
    images = (image for document in plan.documents for image in read_images(store, document.descriptor))
    return tuple({image.manifest.digest: image for image in images}.values())


def _gather_sources(store: DiskStore, images: Sequence[StoredImage]) -> tuple[ImageSources, ...]:
    # Only here: it takes all that a build takes.
    from wherry.image_sources import gather_sources

    with show_progress() as progress:
        return gather_sources(Path(), images, store, cache_path(os.environ), os.environ, progress=progress, say=say)


def _draw_bills(images: Sequence[StoredImage], forms: Sequence[BillForm]) -> tuple[ImageBill, ...]:
    """Of each platform that is pushed, which must be the one that the project's lock names."""
    lock, name, bills = read_lock(Path()), _name_project(), []
    for image in images:
        bill = draw_bill(name, require_lock_of(image, lock), image.platform, creator="wherry", version=VERSION)
        bills += [ImageBill(manifest=image.manifest, form=form, document=render_bill(bill, form)) for form in dict.fromkeys(forms)]
    return tuple(bills)


def _state_origins(
    plan: PushPlan, images: Sequence[StoredImage], bills: Sequence[ImageBill], *, strange: bool
) -> tuple[ImageStatement, ...]:
    """What is attested: provenance of each manifest and of the index, and the bills, SPDX where none was asked for."""
    try:
        lock = read_lock(Path())
        if lock is None:
            raise LockError("no lock of the image is here", where=LOCKFILE, hint="wherry build, in the project's folder")
        bills, name = bills or _draw_bills(images, (BillForm.SPDX,)), _name_project()
        return (*_state_provenance(name, lock, plan, images), *(state_bill(name, bill) for bill in bills))
    except LockError as error:
        if not strange:
            raise
        say(f"signed without provenance: {error.what}")
        return ()


def _state_provenance(name: str, lock: Lock, plan: PushPlan, images: Sequence[StoredImage]) -> tuple[ImageStatement, ...]:
    subjects = [(describe_manifest(image.manifest), [image]) for image in images]
    target = plan.target.descriptor
    if not plan.elsewhere and target.digest not in {subject.digest for subject, _ in subjects}:
        subjects.append((target, list(images)))
    return tuple(
        ImageStatement(image=subject, predicate_type=SLSA, statement=describe_origin(name, lock, subject.digest, about))
        for subject, about in subjects
    )


def _name_project() -> str:
    return read_declaration(Path(), os.environ).name
