"""`wherry push`: an image of the store into a registry; the digest reference alone on stdout."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wherry.cli.epilog import render_examples
from wherry.cli.options import AsJson, DryRun, PlainHttp, parse_platforms, platform_option
from wherry.cli.talk import format_size, print_json, say, show_progress
from wherry.errors import LockError, UsageError
from wherry.model.bill import BillForm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherry.model.sources import ImageSources
    from wherry.publish.bills import ImageBill
    from wherry.publish.push import MovedBlob, PushPlan, PushResult
    from wherry.publish.signatures import ImageStatement, Signed
    from wherry.publish.sources import AttachedSources
    from wherry.store.disk import DiskStore
    from wherry.store.images import StoredImage

PUSH_SCHEMA = 1
_WAYS = {
    "sent": "sent",
    "streamed": "streamed from the base's registry",
    "mounted": "mounted",
    "there": "was there",
    "foreign": "left where it is",
}
EXAMPLES = render_examples(
    ("wherry push ghcr.io/you/anomaly:1.4", "under a tag"),
    ("wherry push ghcr.io/you/anomaly", "under the next number"),
    ("wherry push ghcr.io/you/anomaly --dry-run", "say what would be moved"),
    ("wherry push ghcr.io/you/anomaly --sources", "and its sources"),
    ("wherry push ghcr.io/you/anomaly --sign key.pem", "signed, with provenance"),
    ("wherry push ghcr.io/you/anomaly-notebook --notebook", "with JupyterLab, to share"),
    ("IMAGE=$(wherry push ghcr.io/you/anomaly)", "use what was pushed"),
)


def push_project(
    reference: Annotated[str, typer.Argument(metavar="REF", help="REGISTRY/NAME[:TAG]; no tag: the next version number.")],
    image: Annotated[str, typer.Option("--image", help="Push this image of the store, not the project's.", metavar="NAME")] = "",
    notebook: Annotated[
        bool, typer.Option("--notebook", help="The image with JupyterLab over it, for who is to open the notebooks.")
    ] = False,
    platform: Annotated[list[str] | None, platform_option("Push only this platform")] = None,
    sources: Annotated[bool, typer.Option("--sources", help="Attach all that the image was made of.")] = False,
    sbom: Annotated[
        list[BillForm] | None, typer.Option("--sbom", help="Attach a bill of materials; may be given again.", show_default=False)
    ] = None,
    sign: Annotated[
        str, typer.Option("--sign", metavar="KEY", help="Sign it, and what is attested of it: a PEM file, or env:NAME.")
    ] = "",
    plain_http: PlainHttp = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Push the project's image to a registry."""
    # The network's modules load when there is something to push.
    from wherry.cli.push_signing import describe_signing
    from wherry.cli.signing_options import open_signing_key
    from wherry.model.reference import Reference
    from wherry.publish.bills import push_bills
    from wherry.publish.push import plan_push, push_image, survey_push
    from wherry.publish.signatures import sign_images
    from wherry.publish.sources import push_sources, survey_sources
    from wherry.publish.terms import warn_of_terms
    from wherry.sources.registries import access_registries
    from wherry.store.disk import DiskStore
    from wherry.store.places import cache_path, store_path

    destination = Reference.parse(reference)
    store = DiskStore(store_path(os.environ))
    platforms = parse_platforms(platform)
    if notebook and (image or sources or sbom):
        raise UsageError(
            "it is made of more than wherry.lock names", where="--notebook", hint="--image, --sources and --sbom without it"
        )
    name = image or (_notebook_image() if notebook else _project_image())
    plan = plan_push(store, store.resolve(name), platforms)
    if (warning := warn_of_terms(plan.channels)) is not None:
        say(warning)
    made_of = _gather_sources(store, plan) if sources else ()
    key = open_signing_key(sign) if sign else None
    bills = _draw_bills(store, plan, sbom) if sbom else ()
    statements = _state_origins(store, plan, bills, strange=bool(image) or notebook) if sign else ()
    attached: AttachedSources | None = None
    signed: Signed | None = None
    access = access_registries(os.environ, cache=cache_path(os.environ), plain_http=plain_http)
    try:
        if dry_run:
            result = survey_push(access, plan, destination)
            attached = survey_sources(access, made_of, destination) if made_of else None
        else:
            with show_progress() as progress, store.in_use():
                result = push_image(access, store, plan, destination, progress)
                attached = push_sources(access, made_of, destination, progress) if made_of else None
                push_bills(access, bills, destination)
                signed = (
                    sign_images(access, destination, [one.descriptor for one in plan.documents], statements, key) if key else None
                )
    finally:
        access.close()
    say(_describe_push(result, dry_run=dry_run))
    if attached is not None:
        say(f"its sources: {_describe_ways(attached.blobs)}")
    if bills:
        say(f"{'would attach' if dry_run else 'attached'} its bill of materials, {len(bills)} in all")
    if key:
        say(describe_signing(plan, statements, signed))
    if as_json:
        print_json(push_document(result, attached, signed, dry_run=dry_run))
    elif not dry_run:
        print(f"{result.reference.name}@{result.reference.digest}")


