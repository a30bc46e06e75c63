"""`wherry diff`: what changed between two images, locks or environment files, and what it costs to move."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wherry.cli import diff_report as report
from wherry.cli.epilog import render_examples
from wherry.cli.fleet_options import Devices, PricePerGb, TariffFile, read_fleet
from wherry.cli.options import AsJson
from wherry.cli.talk import print_json, say, show_progress
from wherry.declare.environment import FoundEnvironment, read_environment
from wherry.declare.grammar import WrittenEnvironment
from wherry.deliver.changes import Change, compare_versions, diff_environments
from wherry.deliver.difference import Difference
from wherry.deliver.difference_json import render_environment_changes, render_image_differences, render_lock_differences
from wherry.deliver.ends import GIT, ImageEnd, diff_ends, is_lock, read_lock_end, read_stored_ends
from wherry.deliver.foreign_difference import diff_foreign_locks
from wherry.deliver.lock_difference import diff_locks
from wherry.errors import DeclarationError, StoreError, UsageError
from wherry.formats.foreign_lock import parse_foreign_lock
from wherry.model.declaration import EnvironmentKind
from wherry.model.foreign_lock import ForeignLock
from wherry.model.platform import Platform
from wherry.model.reference import HUB, Reference
from wherry.store.disk import DiskStore
from wherry.store.places import cache_path, store_path

if TYPE_CHECKING:
    from wherry.cli.diff_html import Differences
    from wherry.deliver.release_costs import ParcelCost

EXAMPLES = render_examples(
    ("wherry diff sha256:1f0c9ab2 anomaly --devices 100000", "two images"),
    ("wherry diff ghcr.io/you/anomaly:7 anomaly", "one in a registry"),
    ("wherry diff anomaly:7 anomaly:8 --update", "for devices"),
    ("wherry diff anomaly:7 anomaly:8 --html diff.html", "a page to pass on"),
    ("wherry diff git:HEAD~1 wherry.lock", "two locks"),
    ("wherry diff requirements.txt new/requirements.txt", "two environments"),
    ("wherry diff environment.yml new/environment.yml", "conda's too"),
)

_COMPARED = (EnvironmentKind.REQUIREMENTS, EnvironmentKind.PYPROJECT, EnvironmentKind.CONDA)
_FOREIGN = (EnvironmentKind.CONDA_LOCK, EnvironmentKind.PIXI_LOCK, EnvironmentKind.CONDA_EXPLICIT)


def register(app: typer.Typer) -> None:
    app.command("diff", epilog=EXAMPLES)(show_difference)


def show_difference(
    base: Annotated[
        str,
        typer.Argument(metavar="BASE", help="An image (name, digest, ID, registry reference), a lock or a file of requirements."),
    ],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="What it is compared with, of the same kind.")],
    platform: Annotated[str | None, typer.Option(metavar="OS/ARCH", help="Only this platform, such as linux/arm64.")] = None,
    devices: Devices = None,
    tariff: TariffFile = None,
    price_per_gb: PricePerGb = None,
    update: Annotated[
        bool, typer.Option("--update", help="Of images: cut the update, and say what a device would fetch of a release.")
    ] = False,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Also write it as a page for a browser.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what changed between two images, locks or environments, and what it costs to move.

    A lock may also come out of git: git:HEAD~1 is this folder's wherry.lock one commit ago.
    """
    wanted = Platform.parse(platform) if platform else None
    fleet = read_fleet(devices, tariff, price_per_gb)
    updates: dict[Platform, ParcelCost] = {}
    told: Differences
    if is_lock(base) and is_lock(target):
        told = locks = [each for each in diff_locks(read_lock_end(base), read_lock_end(target)) if wanted in (None, each.platform)]
        if as_json:
            print_json(render_lock_differences(locks, devices=fleet and fleet[0], tariff=fleet and fleet[1]))
        else:
            report.print_locks(locks, fleet)
    elif _is_environment(base) and _is_environment(target):
        told = changes = _diff_environments(Path(base), Path(target))
        if as_json:
            print_json(render_environment_changes(changes))
        else:
            report.print_environments(changes)
    else:
        _refuse_mixture(base, target)
        told = images = diff_ends(_read_images(base, wanted), _read_images(target, wanted), wanted)
        updates = _weigh_updates(images) if update else {}
        if as_json:
            document = render_image_differences(images, devices=fleet and fleet[0], tariff=fleet and fleet[1])
            print_json(report.add_updates(document, updates))
        else:
            report.print_images(images, fleet, updates)
    if html is not None:
        # Only here: most differences are read in a terminal.
        from wherry.cli.diff_html import write_difference_page

        write_difference_page(html, (base, target), told, fleet, updates)
        say(f"wrote {html}")


