"""`wherry notebook`: JupyterLab in the project's environment, on this machine."""

from __future__ import annotations

import os
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from wherry.cli.browser import start_browser
from wherry.cli.epilog import render_examples
from wherry.cli.talk import say, show_progress
from wherry.declare.targets import read_targets
from wherry.errors import UsageError
from wherry.model.job import BackendKind, Target

_ON = typer.Option("--on", metavar="TARGET", help="local, or a target of wherry.toml.")
_PORT = typer.Option("--port", metavar="N", min=1, max=65535, help="Listen on this port of loopback. [8888, or a free one]")
_BROWSER = typer.Option("--browser/--no-browser", help="Open it in the browser.")
_BOARD = typer.Option("--tensorboard", metavar="DIR", help="Also start TensorBoard over this folder of the project.")
_KERNELS = typer.Option("--kernels", help="Instead: offer a kernel for each target to every Jupyter of yours, and to VS Code.")
_REMOVE = typer.Option("--remove-kernels", help="Instead: take these kernels away again.")
_SERVE = typer.Option("--serve-kernel", metavar="FILE", hidden=True, help="What such a kernel starts.")
_PROJECT = typer.Option("--project", metavar="DIR", help="The project's folder.")

_TOOLS = ("tensorboard",)


def register(app: typer.Typer) -> None:
    app.command(
        "notebook",
        epilog=render_examples(
            ("wherry notebook", ""),
            ("wherry notebook --no-browser --port 9000", "prints the address"),
            ("wherry notebook --on container", "in the image"),
            ("wherry notebook --tensorboard runs", "with the charts of that folder"),
            ("wherry notebook --kernels", "for another Jupyter, for VS Code"),
            before="JupyterLab is locked apart, in wherry.lock.notebook; Ctrl-C ends it with its kernels.",
        ),
    )(run_notebook)


def run_notebook(
    on: Annotated[str, _ON] = "local",
    port: Annotated[int | None, _PORT] = None,
    browser: Annotated[bool, _BROWSER] = True,
    tensorboard: Annotated[str | None, _BOARD] = None,
    kernels: Annotated[bool, _KERNELS] = False,
    remove: Annotated[bool, _REMOVE] = False,
    serve: Annotated[Path | None, _SERVE] = None,
    project: Annotated[Path, _PROJECT] = Path(),
) -> None:
    """Start JupyterLab in the project's environment.

    Notebooks import exactly the locked packages, and lie in the project's folder. JupyterLab never gets into the project's image.
    """
    root, targets = project.absolute(), read_targets(project)
    if kernels or remove or serve is not None:
        raise typer.Exit(_mind_kernels(root, targets, on, serve, remove=remove))
    target = _find_target(targets, on)
    if target.backend is not BackendKind.LOCAL:
        raise typer.Exit(_serve_in_container(root, target, port, tensorboard, browser=browser))
    raise typer.Exit(_serve_locally(root, port, tensorboard, browser=browser))


def _serve_locally(root: Path, port: int | None, board: str | None, *, browser: bool) -> int:
    # The builder loads when there is something to start.
    from wherry.notebook_lock import lock_notebook
    from wherry.notebook_overlay import bring_overlay
    from wherry.pipeline import Project, Wishes
    from wherry.run.activation import environment_values
    from wherry.run.notebook_server import render_surroundings, run_notebooks, run_tensorboard
    from wherry.store.host import read_host_platform

    with show_progress() as progress:
        opened = Project(root, progress=progress, say=say)
        wishes = Wishes(platforms=(read_host_platform(),))
        found = opened.ready_environment(wishes)
        locked = opened.ready_lock(wishes)
        notebook = lock_notebook(opened, locked, _TOOLS if board else ())
        overlay = bring_overlay(opened, locked, notebook, found)
    values = environment_values(found.prefix, found.record.variables, conda=found.record.conda)
    with ExitStack() as stack:
        if board is not None:
            surroundings = render_surroundings(overlay, found.prefix, {**os.environ, **values})
            _tell_board(stack.enter_context(run_tensorboard(root, overlay, root / board, surroundings)))
        server = stack.enter_context(run_notebooks(root, overlay, found.prefix, values, os.environ, port))
        _tell_address(browser, server.url)
        return server.wait()


def _serve_in_container(root: Path, target: Target, port: int | None, board: str | None, *, browser: bool) -> int:
    from wherry.cli.notebook_kernel import open_session
    from wherry.run.notebook_server import BOARD_PORT, choose_port

    chosen = choose_port(port)
    (root / "notebooks").mkdir(exist_ok=True)  # where what is written in there can stay
    session = open_session(root, target, here=root, tools=_TOOLS if board else ())
    if board is None:
        return session.serve_lab(chosen, partial(_tell_address, browser))
    second = choose_port(None, usual=BOARD_PORT)
    _tell_board(f"http://127.0.0.1:{second}/")
    return session.serve_lab(chosen, partial(_tell_address, browser), (board, second))


def _tell_board(url: str) -> None:
    say(f"TensorBoard, which asks for no token: {url}")


def _tell_address(browser: bool, url: str) -> None:
    print(url, flush=True)
    if browser:
        start_browser(url)


def _find_target(targets: dict[str, Target], name: str) -> Target:
    if name not in targets:
        raise UsageError(f"no target {name!r}", where="--on", hint=", ".join(targets))
    return targets[name]


def _mind_kernels(root: Path, targets: dict[str, Target], on: str, serve: Path | None, *, remove: bool) -> int:
    from wherry.cli.notebook_kernel import register_kernels, remove_kernels, serve_kernel

    if serve is not None:
        return serve_kernel(root, _find_target(targets, on), serve)
    for folder in remove_kernels(root) if remove else register_kernels(root, targets):
        print(folder)
    return 0
