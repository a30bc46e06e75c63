"""`wherry image pull`: an image of a registry into the store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Annotated

import typer

from wherry.cli.epilog import render_examples
from wherry.cli.image import image_app
from wherry.cli.talk import print_json, say, show_progress
from wherry.model.platform import Platform
from wherry.store.host import read_host_platform

EXAMPLES = render_examples(
    ("wherry image pull ghcr.io/you/anomaly:7", "for this machine"),
    ("wherry image pull ghcr.io/you/anomaly:7 --platform all", "all platforms"),
)


@image_app.command("pull", epilog=EXAMPLES)
def pull(
    reference: Annotated[str, typer.Argument(metavar="REF", help="REGISTRY/NAME[:TAG][@DIGEST]; no tag: latest.")],
    platform: Annotated[
        list[str] | None,
        typer.Option("--platform", help="Pull this platform, or all; may be given again.", metavar="OS/ARCH"),
    ] = None,
    tag: Annotated[str, typer.Option("--tag", "-t", metavar="NAME[:TAG]", help="Name it so in the store.")] = "",
    plain_http: Annotated[bool, typer.Option("--plain-http", help="Speak http; for loopback that is the default.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Pull an image from a registry into the store."""
    # The network's modules load when there is something to pull.
    from wherry.model.reference import Reference
    from wherry.sources.images import fetch_image
    from wherry.sources.registries import access_registries
    from wherry.store.disk import DiskStore
    from wherry.store.places import cache_path, store_path

    wanted = Reference.parse(reference)
    store = DiskStore(store_path(os.environ))
    access = access_registries(os.environ, cache=cache_path(os.environ), plain_http=plain_http)
    try:
        with show_progress() as progress:
            descriptor = fetch_image(access, store, wanted, _choose_platforms(platform), progress)
    finally:
        access.close()
    name = _full_name(tag or reference)
    store.tag(name, descriptor)
    say(f"pulled {wanted} as {name}")
    if as_json:
        print_json({"schema": "wherry.pull/1", "name": name, "digest": str(descriptor.digest)})
    else:
        print(descriptor.digest)


def _choose_platforms(texts: Sequence[str] | None) -> tuple[Platform, ...] | None:
    if texts and "all" in texts:
        return None
    return tuple(Platform.parse(text, "--platform") for text in texts) if texts else (read_host_platform(),)


def _full_name(text: str) -> str:
    return text if "@" in text or ":" in text.rpartition("/")[2] else f"{text}:latest"


def register(app: typer.Typer) -> None:
    """The command hangs on `image_app` once this module is loaded."""
