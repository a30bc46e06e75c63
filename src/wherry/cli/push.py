"""`wherry push`: an image of the store into a registry; the digest reference alone on stdout."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from wherry.cli.epilog import render_examples
from wherry.cli.options import AsJson, DryRun, PlainHttp, Strict, parse_platforms, platform_option
from wherry.cli.talk import print_json, say, show_progress
from wherry.errors import UsageError
from wherry.model.bill import BillForm

EXAMPLES = render_examples(
    ("wherry push ghcr.io/you/anomaly:1.4", "under a tag"),
    ("wherry push ghcr.io/you/anomaly", "under the next number"),
    ("wherry push ghcr.io/you/anomaly --dry-run", "say what would be moved"),
    ("wherry push ghcr.io/you/anomaly --sources", "and its sources"),
    ("wherry push ghcr.io/you/anomaly --sign key.pem", "signed, with provenance"),
    ("wherry push ghcr.io/you/anomaly-lab --notebook", "with JupyterLab, to share"),
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
    strict: Strict = False,
    plain_http: PlainHttp = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Push the project's image to a registry."""
    # The network's modules load when there is something to push.
    from wherry.cli.model_stamps import warn_of_stamps
    from wherry.cli.push_cargo import deliver_cargo, gather_cargo, survey_cargo
    from wherry.cli.push_report import render_push, tell_push
    from wherry.model.reference import Reference
    from wherry.publish.push import plan_push
    from wherry.publish.terms import warn_of_terms
    from wherry.sources.registries import access_registries
    from wherry.store.disk import DiskStore
    from wherry.store.places import cache_path, store_path

    if notebook and (image or sources or sbom):
        raise UsageError(
            "it is made of more than wherry.lock names", where="--notebook", hint="--image, --sources and --sbom without it"
        )
    destination, store = Reference.parse(reference), DiskStore(store_path(os.environ))
    name = image or (_notebook_image() if notebook else _project_image())
    plan = plan_push(store, store.resolve(name), parse_platforms(platform))
    warn_of_stamps(store, name, parse_platforms(platform), strict=strict)
    if (warning := warn_of_terms(plan.channels)) is not None:
        say(warning)
    cargo = gather_cargo(store, plan, sources=sources, forms=sbom or (), sign=sign, strange=bool(image) or notebook)
    access = access_registries(os.environ, cache=cache_path(os.environ), plain_http=plain_http)
    try:
        if dry_run:
            delivered = survey_cargo(access, cargo, destination)
        else:
            with show_progress() as progress, store.in_use():
                delivered = deliver_cargo(access, store, cargo, destination, progress)
    finally:
        access.close()
    tell_push(cargo, delivered, dry_run=dry_run)
    if as_json:
        print_json(render_push(delivered, dry_run=dry_run))
    elif not dry_run:
        print(f"{delivered.result.reference.name}@{delivered.result.reference.digest}")


def _project_image() -> str:
    from wherry.declare.project import read_declaration

    return f"{read_declaration(Path(), os.environ).name}:latest"


def _notebook_image() -> str:
    """Build it: what is shared is what the locks and the files say now."""
    from wherry.notebook_image import build_shared_image
    from wherry.pipeline import Project

    with show_progress() as progress:
        return build_shared_image(Project(progress=progress, say=say)).name


def register(app: typer.Typer) -> None:
    app.command("push", epilog=EXAMPLES)(push_project)
