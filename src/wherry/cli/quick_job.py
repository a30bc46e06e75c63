"""`wherry run --on TARGET COMMAND…` without further options, without the command line's machinery.

Any doubt gives the call back to the command proper, which begins the same job.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wherry.cli.run_job import JobOptions, run_job
from wherry.declare.targets import read_targets
from wherry.errors import WherryError
from wherry.model.job import Target


def run_quickly(arguments: Sequence[str]) -> int | None:
    """Run the job that the words after ``run`` ask for; None where they are not understood here."""
    found = find_call(arguments, Path())
    return None if found is None else run_job(*found, Path(), JobOptions())


def find_call(arguments: Sequence[str], root: Path) -> tuple[Target, tuple[str, ...]] | None:
    """The target and the command, if that is all there is."""
    if len(arguments) < 3 or arguments[0] != "--on":
        return None
    command = arguments[3:] if arguments[2] == "--" else arguments[2:]
    if not command or (arguments[2] != "--" and command[0].startswith("-")):
        return None
    try:
        target = read_targets(root).get(arguments[1])
    except WherryError:
        return None  # the command proper says it, too
    return None if target is None or not target.backend.is_here else (target, tuple(command))
