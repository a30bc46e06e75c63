"""Decides which layers an image has, from what is locked alone: pure, and stable under a bump of one package.

Layers lie by rate of change (`LayerKind`'s order), by name within a kind, so that a bump moves no other layer. A wheel
of 1 MiB or more lies alone; one that lay alone in the former plan stays alone while it is there, however small it gets.
Code and models are not planned here: they are not locked. They count towards the limit.

What a build found out stays while nothing it depends on changed: diff_ids, and which wheels hold nothing to compile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from wherry.model.declaration import Bytecode
from wherry.model.lock import LayerKind, LockedDeb, LockedInterpreter, LockedLayer, LockedWheel, PlatformLock

MAX_LAYERS = 40
BIG_WHEEL = 1024 * 1024  # bytes of the wheel's file
_RESERVED = frozenset({"base", "python", "wheels", "code"})


def plan_layers(
    debs: Sequence[LockedDeb],
    interpreter: LockedInterpreter,
    wheels: Sequence[LockedWheel],
    bytecode: Bytecode,
    *,
    former: PlatformLock | None = None,
    unlocked_layers: int = 1,
) -> tuple[LockedLayer, ...]:
    """The layers of one platform, without those of code and models, of which there will be `unlocked_layers`."""
    base = tuple(_member(deb) for deb in debs if deb.part is LayerKind.BASE)
    python = tuple(_member(deb) for deb in debs if deb.part is LayerKind.INTERPRETER)
    compiled = bytecode is Bytecode.LAYER
    alone = _choose_alone(wheels, compiled, former, unlocked_layers)
    big = sorted((wheel for wheel in wheels if wheel.name in alone), key=lambda wheel: wheel.name)
    small = tuple(_member(wheel) for wheel in sorted(wheels, key=lambda wheel: wheel.name) if wheel.name not in alone)
    layers = [
        *_layer("base", LayerKind.BASE, base),
        LockedLayer(name="python", kind=LayerKind.INTERPRETER, members=python),
        *(LockedLayer(name=wheel.name, kind=LayerKind.WHEEL, members=(_member(wheel),)) for wheel in big),
        *_layer("wheels", LayerKind.WHEELS, small),
    ]
    if compiled:
        layers += _layer("bytecode-python", LayerKind.BYTECODE, python)
        layers += (LockedLayer(name=f"bytecode-{wheel.name}", kind=LayerKind.BYTECODE, members=(_member(wheel),)) for wheel in big)
        layers += _layer("bytecode-wheels", LayerKind.BYTECODE, small)
    return tuple(_keep_findings(layers, debs, interpreter, wheels, former)) if former is not None else tuple(layers)


def _choose_alone(
    wheels: Sequence[LockedWheel], compiled: bool, former: PlatformLock | None, unlocked_layers: int
) -> frozenset[str]:
    """Those that lay alone first, then the greatest, as many as the limit has room for."""
    were_alone = {layer.name for layer in former.layers if layer.kind is LayerKind.WHEEL} if former is not None else set()
    wanted = [wheel for wheel in wheels if (wheel.size >= BIG_WHEEL or wheel.name in were_alone) and _may_be_alone(wheel.name)]
    wanted.sort(key=lambda wheel: (wheel.name not in were_alone, -wheel.size, wheel.name))
    shared = 3 + (2 if compiled else 0)  # base, python, wheels; bytecode of python and of the small wheels
    room = max(0, MAX_LAYERS - shared - unlocked_layers) // (2 if compiled else 1)
    return frozenset(wheel.name for wheel in wanted[:room])


def _may_be_alone(name: str) -> bool:
    """A layer has the name of its wheel; a wheel that is named like another layer lies with the small ones."""
    return name not in _RESERVED and not name.startswith("bytecode-")


def _keep_findings(
    layers: Sequence[LockedLayer],
    debs: Sequence[LockedDeb],
    interpreter: LockedInterpreter,
    wheels: Sequence[LockedWheel],
    former: PlatformLock,
) -> Iterator[LockedLayer]:
    known = {layer.name: layer for layer in former.layers}
    now = _Ingredients(debs, interpreter, wheels)
    then = _Ingredients(former.debs, former.interpreter, former.wheels)
    for layer in layers:
        before = known.get(layer.name)
        if before is not None and now.of(layer, before.yields) == then.of(before, before.yields):
            yield replace(layer, diff_id=before.diff_id, yields=before.yields)
        elif not _was_empty(layer, known, now, then):
            yield layer


def _was_empty(layer: LockedLayer, known: dict[str, LockedLayer], now: _Ingredients, then: _Ingredients) -> bool:
    """Whether a build found nothing to compile in these very wheels, so that their bytecode layer left the lock."""
    of_sources = known.get(layer.name.removeprefix("bytecode-"))
    if layer.kind is not LayerKind.BYTECODE or layer.name in known or of_sources is None or of_sources.diff_id is None:
        return False
    had_bytecode = any(other.kind is LayerKind.BYTECODE for other in known.values())
    before = replace(layer, members=of_sources.members)
    return had_bytecode and now.of(layer, of_sources.yields) == then.of(before, of_sources.yields)


class _Ingredients:
    """What a layer's bytes are made of, so that an unchanged layer is recognised."""

    def __init__(self, debs: Sequence[LockedDeb], interpreter: LockedInterpreter, wheels: Sequence[LockedWheel]) -> None:
        self._interpreter = interpreter
        self._debs = tuple(deb.sha256 for deb in debs)
        packages: tuple[LockedDeb | LockedWheel, ...] = (*debs, *wheels)
        self._digests = {_member(package): package.sha256 for package in packages}
        self._wheels = {wheel.name: wheel.sha256 for wheel in wheels}

    def of(self, layer: LockedLayer, yields: Sequence[str]) -> tuple[object, ...]:
        """A wheel's layer lacks what other wheels brought before it, so those to which it `yields` count too."""
        own = (*(self._digests.get(member) for member in layer.members), *(self._wheels.get(name) for name in yields))
        if layer.kind in (LayerKind.BASE, LayerKind.INTERPRETER):
            return (layer.kind, layer.members, own, self._debs, self._interpreter)
        if layer.kind is LayerKind.BYTECODE:
            return (layer.kind, layer.members, own, self._interpreter)
        return (layer.kind, layer.members, own, self._interpreter.minor)


def _layer(name: str, kind: LayerKind, members: tuple[str, ...]) -> list[LockedLayer]:
    return [LockedLayer(name=name, kind=kind, members=members)] if members else []


def _member(package: LockedDeb | LockedWheel) -> str:
    return f"{package.name} {package.version}"
