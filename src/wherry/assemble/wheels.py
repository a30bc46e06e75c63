"""From locked wheels to the entries of their layers.

Layers never share a path. Where two wheels bring one file (two distributions that both ship `tests/__init__.py`), the
one whose name sorts first keeps it, whatever the plan; a differing one is told to the caller.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from wherry.errors import FormatError
from wherry.formats.tar import TarEntry
from wherry.formats.wheel import WheelLayout, plan_wheel
from wherry.model.layout import EnvironmentLayout
from wherry.model.lock import LockedWheel


@dataclass(frozen=True, slots=True, kw_only=True)
class Clash:
    """Two wheels bring a file of one path with different contents; `kept` is whose it is in the image."""

    path: str
    kept: str
    dropped: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedWheels:
    """Each wheel's layout by name; `dropped` are the paths that another wheel brings already, `yields` whose they are."""

    layouts: Mapping[str, WheelLayout]
    dropped: Mapping[str, frozenset[str]]
    yields: Mapping[str, frozenset[str]]
    clashes: tuple[Clash, ...]

    def entries(self, name: str) -> Iterator[TarEntry]:
        dropped = self.dropped[name]
        return (entry for entry in self.layouts[name].entries if entry.path not in dropped)

    def python_sources(self, name: str) -> Iterator[TarEntry]:
        """The `.py` files of a wheel that are worth compiling: all but those of its own tests."""
        wanted = {path for path in self.layouts[name].python if not is_test(path)}
        return (entry for entry in self.entries(name) if entry.path in wanted)


NO_WHEELS = PlannedWheels(layouts={}, dropped={}, yields={}, clashes=())


def is_test(path: str) -> bool:
    """Whether a file lies in a package's tests; those get no bytecode, they are not imported where the image runs."""
    folders = path.split("/")[:-1]
    return "tests" in folders or "test" in folders


def plan_wheels(wheels: Iterable[tuple[LockedWheel, Path]], environment: EnvironmentLayout, stack: ExitStack) -> PlannedWheels:
    """Open the wheels and plan where each file goes. They stay open until `stack` closes."""
    layouts: dict[str, WheelLayout] = {}
    dropped: dict[str, frozenset[str]] = {}
    yields: dict[str, frozenset[str]] = {}
    clashes: list[Clash] = []
    owner: dict[str, str] = {}
    for wheel, path in sorted(wheels, key=lambda pair: pair[0].name):
        layout = plan_wheel(_open_wheel(path, wheel.file, stack), wheel.file, environment)
        lost = [entry.path for entry in layout.entries if entry.path in owner]
        for shared in lost:
            if layouts[owner[shared]].digests[shared] != layout.digests[shared]:
                clashes.append(Clash(path=shared, kept=owner[shared], dropped=wheel.name))
        yields[wheel.name] = frozenset(owner[shared] for shared in lost)
        owner.update((entry.path, wheel.name) for entry in layout.entries if entry.path not in owner)
        layouts[wheel.name] = layout
        dropped[wheel.name] = frozenset(lost)
    return PlannedWheels(layouts=layouts, dropped=dropped, yields=yields, clashes=tuple(clashes))


def _open_wheel(path: Path, name: str, stack: ExitStack) -> zipfile.ZipFile:
    try:
        return stack.enter_context(zipfile.ZipFile(path))
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise FormatError(
            f"not a zip archive: {error}", where=name, hint="delete it from the cache; it is fetched again"
        ) from error
