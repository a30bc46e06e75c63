"""How an environment was laid out last, kept: so that it is made anew from the trees alone, without its wheels or its lock.

Only a hint (`readiness`), good while the project's files, the lock and the Pythons of the PATH are what they were. Kept is
an ordinary virtual environment around a Python of this machine; conda's prefixes, and those that bring their Python, are not.
What the trees no longer have as it was written is for the full way, which has the wheels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from wherry.formats.tar import file_entry
from wherry.model.digest import Digest
from wherry.model.progress import be_silent
from wherry.run.environments import (
    EnvironmentRecord,
    FoundEnvironment,
    create_environment,
    find_place,
    hide_from_git,
    refuse_others,
    tell_python,
)
from wherry.run.local_python import LocalPython, list_program_places
from wherry.run.package_trees import MissingTreeError, PackageTrees, PlannedPackage, open_trees
from wherry.run.readiness import recall, remember
from wherry.run.virtual_environment import fill_environment


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """How long a layout is good: `files` decide it (none: it is not kept), and were read after `since` (ns).

    `frozen` says that nobody asked whether the lock answers the declaration.
    """

    files: tuple[str, ...]
    since: int
    frozen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What lies at an environment's place, but for its skeleton; `notes` are what was told when it was planned."""

    packages: tuple[PlannedPackage, ...]
    notes: tuple[str, ...]


def keep_layout(
    layout: Layout, record: EnvironmentRecord, keeping: Keeping, name: str | None, env: Mapping[str, str], cache: Path
) -> None:
    """Keep what was just made, as `record` says of it."""
    if not keeping.files:
        return
    value = {
        "frozen": keeping.frozen,
        "path": env.get("PATH", ""),
        "record": asdict(record),
        "notes": layout.notes,
        "packages": [_render(package) for package in layout.packages],
    }
    pythons = (record.executable, *list_program_places(record.python.rpartition(".")[0], env))
    remember(cache, Path(record.project), _name_hint(name), (*keeping.files, *pythons), value, keeping.since)


def remake_environment(
    root: Path, name: str | None, env: Mapping[str, str], cache: Path, *, frozen: bool
) -> tuple[FoundEnvironment, tuple[str, ...]] | None:
    """Make an environment as it was made last, and give what there is to tell; None where the full way must decide."""
    value = recall(cache, root, _name_hint(name))
    prefix = find_place(root.resolve(), name, env)
    try:
        record = EnvironmentRecord(**value["record"])
        layout = Layout(packages=tuple(map(_parse, value["packages"])), notes=tuple(value["notes"]))
        if record.place != str(prefix) or value["path"] != env.get("PATH", "") or (value["frozen"] and not frozen):
            return None
    except (KeyError, TypeError, ValueError):
        return None
    refuse_others(prefix, Path(record.project))
    if name is None:
        hide_from_git(prefix.parent)
    python = LocalPython(executable=record.executable, version=record.python, glibc=None)
    try:
        with open_trees(cache, python.minor) as trees:
            create_environment(prefix, record, partial(_fill, layout=layout, python=python, trees=trees))
    except MissingTreeError:
        return None
    return FoundEnvironment(prefix=prefix, record=record, state="ok"), (*layout.notes, *tell_python(record))


def _fill(making: Path, *, layout: Layout, python: LocalPython, trees: PackageTrees) -> None:
    fill_environment(making, python, None, layout.packages, trees, be_silent)


def _name_hint(name: str | None) -> str:
    return "layout" if name is None else f"layout-{name}"


def _render(package: PlannedPackage) -> dict[str, Any]:
    return {
        "sha256": package.sha256.hex,
        # Any bytes as text, one character each.
        "generated": [
            (one.path, one.mode, one.content.decode("latin-1")) for one in package.generated if isinstance(one.content, bytes)
        ],
        "dropped": sorted(package.dropped),
    }


def _parse(value: Mapping[str, Sequence[Any]]) -> PlannedPackage:
    texts = [(path, mode, text.encode("latin-1")) for path, mode, text in value["generated"]]
    return PlannedPackage(
        sha256=Digest(str(value["sha256"])),
        own=None,
        generated=tuple(file_entry(path, data, mode) for path, mode, data in texts),
        dropped=frozenset(value["dropped"]),
    )
