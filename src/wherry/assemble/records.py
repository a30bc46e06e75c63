"""Whose each file is where records of conda, and wheels over them, bring the same path. Pure; follows docs/spec/layers.md, "Conda".

Layers never share a path. As in conda, of two records the one that is linked later keeps the file: the one that depends on
the other, else the one whose name sorts last; and wheels come after all records. A wheel over a record that brings
the same distribution takes the record's modules and scripts away, as pip does. So a record's files depend on the record, on
Python's minor version and on those that clash with it. Bytecode that records ship is left out: we make our own.

Refused: a path that is a file to one package and a folder to another. No link script is run; each is named.
"""

from __future__ import annotations

import base64
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from packaging.utils import canonicalize_name

from wherry.assemble.wheels import Clash, PlannedWheels, is_test
from wherry.errors import FormatError
from wherry.model.layout import EnvironmentLayout
from wherry.model.lock import LockedRecord

_DISTRIBUTION = re.compile(r"([^/]+?)-[^/]*\.(?:dist|egg)-info(?:/|$)")
_BYTECODE = (".pyc", ".pyo")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordContents:
    """A record's files by their paths below the prefix, each with the sha256 that its list names."""

    record: LockedRecord
    files: Mapping[str, str | None]

    def require(self, laid_out: Collection[str]) -> None:
        """Fail where other files were laid out than those by which it was decided whose is what."""
        if different := sorted(set(laid_out) ^ self.files.keys()):
            raise FormatError(f"laid out otherwise than its list says: {different[0]!r}", where=self.record.file)


def place_files(
    listed: Iterable[tuple[str, str | None]], entry_points: Iterable[str], *, noarch_python: bool, minor: str
) -> dict[str, str | None]:
    """Where the files of a package's list (path, sha256) go in a prefix with Python `minor`, and the scripts of its
    `entry_points` (``name = module:function``), which only packages of Python modules have."""
    if not noarch_python:
        return dict(listed)
    placed = {}
    for path, digest in listed:
        top, slash, rest = path.partition("/")
        folder = {"site-packages": f"lib/python{minor}/site-packages", "python-scripts": "bin"}.get(top, top)
        placed[f"{folder}{slash}{rest}"] = digest
    return placed | {f"bin/{point.partition('=')[0].strip()}": None for point in entry_points}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRecords:
    """By the records' names: which files are in the image, which are not, and to which packages those were left."""

    kept: Mapping[str, frozenset[str]]
    dropped: Mapping[str, frozenset[str]]
    yields: Mapping[str, frozenset[str]]  # names of records
    yields_to_wheels: Mapping[str, frozenset[str]]
    clashes: tuple[Clash, ...] = ()
    replaced: tuple[Clash, ...] = ()  # the path is that of a distribution

    def python_sources(self, name: str, environment: EnvironmentLayout) -> Iterator[str]:
        """The `.py` files of a record that are worth compiling, sorted."""
        library = environment.site_packages[len(environment.prefix) + 1 :]
        folder = library.rpartition("/")[0] if name == "python" else library
        wanted = (path for path in self.kept.get(name, ()) if path.endswith(".py") and path.startswith(f"{folder}/"))
        return iter(sorted(path for path in wanted if not is_test(path)))


NO_RECORDS = PlannedRecords(kept={}, dropped={}, yields={}, yields_to_wheels={})


def plan_records(contents: Sequence[RecordContents], wheels: PlannedWheels, environment: EnvironmentLayout) -> PlannedRecords:
    """Decide whose each file is. `wheels` are those that lie over the records."""
    plan = _Plan(contents, wheels, environment)
    plan.replace_distributions()
    plan.settle_records()
    plan.settle_wheels()
    plan.refuse_folders()
    return plan.result()


