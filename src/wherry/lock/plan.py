"""Decides which layers an image has, from what is locked alone: pure, and stable under a bump of one package.

Layers lie by rate of change (`LayerKind`'s order), by name within a kind, so that a bump moves no other layer. A wheel
or a record of conda's of 1 MiB or more lies alone; one that lay alone in the former plan stays alone while it is there,
however small it gets. Conda's own Python lies in the layer of the interpreter.
Code and models are not planned here: they are not locked. They count towards the limit.

What a build found out stays while nothing it depends on changed: diff_ids, and which packages hold nothing to compile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from wherry.model.declaration import Bytecode
from wherry.model.lock import LayerKind, LockedDeb, LockedInterpreter, LockedLayer, LockedRecord, LockedWheel, PlatformLock

MAX_LAYERS = 40
BIG_WHEEL = 1024 * 1024  # bytes of the wheel's or the record's file
_RESERVED = frozenset({"base", "python", "records", "wheels", "code"})
_ALONE = (LayerKind.RECORD, LayerKind.WHEEL)

_Package = LockedDeb | LockedRecord | LockedWheel


def plan_layers(
    debs: Sequence[LockedDeb],
    interpreter: LockedInterpreter,
    wheels: Sequence[LockedWheel],
    bytecode: Bytecode,
    *,
    records: Sequence[LockedRecord] = (),
    former: PlatformLock | None = None,
    unlocked_layers: int = 1,
) -> tuple[LockedLayer, ...]:
    """The layers of one platform, without those of code and models, of which there will be `unlocked_layers`."""
    ours = _Packages(debs, interpreter, records, wheels)
    compiled = bytecode is Bytecode.LAYER
    alone = _choose_alone(ours, compiled, former, unlocked_layers)
    big_records, small_records = _split(ours.others, alone)
    big_wheels, small_wheels = _split(wheels, alone)
    layers = [
        *_layer("base", LayerKind.BASE, ours.base),
        LockedLayer(name="python", kind=LayerKind.INTERPRETER, members=ours.interpreter_members),
        *_lone_layers(LayerKind.RECORD, big_records),
        *_layer("records", LayerKind.RECORDS, small_records),
        *_lone_layers(LayerKind.WHEEL, big_wheels),
        *_layer("wheels", LayerKind.WHEELS, small_wheels),
    ]
    if compiled:
        if ours.interpreter_members:
            layers.append(LockedLayer(name="bytecode-python", kind=LayerKind.BYTECODE, members=ours.interpreter_members))
        for kind, big, small in (("records", big_records, small_records), ("wheels", big_wheels, small_wheels)):
            layers += _lone_layers(LayerKind.BYTECODE, filter(_may_hold_python, big), "bytecode-")
            layers += _layer(f"bytecode-{kind}", LayerKind.BYTECODE, tuple(filter(_may_hold_python, small)))
    return tuple(_keep_findings(layers, ours, former)) if former is not None else tuple(layers)


@dataclass(frozen=True, slots=True)
class _Packages:
    """What one platform's layers are made of."""

    debs: Sequence[LockedDeb]
    interpreter: LockedInterpreter
    records: Sequence[LockedRecord]
    wheels: Sequence[LockedWheel]

    @property
    def base(self) -> tuple[_Package, ...]:
        return tuple(deb for deb in self.debs if deb.part is LayerKind.BASE)

    @property
    def python(self) -> tuple[_Package, ...]:
        own = (record for record in self.records if record.name == "python")
        return (*(deb for deb in self.debs if deb.part is LayerKind.INTERPRETER), *own)

    @property
    def interpreter_members(self) -> tuple[str, ...]:
        """What the interpreter's layer holds; a managed Python is one member, whatever its archive is called."""
        own = (f"cpython {self.interpreter.version}",) if self.interpreter.archive is not None else ()
        return (*_members(self.python), *own)

    @property
    def others(self) -> tuple[LockedRecord, ...]:
        """The records without the interpreter."""
        return tuple(record for record in self.records if record.name != "python")


def _may_hold_python(package: _Package) -> bool:
    return package.may_hold_python if isinstance(package, LockedRecord) else True


def _choose_alone(ours: _Packages, compiled: bool, former: PlatformLock | None, unlocked_layers: int) -> frozenset[_Package]:
    """Those that lay alone first, then the greatest, as many as the limit has room for."""
    were_alone = {(layer.kind, layer.name) for layer in former.layers if layer.kind in _ALONE} if former is not None else set()
    taken = {record.name for record in ours.others}
    packages: tuple[LockedRecord | LockedWheel, ...] = (*ours.others, *(each for each in ours.wheels if each.name not in taken))
    wanted: list[tuple[bool, int, str, LockedRecord | LockedWheel]] = []
    for package in packages:
        kind = LayerKind.RECORD if isinstance(package, LockedRecord) else LayerKind.WHEEL
        was_alone = (kind, package.name) in were_alone
        if _may_be_alone(package.name) and (was_alone or package.size >= BIG_WHEEL):
            wanted.append((not was_alone, -package.size, package.name, package))
    shared = 3 + (2 if compiled else 0)  # base, python, wheels; bytecode of python and of the small wheels
    if ours.others:
        shared += 1 + (1 if compiled else 0)
    room = MAX_LAYERS - shared - unlocked_layers
    alone: set[_Package] = set()
    for *_, package in sorted(wanted, key=lambda entry: entry[:3]):
        room -= 2 if compiled and _may_hold_python(package) else 1
        if room < 0:
            break
        alone.add(package)
    return frozenset(alone)


