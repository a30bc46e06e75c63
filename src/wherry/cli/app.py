"""The command line's tree. Commands are modules that load when they are named, so that `--help` stays quick."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

from wherry.version import VERSION

# What a wrong command line raises. typer may carry its own click, so the class is found by way of typer's public names.
usage_error: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

# Name → modules that register it, and the line that `wherry --help` shows (a test holds it equal to the command's own).
COMMANDS: dict[str, tuple[tuple[str, ...], str]] = {
    "init": (("init",), "Look at a project and write its wherry.toml."),
    "lock": (("lock",), "Resolve the project to exact packages, for every platform, into wherry.lock."),
    "build": (("build",), "Build the project's image."),
    "run": (("run",), "Run a command, or the entrypoint, in the project's image."),
    "shell": (("shell",), "Open a shell in an image, also in one that has none."),
    "diff": (("diff",), "Show what changed between two images, locks or environments, and what it costs to move."),
    "check": (("check",), "Find what would break in an image, an environment or a wheel, without running it."),
    "push": (("push",), "Push the project's image to a registry."),
    "release": (("release",), "Sign an image for a channel's devices, with one small parcel for each release that they may have."),
    "channel": (("channel",), "Make, sign and look after the folder that devices read."),
    "export": (("export",), "Write what other systems build or deploy an image by."),
    "env": (("env",), "Make, list and remove environments on this machine."),
    "notebook": (("notebook",), "Start JupyterLab in the project's environment."),
    "job": (("job",), "List, watch, compare, stop and remove jobs."),
    "sweep": (("sweep",), "Run one command with many parameters, and look after that."),
    "ui": (("ui",), "Show jobs, sweeps, images and targets in the browser."),
    "telemetry": (("telemetry",), "Collect what scoring services send, as Parquet."),
    "image": (("image", "pull", "delta", "image_rebase"), "List, inspect, move and remove images."),
}


def _load(name: str) -> Any:
    app = typer.Typer(rich_markup_mode=None)
    app.callback()(lambda: None)
    for module in COMMANDS[name][0]:
        import_module(f"wherry.cli.{module}").register(app)
    return get_group(app).commands[name]


class LazyGroup(TyperGroup):
    """Knows its commands by name and loads one when it is asked for."""

    def list_commands(self, _ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _ctx: Any, cmd_name: str) -> Any:
        return _load(cmd_name) if cmd_name in COMMANDS else None

    def format_commands(self, _ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


_EPILOG = "A folder with a requirements file is enough: wherry build, then wherry run. Each command has --help with examples."

app = typer.Typer(
    cls=LazyGroup,
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"wherry {VERSION}")
        raise typer.Exit


@app.callback(epilog=_EPILOG)
def describe(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Carry a Python ML project, exactly as its author ran it, to every place it has to work."""