class _Plan:
    """The plan so far: what each record still has, and to whom it lost what."""

    def __init__(self, contents: Sequence[RecordContents], wheels: PlannedWheels, environment: EnvironmentLayout) -> None:
        self._contents = {one.record.name: one for one in sorted(contents, key=lambda one: one.record.name)}
        self._requires = {name: one.record.requires for name, one in self._contents.items()}
        self._wheels = wheels
        self._environment = environment
        below = len(environment.prefix) + 1
        self._library = environment.site_packages[below:] + "/"
        self._of_wheels = {path[below:]: name for path, name in _wheel_paths(wheels, environment.prefix)}
        self._kept = {name: {path for path in one.files if not _is_bytecode(path)} for name, one in self._contents.items()}
        self._yields: dict[str, set[str]] = {name: set() for name in self._contents}
        self._yields_to_wheels: dict[str, set[str]] = {name: set() for name in self._contents}
        self._clashes: list[Clash] = []
        self._replaced: list[Clash] = []

    def replace_distributions(self) -> None:
        for name, kept in self._kept.items():
            brought = self._distributions(kept)
            for distribution in sorted(set(brought) & set(self._wheels.layouts)):
                lost = self._own_files(kept, brought[distribution], alone=len(brought) == 1)
                kept -= lost
                self._yields_to_wheels[name].add(distribution)
                self._replaced.append(Clash(path=distribution, kept=distribution, dropped=name))

    def settle_records(self) -> None:
        claims: dict[str, list[str]] = defaultdict(list)
        for name, kept in self._kept.items():
            for path in kept:
                claims[path].append(name)
        for path, names in sorted(claims.items()):
            if len(names) > 1:
                *losers, winner = _link_order(names, self._requires)
                for loser in losers:
                    self._yields[loser].add(winner)
                    self._lose(path, loser, winner, self._contents[winner].files[path])

    def settle_wheels(self) -> None:
        for name, kept in self._kept.items():
            for path in sorted(path for path in kept if path in self._of_wheels):
                wheel = self._of_wheels[path]
                self._yields_to_wheels[name].add(wheel)
                written = self._wheels.layouts[wheel].digests.get(f"{self._environment.prefix}/{path}", "")
                self._lose(path, name, wheel, _hex_digest(written))

    def refuse_folders(self) -> None:
        files = {path: name for name, kept in self._kept.items() for path in kept} | self._of_wheels
        seen: set[str] = set()
        for path, name in files.items():
            folder = path.rpartition("/")[0]
            while folder and folder not in seen:
                seen.add(folder)
                if folder in files:
                    what = f"{folder} is a folder to {name} and a file or link to {files[folder]}"
                    raise FormatError(what, where=name, hint=f"ask for a version of {name} or {files[folder]} that fits")
                folder = folder.rpartition("/")[0]

    def result(self) -> PlannedRecords:
        kept = {name: frozenset(paths) for name, paths in self._kept.items()}
        return PlannedRecords(
            kept=kept,
            dropped={name: frozenset(one.files) - kept[name] for name, one in self._contents.items()},
            yields={name: frozenset(names) for name, names in self._yields.items()},
            yields_to_wheels={name: frozenset(names) for name, names in self._yields_to_wheels.items()},
            clashes=tuple(self._clashes),
            replaced=tuple(self._replaced),
        )

    def _lose(self, path: str, loser: str, winner: str, digest: str | None) -> None:
        self._kept[loser].discard(path)
        if digest is None or digest != self._contents[loser].files[path]:
            self._clashes.append(Clash(path=f"{self._environment.prefix}/{path}", kept=winner, dropped=loser))

    def _distributions(self, paths: Iterable[str]) -> dict[str, str]:
        """Normalised name → the folder or file in which a distribution tells of itself."""
        found = {}
        for path in paths:
            if path.startswith(self._library) and (match := _DISTRIBUTION.match(path, len(self._library))):
                found[str(canonicalize_name(match[1]))] = path[: match.end()]
        return found

    def _own_files(self, paths: Collection[str], told: str, *, alone: bool) -> set[str]:
        """What pip would take away. Of a record with several distributions that is only what is surely of this one."""
        if not alone:
            return {path for path in paths if path.startswith(told)}
        return {path for path in paths if path.startswith((self._library, "bin/"))}


def _wheel_paths(wheels: PlannedWheels, prefix: str) -> Iterator[tuple[str, str]]:
    for name, layout in wheels.layouts.items():
        for entry in layout.entries:
            if entry.path not in wheels.dropped[name] and entry.path.startswith(f"{prefix}/"):
                yield entry.path, name


def _is_bytecode(path: str) -> bool:
    return path.endswith(_BYTECODE) and path.rpartition("/")[0].endswith("__pycache__")


def _link_order(names: Iterable[str], requires: Mapping[str, Sequence[str]]) -> list[str]:
    """The order in which conda would link these: what another of them depends on first, then by name.

    Only what they ask for themselves counts, not what others between them do: so the order is theirs alone.
    """
    waiting = set(names)
    ordered: list[str] = []
    while waiting:
        # Where records depend on one another in a circle, the one with the fewest needs goes first, as in conda.
        chosen = min(waiting, key=lambda name: (len(waiting.intersection(requires[name]) - {name}), name))
        ordered.append(chosen)
        waiting.discard(chosen)
    return ordered


def _hex_digest(written: str) -> str | None:
    """RECORD's way to write a sha256, as hex digits."""
    kind, _, value = written.partition("=")
    return base64.urlsafe_b64decode(value + "==").hex() if kind == "sha256" and value else None