def _may_be_alone(name: str) -> bool:
    """A layer has the name of its package; one that is named like another layer, or ``_so``, lies with the small ones."""
    return name not in _RESERVED and not name.startswith(("bytecode-", "_"))


def _keep_findings(layers: Sequence[LockedLayer], ours: _Packages, former: PlatformLock) -> Iterator[LockedLayer]:
    known = {layer.name: layer for layer in former.layers}
    now = _Ingredients(ours, layers)
    then = _Ingredients(_Packages(former.debs, former.interpreter, former.records, former.wheels), former.layers)
    for layer in layers:
        before = known.get(layer.name)
        if before is not None and now.of(layer, before.yields) == then.of(before, before.yields):
            yield replace(layer, diff_id=before.diff_id, yields=before.yields)
        elif not _was_empty(layer, known, now, then):
            yield layer


def _was_empty(layer: LockedLayer, known: dict[str, LockedLayer], now: _Ingredients, then: _Ingredients) -> bool:
    """Whether a build found nothing to compile in these very packages, so that their bytecode layer left the lock."""
    of_sources = known.get(layer.name.removeprefix("bytecode-"))
    if layer.kind is not LayerKind.BYTECODE or layer.name in known or of_sources is None or of_sources.diff_id is None:
        return False
    had_bytecode = any(other.kind is LayerKind.BYTECODE for other in known.values())
    held = set(of_sources.members)
    before = replace(layer, members=tuple(member for member in layer.members if member in held))
    return had_bytecode and now.of(layer, of_sources.yields) == then.of(before, of_sources.yields)


class _Ingredients:
    """What a layer's bytes are made of, so that an unchanged layer is recognised."""

    def __init__(self, ours: _Packages, layers: Sequence[LockedLayer]) -> None:
        self._ours = ours
        self._kinds = {layer.name: layer.kind for layer in layers}
        self._debs = tuple(deb.sha256 for deb in ours.debs)
        self._records = {record.name: (record.sha256, record.channel) for record in ours.records}
        self._wheels = {wheel.name: wheel.sha256 for wheel in ours.wheels}
        self._of_records = {_member(record): self._records[record.name] for record in ours.records}
        self._of_wheels = {_member(wheel): wheel.sha256 for wheel in ours.wheels}
        self._of_python = {_member(deb): deb.sha256 for deb in ours.debs} | self._of_records

    def of(self, layer: LockedLayer, yields: Sequence[str]) -> tuple[object, ...]:
        """A package's layer lacks what other packages brought before it, so those to which it `yields` count too."""
        kind = self._kinds.get(layer.name.removeprefix("bytecode-"), layer.kind)
        digests: dict[str, object] = {}
        if kind in (LayerKind.BASE, LayerKind.INTERPRETER):
            digests.update(self._of_python)
        else:
            digests.update(self._of_records if kind in (LayerKind.RECORD, LayerKind.RECORDS) else self._of_wheels)
        own = (
            *(digests.get(member) for member in layer.members),
            *((self._records.get(name), self._wheels.get(name)) for name in yields),
        )
        if layer.kind in (LayerKind.BASE, LayerKind.INTERPRETER):
            return (layer.kind, layer.members, own, self._debs, self._ours.interpreter)
        if layer.kind is LayerKind.BYTECODE:
            return (layer.kind, kind, layer.members, own, self._ours.interpreter)
        return (layer.kind, layer.members, own, self._ours.interpreter.minor, self._ours.interpreter.source == "conda")


def _split(packages: Iterable[_Package], alone: frozenset[_Package]) -> tuple[tuple[_Package, ...], tuple[_Package, ...]]:
    ordered = sorted(packages, key=lambda package: package.name)
    return (
        tuple(package for package in ordered if package in alone),
        tuple(package for package in ordered if package not in alone),
    )


def _lone_layers(kind: LayerKind, packages: Iterable[_Package], prefix: str = "") -> list[LockedLayer]:
    return [LockedLayer(name=f"{prefix}{package.name}", kind=kind, members=(_member(package),)) for package in packages]


def _layer(name: str, kind: LayerKind, packages: Sequence[_Package]) -> list[LockedLayer]:
    return [LockedLayer(name=name, kind=kind, members=_members(packages))] if packages else []


def _members(packages: Iterable[_Package]) -> tuple[str, ...]:
    return tuple(map(_member, packages))


def _member(package: _Package) -> str:
    return f"{package.name} {package.version}"
