"""What a check has to know of a project: its image's name, its driver's CUDA, what it says of checks.

Reads the one file with the project's table, and holds all of it against the grammar. Requirements are not read: a check is about
the image that was made of them, and a known one is checked in less time than reading them takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wherry.declare.grammar import parse_written
from wherry.declare.targets import read_own_table
from wherry.model.check_settings import CheckSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedProject:
    """`cuda` is None where no driver is declared."""

    name: str
    cuda: str | None
    settings: CheckSettings


def read_checked_project(root: Path) -> CheckedProject:
    """The project in a folder; `DeclarationError` for what its table may not say."""
    table, origin = read_own_table(root)
    written = parse_written(table, origin)
    return CheckedProject(name=written.name or _default_name(root), cuda=written.cuda, settings=written.check)


def _default_name(root: Path) -> str:
    # Only here: the readers of pyproject.toml take a while to import, and most projects say their name.
    from wherry.declare.defaults import default_name
    from wherry.declare.pyproject import read_toml

    root = root.resolve()
    pyproject = root / "pyproject.toml"
    return default_name(root, read_toml(pyproject, pyproject.name) if pyproject.is_file() else {})
