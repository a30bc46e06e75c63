"""`wherry build`: the project's image, into the local store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wherry.cli.build_report import print_build
from wherry.cli.epilog import render_examples
from wherry.cli.options import AsJson, Folder, Locked, parse_platforms, parse_tag, platform_option
from wherry.cli.talk import say, show_progress

EXAMPLES = render_examples(
    ("wherry build", "the folder you are in"),
    ("wherry build --platform linux/arm64", "for another machine"),
    ("wherry build --locked", "fail if the lock is out of date"),
    ("wherry build examples/iot-anomaly --json", "what was built, for programs"),
)

PLATFORM = platform_option("Build for this platform")
TAG = typer.Option("--tag", "-t", metavar="NAME[:TAG]", help="Name the image so, instead of PROJECT:latest.")
FIND = typer.Option("--find", help="Look for locked files in this folder too.", metavar="DIR", exists=True, file_okay=False)


def build_project(
    folder: Folder = Path(),
    platform: Annotated[list[str] | None, PLATFORM] = None,
    tag: Annotated[str, TAG] = "",
    locked: Locked = False,
    frozen: Annotated[bool, typer.Option("--frozen", help="Take wherry.lock as it is, without checking or completing it.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Use only what is in the cache and the --find folders.")] = False,
    find: Annotated[list[Path] | None, FIND] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Read every file and layer again, whatever time stamps say.")] = False,
    as_json: AsJson = False,
) -> None:
    """Build the project's image."""
    from wherry.pipeline import Project, Wishes  # the builder loads when there is something to build
    from wherry.rebuild import known_blobs

    with show_progress() as progress:
        project = Project(folder, progress=progress, say=say)
        before = known_blobs(folder, project.cache)
        wishes = Wishes(
            platforms=parse_platforms(platform),
            locked=locked,
            frozen=frozen,
            offline=offline,
            find=tuple(find or ()),
        )
        result = project.build(wishes, tag=parse_tag(tag), verify=verify)
    print_build(result, before, as_json=as_json)


def register(app: typer.Typer) -> None:
    app.command("build", epilog=EXAMPLES)(build_project)
