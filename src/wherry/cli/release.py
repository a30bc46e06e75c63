"""`wherry release`: sign an image for a channel and lay out its parcels; or say beforehand what that will move and cost."""

from __future__ import annotations

import os
import shlex
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from wherry.cli import release_report as report
from wherry.cli.epilog import render_examples
from wherry.cli.fleet_options import Devices, PricePerGb, TariffFile, read_fleet
from wherry.cli.image import complete_image_names
from wherry.cli.key_options import KeyFolders, open_keys
from wherry.cli.options import AsJson, DryRun, PlainHttp, Strict, parse_platforms, platform_option
from wherry.cli.talk import print_json, say, show_progress
from wherry.errors import FormatError, UsageError
from wherry.model.release import Health
from wherry.store.disk import DiskStore
from wherry.store.places import cache_path, store_path

EXAMPLES = render_examples(
    ("wherry release anomaly --channel fleet", "an image of the store"),
    ("wherry release anomaly --channel fleet --dry-run", "what it will move"),
    ("wherry release saved.tar --channel fleet", "of any builder"),
    ("wherry release HOST/app:7 --channel fleet", "out of a registry"),
)
_KINDS = ("command", "http", "log")
_IMAGE = typer.Argument(
    metavar="IMAGE", help="An image of the store, a registry reference, or a saved archive.", autocompletion=complete_image_names
)
_CHANNEL = typer.Option("--channel", metavar="DIR", help="The channel's folder.", show_default=False)
_BASES = typer.Option(
    "--from",
    metavar="last:N|NUMBER|IMAGE",
    help="Which devices get a parcel of their own: those of the last N releases, of a release, or that have an image; "
    "may be given again.",
    show_default="last:5",
)
_HEALTH = typer.Option("--health", metavar="KIND:VALUE", help="When it is well: command:ARGV, http:PORT/PATH or log:TEXT.")
_HEALTH_WITHIN = typer.Option("--health-within", metavar="S", help="Seconds until it has to be well.")
_HEALTH_FOR = typer.Option("--health-for", metavar="S", help="Seconds that it has to stay well.")
_MAX_UPDATE = typer.Option("--max-update", metavar="SIZE", help="Fail, and release nothing, if an update is larger: 50KB.")


def make_release(
    image: Annotated[str, _IMAGE],
    channel: Annotated[Path, _CHANNEL],
    bases: Annotated[list[str] | None, _BASES] = None,
    platform: Annotated[list[str] | None, platform_option("Release only this platform")] = None,
    health: Annotated[str, _HEALTH] = "",
    health_within: Annotated[int, _HEALTH_WITHIN] = 120,
    health_for: Annotated[int, _HEALTH_FOR] = 30,
    max_update: Annotated[str, _MAX_UPDATE] = "",
    devices: Devices = None,
    tariff: TariffFile = None,
    price_per_gb: PricePerGb = None,
    keys: KeyFolders = None,
    strict: Strict = False,
    plain_http: PlainHttp = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Sign an image for a channel's devices, with one small parcel for each release that they may have.

    The channel is a folder of static files: copy it to any web server, object store or stick. The keys are those of
    --keys, or of WHERRY_KEYS.
    """
    # The network's and the codecs' modules load when there is something to release.
    from wherry.cli.model_stamps import warn_of_stamps
    from wherry.deliver.release import DEFAULT_BASES
    from wherry.deliver.release_order import ReleaseOrder, carry_out_release
    from wherry.sources.registries import access_registries

    fleet = read_fleet(devices, tariff, price_per_gb)
    order = ReleaseOrder(
        image=image,
        platforms=parse_platforms(platform),
        bases=tuple(bases or DEFAULT_BASES),
        health=_parse_health(health, health_within, health_for),
        most=_parse_size(max_update),
    )
    store, opened = DiskStore(store_path(os.environ)), None if dry_run else open_keys(keys)
    warn_of_stamps(store, image, order.platforms, strict=strict)
    access = access_registries(os.environ, cache=cache_path(os.environ), plain_http=plain_http)
    with closing(access), show_progress() as progress:
        done = carry_out_release(order, channel, store, access, opened, datetime.now(UTC), progress)
    for text in done.passed_over:
        say(text)
    if as_json:
        print_json(report.release_document(done, fleet, dry_run=dry_run))
    else:
        report.print_costs(done.costs, fleet)
    say(f"{'would release' if dry_run else 'released'} {image} as number {done.release} to {channel}")


def _parse_health(text: str, within: int, seconds: int) -> Health | None:
    if not text:
        return None
    kind, colon, value = text.partition(":")
    if kind not in _KINDS or not colon or not value:
        raise UsageError(f"no health check: {text!r}", where="--health", hint="command:ARGV, http:8080/healthz, log:ready")
    try:
        if kind == "command":
            return Health(command=tuple(shlex.split(value)), within=within, seconds=seconds)
        if kind == "http":
            return Health(http=value, within=within, seconds=seconds)
        return Health(log=value, within=within, seconds=seconds)
    except (FormatError, ValueError) as error:
        raise UsageError(str(error), where="--health", hint="command:ARGV, http:8080/healthz, log:ready; a day at most") from error


def _parse_size(text: str) -> int | None:
    from wherry.deliver.costs import parse_size

    try:
        return parse_size(text) if text else None
    except ValueError as error:
        raise UsageError(str(error), where="--max-update", hint="50KB, 1.5MB, 64KiB") from error


def register(app: typer.Typer) -> None:
    app.command("release", epilog=EXAMPLES)(make_release)