def _project_image() -> str:
    from wherry.declare.project import read_declaration

    return f"{read_declaration(Path(), os.environ).name}:latest"


def _notebook_image() -> str:
    """Build it: what is shared is what the locks and the files say now."""
    from wherry.notebook_image import build_shared_image
    from wherry.pipeline import Project

    with show_progress() as progress:
        return build_shared_image(Project(progress=progress, say=say)).name


def _gather_sources(store: DiskStore, plan: PushPlan) -> tuple[ImageSources, ...]:
    """Of each platform that is pushed."""
    # Only here: it takes all that a build takes.
    from wherry.image_sources import gather_sources
    from wherry.store.places import cache_path

    images = _read_pushed(store, plan)
    with show_progress() as progress:
        return gather_sources(Path(), images, store, cache_path(os.environ), os.environ, progress=progress, say=say)


def _draw_bills(store: DiskStore, plan: PushPlan, forms: Sequence[BillForm]) -> tuple[ImageBill, ...]:
    """Of each platform that is pushed, which must be the one that the project's lock names."""
    from wherry.cli.export_provenance import require_lock_of
    from wherry.declare.project import read_declaration
    from wherry.formats.bill import draw_bill, render_bill
    from wherry.lock.storage import read_lock
    from wherry.publish.bills import ImageBill
    from wherry.version import VERSION

    lock, bills = read_lock(Path()), []
    name = read_declaration(Path(), os.environ).name
    for image in _read_pushed(store, plan):
        bill = draw_bill(name, require_lock_of(image, lock), image.platform, creator="wherry", version=VERSION)
        bills += [ImageBill(manifest=image.manifest, form=form, document=render_bill(bill, form)) for form in dict.fromkeys(forms)]
    return tuple(bills)


def _state_origins(store: DiskStore, plan: PushPlan, bills: Sequence[ImageBill], *, strange: bool) -> tuple[ImageStatement, ...]:
    """What is attested of the project's image: provenance, and the bills, SPDX where none was asked for. Of a `strange` one,
    nothing that is not known: who signs it vouches for its bytes alone."""
    from wherry.cli.push_signing import state_origins
    from wherry.declare.project import read_declaration
    from wherry.lock.storage import read_lock

    lock = read_lock(Path())
    try:
        if lock is None:
            raise LockError("no lock of the image is here", where="wherry.lock", hint="wherry build, in the project's folder")
        bills = bills or _draw_bills(store, plan, (BillForm.SPDX,))
        return state_origins(read_declaration(Path(), os.environ).name, lock, plan, _read_pushed(store, plan), bills)
    except LockError as error:
        if not strange:
            raise
        say(f"signed without provenance: {error.what}")
        return ()


def _read_pushed(store: DiskStore, plan: PushPlan) -> tuple[StoredImage, ...]:
    from wherry.store.images import read_images

    images = (image for document in plan.documents for image in read_images(store, document.descriptor))
    return tuple({image.manifest.digest: image for image in images}.values())


def _describe_push(result: PushResult, *, dry_run: bool) -> str:
    """One line: what went, how, and under which name."""
    verb = "would push" if dry_run else "pushed"
    name = f"{result.reference.name}:{result.reference.tag or '<next number>'}"
    return f"{verb} {name}: {_describe_ways(result.blobs)}"


def _describe_ways(moved: Sequence[MovedBlob]) -> str:
    told = []
    for way, words in _WAYS.items():
        blobs = [blob for blob in moved if blob.way.value == way]
        if blobs:
            told.append(f"{words} {format_size(sum(blob.size for blob in blobs))} ({len(blobs)})")
    return ", ".join(told)


def push_document(
    result: PushResult, attached: AttachedSources | None = None, signed: Signed | None = None, *, dry_run: bool
) -> dict[str, object]:
    """``push --json``. `sources` and `signed` are there when they were asked for."""
    from wherry.cli.push_signing import render_signing

    reference = result.reference
    made_of: dict[str, object] = {}
    if attached is not None:
        artifacts = [str(digest) for digest in attached.artifacts]
        made_of["sources"] = {"artifacts": artifacts, "blobs": _render_blobs(attached.blobs)}
    if signed is not None:
        made_of["signed"] = render_signing(signed)
    return {
        "schema": PUSH_SCHEMA,
        "dry_run": dry_run,
        "reference": f"{reference.name}@{reference.digest}",
        "tag": reference.tag,
        "digest": str(reference.digest),
        "blobs": _render_blobs(result.blobs),
        **made_of,
    }


def _render_blobs(blobs: Sequence[MovedBlob]) -> list[dict[str, object]]:
    return [{"name": blob.name, "digest": str(blob.digest), "size": blob.size, "way": blob.way.value} for blob in blobs]


def register(app: typer.Typer) -> None:
    app.command("push", epilog=EXAMPLES)(push_project)
