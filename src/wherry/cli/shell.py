"""`wherry shell`: a shell in an image, also in one that has none."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from wherry.cli.epilog import render_examples
from wherry.cli.run import ENV, IMAGE, NETWORK, ON, PLATFORM, PROJECT, TTY, USER, VOLUME, WORKDIR, find_image, make_spec
from wherry.cli.talk import say
from wherry.engines.busybox import SHELL, extend_path, prepare_busybox
from wherry.engines.choice import find_engine
from wherry.run.grammar import parse_env, parse_mount
from wherry.run.launch import run_image
from wherry.store.disk import DiskStore
from wherry.store.places import cache_path, store_path

_EPILOG = render_examples(
    ("wherry shell", "look around in the project's image"),
    ("wherry shell --image anomaly:v1", "in another one of the store"),
    ("echo 'ls /app' | wherry shell", "without a terminal: commands from stdin"),
    before="busybox is this machine's, mounted read-only while the shell runs and never part of an image.",
)


def register(app: typer.Typer) -> None:
    app.command("shell", context_settings={"allow_interspersed_args": False}, epilog=_EPILOG)(shell_command)


def shell_command(
    on: Annotated[str | None, ON] = None,
    image: Annotated[str | None, IMAGE] = None,
    volume: Annotated[list[str] | None, VOLUME] = None,
    env: Annotated[list[str] | None, ENV] = None,
    workdir: Annotated[str | None, WORKDIR] = None,
    user: Annotated[str | None, USER] = None,
    network: Annotated[str | None, NETWORK] = None,
    tty: Annotated[bool, TTY] = False,
    platform: Annotated[str | None, PLATFORM] = None,
    project: Annotated[Path, PROJECT] = Path(),
) -> None:
    """Open a shell in an image, also in one that has none."""
    surroundings = os.environ
    mounts = tuple(parse_mount(text, Path.cwd(), surroundings) for text in volume or ())
    variables = parse_env(env or (), surroundings)
    engine = find_engine(on, surroundings)
    busybox = prepare_busybox(surroundings, cache_path(surroundings))
    store = DiskStore(store_path(surroundings))
    stored, found = find_image(store, image, platform, project, surroundings)
    spec = make_spec(found, (SHELL,), extend_path(found, variables), (*mounts, busybox), tty=tty)
    spec = replace(spec, workdir=workdir, user=user, network=network)
    raise typer.Exit(run_image(store, stored, spec, engine, say, detach=False).exit_code)
