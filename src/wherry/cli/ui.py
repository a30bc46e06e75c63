"""`wherry ui`: jobs, images and targets of this machine as a page in the browser."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from wherry.cli.browser import start_browser
from wherry.cli.epilog import render_examples
from wherry.cli.talk import say
from wherry.errors import DeclarationError, UsageError
from wherry.jobs import Jobs
from wherry.store.disk import DiskStore
from wherry.store.places import store_path
from wherry.sweeps import Sweeps

_PORT = typer.Option("--port", metavar="N", min=1, max=65535, help="Listen on this port of loopback. [8910, or a free one]")
_BROWSER = typer.Option("--browser/--no-browser", help="Open it in the browser.")
_PROJECT = typer.Option("--project", metavar="DIR", help="The folder whose targets and lock are shown.")


def register(app: typer.Typer) -> None:
    app.command(
        "ui",
        epilog=render_examples(
            ("wherry ui", ""),
            ("wherry ui --no-browser --port 9000", "prints the address"),
            before="Ctrl-C ends the page; jobs go on. Only this machine reaches it, and only with the token in the address.",
        ),
    )(run_ui)


def run_ui(
    port: Annotated[int | None, _PORT] = None,
    browser: Annotated[bool, _BROWSER] = True,
    project: Annotated[Path, _PROJECT] = Path(),
) -> None:
    """Show jobs, sweeps, images and targets in the browser.

    Jobs with their logs and metrics as they grow, side by side if you like; what is in each image, and what an update would move.
    """
    try:
        from wherry.ui.desk import Desk
        from wherry.ui.server import serve_pages
    except ModuleNotFoundError as error:
        missing = str(error.name).partition(".")[0]
        raise UsageError(f"the page needs {missing}, which is not installed", hint="pip install 'wherry[ui]'") from None
    if not project.is_dir():
        raise DeclarationError("there is no such folder", where=str(project))
    desk = Desk(
        env=os.environ,
        root=project.absolute(),
        jobs=Jobs(os.environ, say),
        sweeps=Sweeps(os.environ, say),
        store=DiskStore(store_path(os.environ)),
    )

    def tell(address: str, for_browser: str) -> None:
        print(address, flush=True)
        if browser:
            start_browser(for_browser)

    with suppress(KeyboardInterrupt):  # the orderly way to end it
        serve_pages(desk, port, tell)