def _weigh_updates(differences: list[Difference]) -> dict[Platform, ParcelCost]:
    # Only here: signatures and codecs are slow to load, and cutting takes its time.
    from wherry.deliver.body_cache import BodyCache
    from wherry.deliver.update_weight import weigh_update

    store, cache, now = DiskStore(store_path(os.environ)), BodyCache(cache_path(os.environ) / "bodies"), datetime.now(UTC)
    with show_progress() as progress:
        return {each.platform: weigh_update(store, each.base, each.target, now, cache, progress) for each in differences}


def _is_environment(text: str) -> bool:
    return Path(text).is_file() and not is_lock(text)


def _refuse_mixture(base: str, target: str) -> None:
    """Two files that are no pair, or a file beside an image: say which is what."""
    for text in (base, target):
        if is_lock(text) or _is_environment(text):
            other = target if text is base else base
            kind = "a lock" if is_lock(text) else "an environment file"
            if Path(other).suffix in (".txt", ".toml", ".lock", ".yml", ".yaml") and not Path(other).exists():
                raise UsageError("there is no such file", where=other)
            raise UsageError(f"{text} is {kind}, {other} is not", hint="compare two images, two locks or two environment files")


def _diff_environments(base: Path, target: Path) -> tuple[Change, ...]:
    before, after = _read_environment(base), _read_environment(target)
    resolved = [found.environment.kind in _FOREIGN for found in (before, after)]
    if all(resolved):
        return diff_foreign_locks(_read_foreign(base, before), _read_foreign(target, after))
    if any(resolved):
        path = base if resolved[0] else target
        raise UsageError(
            f"{path} is resolved already, the other is not", hint="compare two locks, or the two files they were made from"
        )
    variables = compare_versions(_name_variables(before), _name_variables(after))
    return (*diff_environments(before.environment, after.environment), *variables)


def _read_environment(path: Path) -> FoundEnvironment:
    try:
        found = read_environment(path.parent, WrittenEnvironment(file=path.name), os.environ)
    except DeclarationError as error:
        if error.where is not None:  # a place in the file's folder, and there are two folders here
            error.where = str(path.parent / error.where)
        raise
    if found.environment.kind not in (*_COMPARED, *_FOREIGN):
        hint = "lock both projects (wherry lock) and compare the locks"
        raise UsageError(f"{path} is resolved already and not compared", hint=hint)
    return found


def _read_foreign(path: Path, found: FoundEnvironment) -> ForeignLock:
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError("cannot be read as text", where=str(path)) from error
    return parse_foreign_lock(found.environment.kind, text, str(path))


def _name_variables(found: FoundEnvironment) -> dict[str, str]:
    return {f"variable {name}": value for name, value in found.variables}


def _read_images(text: str, platform: Platform | None) -> tuple[ImageEnd, ...]:
    """From the store; what it does not know and has a registry's host in its name, from there."""
    try:
        ends = read_stored_ends(DiskStore(store_path(os.environ)), text)
    except StoreError:
        if not _names_a_registry(text):
            raise
        ends = _fetch_images(Reference.parse(text), platform)
    if not ends:
        raise StoreError(f"{text} has no image in it")
    return ends


def _names_a_registry(text: str) -> bool:
    if text.startswith((GIT, ".", "/", "sha256:")):
        return False
    try:
        return Reference.parse(text).registry != HUB or text.startswith(f"{HUB}/")
    except UsageError:
        return False


def _fetch_images(reference: Reference, platform: Platform | None) -> tuple[ImageEnd, ...]:
    # Only here: an HTTP client takes longer to import than a local difference to compute.
    from wherry.deliver.registry_ends import fetch_registry_ends

    return fetch_registry_ends(reference, os.environ, platform)
