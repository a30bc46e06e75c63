"""`wherry image pull`: an image of a registry into the store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Annotated

import typer

from wherry.cli.epilog import render_examples
from wherry.cli.image import image_app
from wherry.cli.image_report import IMAGE_SCHEMA
from wherry.cli.options import AsJson, PlainHttp, complete_name, parse_platforms, parse_tag, platform_option
from wherry.cli.talk import print_json, say, show_progress
from wherry.model.oci import Descriptor
from wherry.model.platform import Platform
from wherry.model.reference import Reference
from wherry.store.disk import DiskStore
from wherry.store.host import read_host_platform
from wherry.store.places import cache_path, store_path

EXAMPLES = render_examples(
    ("wherry image pull ghcr.io/you/anomaly:7", "for this machine"),
    ("wherry image pull ghcr.io/you/anomaly:7 --platform all", "all platforms"),
)


@image_app.command("pull", epilog=EXAMPLES)
def pull_image(
    reference: Annotated[str, typer.Argument(metavar="REF", help="REGISTRY/NAME[:TAG][@DIGEST]; no tag: latest.")],
    platform: Annotated[list[str] | None, platform_option("Pull this platform, or all")] = None,
    tag: Annotated[str, typer.Option("--tag", "-t", metavar="NAME[:TAG]", help="Name it so in the store.")] = "",
    plain_http: PlainHttp = False,
    as_json: AsJson = False,
) -> None:
    """Pull an image from a registry into the store."""
    store = DiskStore(store_path(os.environ))
    name, descriptor = pull_into(store, reference, _choose_platforms(platform), tag=tag, plain_http=plain_http)
    if as_json:
        print_json({"schema": IMAGE_SCHEMA, "name": name, "digest": str(descriptor.digest)})
    else:
        print(descriptor.digest)


def pull_into(
    store: DiskStore, reference: str, platforms: tuple[Platform, ...] | None, *, tag: str = "", plain_http: bool = False
) -> tuple[str, Descriptor]:
    """Bring an image into the store; gives its name there. No platforms: all of them."""
    # The network's modules load when there is something to pull.
    from wherry.sources.images import fetch_image
    from wherry.sources.registries import access_registries

    wanted = Reference.parse(reference)
    access = access_registries(os.environ, cache=cache_path(os.environ), plain_http=plain_http)
    try:
        with show_progress() as progress:
            descriptor = fetch_image(access, store, wanted, platforms, progress)
    finally:
        access.close()
    name = parse_tag(tag) or complete_name(reference)
    store.tag(name, descriptor)
    say(f"pulled {wanted} as {name}")
    return name, descriptor


def names_a_registry(text: str) -> bool:
    """Whether a name can only be a reference: its first part is a host."""
    host, slash, _ = text.partition("/")
    return bool(slash) and ("." in host or ":" in host or host == "localhost")


def _choose_platforms(texts: Sequence[str] | None) -> tuple[Platform, ...] | None:
    if texts and "all" in texts:
        return None
    return parse_platforms(texts) if texts else (read_host_platform(),)


def register(app: typer.Typer) -> None:
    """The command hangs on `image_app` once this module is loaded."""
