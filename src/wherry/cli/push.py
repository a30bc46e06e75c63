"""`wherry push`: an image of the store into a registry; the digest reference alone on stdout."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wherry.cli.epilog import render_examples
from wherry.cli.options import AsJson, DryRun, PlainHttp, parse_platforms, platform_option
from wherry.cli.talk import format_size, print_json, say, show_progress

if TYPE_CHECKING:
    from wherry.publish.push import PushResult

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
    ("wherry push ghcr.io/you/anomaly", "under the next version number"),
    ("wherry push ghcr.io/you/anomaly --dry-run", "say what would be moved"),
    ("IMAGE=$(wherry push ghcr.io/you/anomaly)", "use what was pushed"),
)


def push_project(
    reference: Annotated[str, typer.Argument(metavar="REF", help="REGISTRY/NAME[:TAG]; no tag: the next version number.")],
    image: Annotated[str, typer.Option("--image", help="Push this image of the store, not the project's.", metavar="NAME")] = "",
    platform: Annotated[list[str] | None, platform_option("Push only this platform")] = None,
    plain_http: PlainHttp = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Push the project's image to a registry."""
    # The network's modules load when there is something to push.
    from wherry.model.reference import Reference
    from wherry.publish.push import plan_push, push_image, survey_push
    from wherry.publish.terms import warn_of_terms
    from wherry.sources.registries import access_registries
    from wherry.store.disk import DiskStore
    from wherry.store.places import cache_path, store_path

    destination = Reference.parse(reference)
    store = DiskStore(store_path(os.environ))
    platforms = parse_platforms(platform)
    plan = plan_push(store, store.resolve(image or _project_image()), platforms)
    if (warning := warn_of_terms(plan.channels)) is not None:
        say(warning)
    access = access_registries(os.environ, cache=cache_path(os.environ), plain_http=plain_http)
    try:
        if dry_run:
            result = survey_push(access, plan, destination)
        else:
            with show_progress() as progress, store.in_use():
                result = push_image(access, store, plan, destination, progress)
    finally:
        access.close()
    say(_describe_push(result, dry_run=dry_run))
    if as_json:
        print_json(push_document(result, dry_run=dry_run))
    elif not dry_run:
        print(f"{result.reference.name}@{result.reference.digest}")


def _project_image() -> str:
    from wherry.declare.project import read_declaration

    return f"{read_declaration(Path(), os.environ).name}:latest"


def _describe_push(result: PushResult, *, dry_run: bool) -> str:
    """One line: what went, how, and under which name."""
    told = []
    for way, words in _WAYS.items():
        blobs = [blob for blob in result.blobs if blob.way.value == way]
        if blobs:
            told.append(f"{words} {format_size(sum(blob.size for blob in blobs))} ({len(blobs)})")
    verb = "would push" if dry_run else "pushed"
    name = f"{result.reference.name}:{result.reference.tag or '<next number>'}"
    return f"{verb} {name}: {', '.join(told)}"


def push_document(result: PushResult, *, dry_run: bool) -> dict[str, object]:
    """``push --json``."""
    reference = result.reference
    return {
        "schema": PUSH_SCHEMA,
        "dry_run": dry_run,
        "reference": f"{reference.name}@{reference.digest}",
        "tag": reference.tag,
        "digest": str(reference.digest),
        "blobs": [
            {"name": blob.name, "digest": str(blob.digest), "size": blob.size, "way": blob.way.value} for blob in result.blobs
        ],
    }


def register(app: typer.Typer) -> None:
    app.command("push", epilog=EXAMPLES)(push_project)
