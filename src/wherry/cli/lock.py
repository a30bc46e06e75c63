"""`wherry lock`: exact packages for every platform."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from wherry.cli.epilog import render_examples
from wherry.cli.options import AsJson, DryRun, Folder, Locked, parse_platforms, platform_option
from wherry.cli.talk import print_json, say, show_progress
from wherry.model.lock import Lock

LOCK_SCHEMA = 1
EXAMPLES = render_examples(
    ("wherry lock", "resolve what is not locked yet"),
    ("wherry lock --upgrade-package pandas", "move pandas forward, nothing else"),
    ("wherry lock --platform linux/arm64", "for another platform than declared"),
)

PLATFORM = platform_option("Lock for this platform")
REFRESH_NAMES = typer.Option("--refresh-names", help="Look into conda's packages for the Python distributions that they bring.")
UPGRADE_PACKAGE = typer.Option("--upgrade-package", "-P", metavar="NAME", help="Move this package only; may be given again.")


def lock_project(
    folder: Folder = Path(),
    platform: Annotated[list[str] | None, PLATFORM] = None,
    upgrade: Annotated[bool, typer.Option("--upgrade", "-U", help="Move every package to its newest version.")] = False,
    upgrade_package: Annotated[list[str] | None, UPGRADE_PACKAGE] = None,
    refresh_names: Annotated[bool, REFRESH_NAMES] = False,
    locked: Locked = False,
    offline: Annotated[bool, typer.Option("--offline", help="Use only what is in the cache.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Resolve the project to exact packages, for every platform, into wherry.lock."""
    from wherry.pipeline import Project, Wishes  # the resolver loads when there is something to resolve

    with show_progress() as progress:
        wishes = Wishes(
            platforms=parse_platforms(platform),
            upgrade=upgrade,
            upgrade_packages=frozenset(upgrade_package or ()),
            locked=locked,
            offline=offline,
            refresh_names=refresh_names,
        )
        value = Project(folder, progress=progress, say=say).lock(wishes, write=not dry_run).value
    if as_json:
        print_json(render_lock_result(value))
        return
    for one in value.platforms:
        records = f"  {len(one.records)} conda packages" if one.records else ""
        wheels = f"{len(one.wheels)} wheels" + (f" ({len(one.builds)} built)" if one.builds else "")
        print(f"{one.platform}  Python {one.interpreter.version}{records}  {wheels}  {len(one.debs)} Debian packages")


def render_lock_result(value: Lock) -> dict[str, Any]:
    """``lock --json``."""
    return {
        "schema": LOCK_SCHEMA,
        "declaration": str(value.declaration),
        "platforms": [
            {
                "platform": str(one.platform),
                "python": one.interpreter.version,
                "wheels": [{"name": wheel.name, "version": wheel.version, "size": wheel.size} for wheel in one.wheels],
                "builds": [{"name": build.name, "version": build.version, "kind": build.kind.value} for build in one.builds],
                "records": [
                    {
                        "name": record.name,
                        "version": record.version,
                        "build": record.build,
                        "channel": record.channel,
                        "size": record.size,
                    }
                    for record in one.records
                ],
                "debs": [{"name": deb.name, "version": deb.version, "size": deb.size} for deb in one.debs],
                "layers": [{"name": layer.name, "members": list(layer.members)} for layer in one.layers],
            }
            for one in value.platforms
        ],
    }


def register(app: typer.Typer) -> None:
    app.command("lock", epilog=EXAMPLES)(lock_project)
