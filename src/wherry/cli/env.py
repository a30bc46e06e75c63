"""`wherry env`: environments on this machine, from the same lock as the image."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from wherry.cli.epilog import render_examples
from wherry.cli.options import AsJson, Locked
from wherry.cli.talk import print_json, print_table, say, show_progress
from wherry.errors import WherryError
from wherry.run.activation import SHELLS, render_hook
from wherry.run.environments import FoundEnvironment, find_place, list_names, remove_environment, require_place
from wherry.store.places import environments_path

ENV_SCHEMA = 1
env_app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Make, list and remove environments on this machine.")


def complete_names(incomplete: str) -> list[str]:
    """For the shell: named environments that begin so."""
    try:
        return [name for name in list_names(environments_path(os.environ)) if name.startswith(incomplete)]
    except WherryError:
        return []


_Name = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME",
        help="One of your own environments; without it: the project's, .wherry/env.",
        autocompletion=complete_names,
    ),
]
_Folder = Annotated[Path, typer.Option("--project", metavar="DIR", help="The project's folder.", show_default=False)]
PYTHON = typer.Option("--python", metavar="PROGRAM", help="Build it around this Python, instead of the first that fits.")
FIND = typer.Option("--find", help="Look for locked files in this folder too.", metavar="DIR", exists=True, file_okay=False)
COPY = typer.Option("--copy", help="Copy files instead of linking them with the cache.")
KERNEL = typer.Option("--kernel", help="Register it as a Jupyter kernel of yours; ipykernel must be locked.")
FROZEN = typer.Option("--frozen", help="Take wherry.lock as it is, without checking or completing it.")
SHELL = typer.Option("--shell", metavar="SHELL", help=f"{', '.join(SHELLS)}; else what SHELL says.")


def register(app: typer.Typer) -> None:
    app.add_typer(env_app, name="env")


@env_app.command(
    "create",
    epilog=render_examples(
        ("wherry env create", "the project's own, in .wherry/env"),
        ('eval "$(wherry env hook)"', "step into it"),
        ("wherry env create anomaly --kernel", "a named one, offered by Jupyter"),
        before="What is there already is made anew, from the lock; files are hard links into the cache.",
    ),
)
def create_command(
    name: _Name = None,
    project: _Folder = Path(),
    python: Annotated[str | None, PYTHON] = None,
    kernel: Annotated[bool, KERNEL] = False,
    copy: Annotated[bool, COPY] = False,
    locked: Locked = False,
    frozen: Annotated[bool, FROZEN] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Use only what is in the cache and the --find folders.")] = False,
    find: Annotated[list[Path] | None, FIND] = None,
    as_json: AsJson = False,
) -> None:
    """Make an environment from the lock, for this machine."""
    from wherry.environments import EnvironmentWish  # the resolver and the layouts load when there is something to make
    from wherry.pipeline import Project, Wishes

    with show_progress() as progress:
        wishes = Wishes(locked=locked, frozen=frozen, offline=offline, find=tuple(find or ()))
        wish = EnvironmentWish(name=name, python=python, copy=copy, kernel=kernel)
        made = Project(project, progress=progress, say=say).create_environment(wishes, wish)
    if as_json:
        print_json({"schema": ENV_SCHEMA, "environment": render_environment(made)})
    else:
        print(made.prefix)


@env_app.command("list", epilog=render_examples(("wherry env list --json", "what each was made from, for programs")))
def list_command(project: _Folder = Path(), as_json: AsJson = False) -> None:
    """List the project's environment and the named ones, and which are stale."""
    from wherry.environments import survey_environments
    from wherry.store.host import read_host_platform

    found = survey_environments(project, os.environ, read_host_platform())
    if as_json:
        print_json({"schema": ENV_SCHEMA, "environments": [render_environment(one) for one in found]})
    elif found:
        rows = [(one.record.name, one.state, one.record.python, one.record.project, str(one.prefix)) for one in found]
        print_table([("NAME", "STATE", "PYTHON", "PROJECT", "PLACE"), *rows])
    else:
        say("no environments yet: wherry env create makes one")


@env_app.command("remove", epilog=render_examples(("wherry env remove", "the project's own"), ("wherry env remove anomaly", "")))
def remove_command(name: _Name = None, project: _Folder = Path()) -> None:
    """Remove an environment that wherry made, and its Jupyter kernel."""
    prefix = find_place(project, name, os.environ)
    remove_environment(prefix)
    print(prefix)


@env_app.command(
    "hook",
    epilog=render_examples(
        ('eval "$(wherry env hook)"', "bash, zsh"),
        ("wherry env hook --shell fish | source", ""),
        ("deactivate", "out again"),
    ),
)
def hook_command(name: _Name = None, project: _Folder = Path(), shell: Annotated[str | None, SHELL] = None) -> None:
    """Print what a shell evaluates to step into an environment."""
    prefix = find_place(project, name, os.environ)
    record = require_place(prefix)
    usual = os.environ.get("SHELL", "").rpartition("/")[2]
    chosen = shell or (usual if usual in SHELLS else "sh")
    print(render_hook(chosen, prefix, record.name, record.variables, conda=record.conda), end="")


def render_environment(found: FoundEnvironment) -> dict[str, Any]:
    """One environment, as JSON has it."""
    return {**asdict(found.record), "place": str(found.prefix), "state": found.state}
