"""`wherry notebook`: JupyterLab in the project's environment, on this machine."""

from __future__ import annotations

import os
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from wherry.cli.epilog import render_examples
from wherry.cli.talk import say, show_progress

_PORT = typer.Option("--port", metavar="N", min=1, max=65535, help="Listen on this port of loopback. [8888, or a free one]")
_BROWSER = typer.Option("--browser/--no-browser", help="Open it in the browser.")
_PROJECT = typer.Option("--project", metavar="DIR", help="The project's folder.")


def register(app: typer.Typer) -> None:
    app.command(
        "notebook",
        epilog=render_examples(
            ("wherry notebook", ""),
            ("wherry notebook --no-browser --port 9000", "prints the address"),
            before="JupyterLab is locked apart, in wherry.lock.notebook; Ctrl-C ends it with its kernels.",
        ),
    )(run_notebook)


def run_notebook(
    port: Annotated[int | None, _PORT] = None,
    browser: Annotated[bool, _BROWSER] = True,
    project: Annotated[Path, _PROJECT] = Path(),
) -> None:
    """Start JupyterLab in the project's environment.

    Notebooks import exactly the locked packages, and lie in the project's folder. JupyterLab itself never gets into an image.
    """
    # The builder loads when there is something to start.
    from wherry.notebook_lock import lock_notebook
    from wherry.notebook_overlay import bring_overlay
    from wherry.pipeline import Project, Wishes
    from wherry.run.activation import environment_values
    from wherry.run.notebook_server import run_notebooks
    from wherry.store.host import read_host_platform

    root = project.absolute()
    with show_progress() as progress:
        opened = Project(root, progress=progress, say=say)
        wishes = Wishes(platforms=(read_host_platform(),))
        found = opened.ready_environment(wishes)
        locked = opened.ready_lock(wishes)
        overlay = bring_overlay(opened, locked, lock_notebook(opened, locked), found)
    values = environment_values(found.prefix, found.record.variables, conda=found.record.conda)
    with run_notebooks(root, overlay, found.prefix, values, os.environ, port) as server:
        print(server.url, flush=True)
        if browser:
            webbrowser.open(server.url)
        code = server.wait()
    raise typer.Exit(code)
