"""The locked wheels and records of one platform, opened: which layer holds which, and whose each file is.

All are opened when one package's layer must be made, for only from all is it known which file is whose. Those whose layers
are here may have vanished everywhere: then they are left out, and their layers are enough.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from wherry.assemble.bytecode import HostInterpreter
from wherry.assemble.link_scripts import describe_scripts, has_scripts
from wherry.assemble.record_lists import read_record_list
from wherry.assemble.records import NO_RECORDS, PlannedRecords, RecordContents, place_files, plan_records
from wherry.assemble.wheels import NO_WHEELS, Clash, PlannedWheels, plan_wheels
from wherry.errors import LockError
from wherry.model.layout import EnvironmentLayout, environment_layout
from wherry.model.lock import LayerKind, LockedLayer, LockedRecord, LockedWheel, PlatformLock

_FREE_THREADED = re.compile(r"_cp\d+t$")
_OF_WHEELS = (LayerKind.WHEEL, LayerKind.WHEELS)
_OF_RECORDS = (LayerKind.RECORD, LayerKind.RECORDS)
_Package = TypeVar("_Package", LockedWheel, LockedRecord)


FetchWheels = Callable[[Sequence[LockedWheel]], Mapping[str, Path]]
FetchRecords = Callable[[Sequence[LockedRecord]], Mapping[str, Path]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaSource:
    """Where the records' verified archives come from, by name, and conda's Python made to run on this host. Both may fetch."""

    fetch: FetchRecords
    interpreter: Callable[[], HostInterpreter]


def _no_records(_records: Sequence[LockedRecord]) -> Mapping[str, Path]:
    raise LockError("the lock has packages of conda's, and the declaration has none", where="wherry.lock", hint="wherry lock")


def _no_python() -> HostInterpreter:
    raise LockError("the lock has conda's Python, and the declaration has none", where="wherry.lock", hint="wherry lock")


NO_CONDA = CondaSource(fetch=_no_records, interpreter=_no_python)


class LayerMembers:
    """Which packages a platform's layers hold. A layer of bytecode holds that of the layer whose name it has."""

    def __init__(self, locked: PlatformLock) -> None:
        self._locked = locked
        self._kinds = {layer.name: layer.kind for layer in locked.layers}
        self._own_python = environment_layout(locked.interpreter).is_conda

    def has_packages(self, layer: LockedLayer) -> bool:
        return self._holds_wheels(layer) or self._holds_records(layer)

    def wheels(self, layer: LockedLayer) -> tuple[LockedWheel, ...]:
        return _chosen(self._locked.wheels, layer) if self._holds_wheels(layer) else ()

    def records(self, layer: LockedLayer) -> tuple[LockedRecord, ...]:
        return _chosen(self._locked.records, layer) if self._holds_records(layer) else ()

    def names(self, layer: LockedLayer) -> set[str]:
        return {wheel.name for wheel in self.wheels(layer)} | {record.name for record in self.records(layer)}

    def _holds_wheels(self, layer: LockedLayer) -> bool:
        return self._source(layer) in _OF_WHEELS

    def _holds_records(self, layer: LockedLayer) -> bool:
        kind = self._source(layer)
        return kind in _OF_RECORDS or (kind is LayerKind.INTERPRETER and self._own_python)

    def _source(self, layer: LockedLayer) -> LayerKind:
        if layer.kind is not LayerKind.BYTECODE:
            return layer.kind
        return self._kinds.get(layer.name.removeprefix("bytecode-"), LayerKind.WHEELS)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedPackages:
    """What each package brings to the image. `archives` are the records' files by name."""

    wheels: PlannedWheels = NO_WHEELS
    records: PlannedRecords = NO_RECORDS
    contents: Mapping[str, RecordContents]
    archives: Mapping[str, Path]

    @property
    def clashes(self) -> tuple[Clash, ...]:
        return (*self.records.clashes, *self.wheels.clashes)

    def list_notes(self) -> tuple[str, ...]:
        """What the author should know besides."""
        replaced = (
            f"the wheel {clash.path} takes the place of the modules that conda's {clash.dropped} brings"
            for clash in self.records.replaced
        )
        scripts = (
            note
            for name, one in self.contents.items()
            if has_scripts(iter(one.files))
            for note in describe_scripts(self.archives[name], one.record)
        )
        return (*replaced, *scripts)

    def yields(self, members: LayerMembers, layer: LockedLayer) -> set[str]:
        """The packages of other layers that have files which the layer's own members bring, too."""
        wheels = {wheel.name for wheel in members.wheels(layer)}
        records = {record.name for record in members.records(layer)}
        to_wheels = {owner for name in wheels for owner in self.wheels.yields.get(name, ())} - wheels
        to_records = {owner for name in records for owner in self.records.yields.get(name, ())} - records
        return to_wheels | to_records | {owner for name in records for owner in self.records.yields_to_wheels.get(name, ())}


NO_PACKAGES = OpenedPackages(contents={}, archives={})


def open_packages(
    locked: PlatformLock, missing: Sequence[LockedLayer], fetch_wheels: FetchWheels, fetch_records: FetchRecords, stack: ExitStack
) -> OpenedPackages:
    """Open all packages when one of their layers is `missing`. Wheels stay open until `stack` closes."""
    members = LayerMembers(locked)
    if not any(members.has_packages(layer) for layer in missing):
        return NO_PACKAGES
    environment = environment_layout(locked.interpreter)
    _refuse_free_threaded(locked.records)
    paths = _fetch(locked.wheels, {wheel for layer in missing for wheel in members.wheels(layer)}, fetch_wheels)
    wheels = plan_wheels([(wheel, paths[wheel.name]) for wheel in locked.wheels if wheel.name in paths], environment, stack)
    archives = _fetch(locked.records, {record for layer in missing for record in members.records(layer)}, fetch_records)
    contents = list(read_contents(locked.records, archives, environment))
    records = plan_records(contents, wheels, environment)
    return OpenedPackages(wheels=wheels, records=records, contents={one.record.name: one for one in contents}, archives=archives)


def _fetch(
    packages: Sequence[_Package], needed: set[_Package], fetch: Callable[[Sequence[_Package]], Mapping[str, Path]]
) -> dict[str, Path]:
    if not packages:
        return {}
    try:
        return dict(fetch(packages))
    except LockError:
        paths = dict(fetch([package for package in packages if package in needed]))
    for package in packages:
        if package not in needed:
            try:
                paths.update(fetch([package]))
            except LockError:
                continue  # it has vanished, but its layer is here, and that is enough
    return paths


def read_contents(
    records: Sequence[LockedRecord], archives: Mapping[str, Path], environment: EnvironmentLayout
) -> Iterator[RecordContents]:
    for record in records:
        if record.name in archives:
            listed = read_record_list(archives[record.name], record)
            files = place_files(listed.files, listed.entry_points, noarch_python=record.noarch_python, minor=environment.minor)
            yield RecordContents(record=record, files=files)


def _refuse_free_threaded(records: Sequence[LockedRecord]) -> None:
    """Its modules lie in a folder of another name, and other wheels fit it."""
    for record in records:
        if record.name == "python" and _FREE_THREADED.search(record.build):
            what = f"python {record.version} {record.build} is a free-threaded build, which is not supported"
            raise LockError(what, where="wherry.lock", hint="python-gil among the dependencies")


def _chosen(packages: Sequence[_Package], layer: LockedLayer) -> tuple[_Package, ...]:
    named = set(layer.members)
    return tuple(package for package in packages if f"{package.name} {package.version}" in named)
