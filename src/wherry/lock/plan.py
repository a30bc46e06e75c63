"""Decides which layers an image has, from what is locked alone: pure, and stable under a bump of one package.

Layers lie by rate of change (`LayerKind`'s order), by name within a kind, so that a bump moves no other layer. A wheel
of 1 MiB or more lies alone; one that lay alone in the former plan stays alone while it is there, however small it gets.
Code and models are not planned here: they are not locked. They count towards the limit.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
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
    without_python: Collection[str] = (),
) -> tuple[LockedLayer, ...]:
    """The layers of one platform, without those of code and models, of which there will be `unlocked_layers`.

    Wheels in `without_python` are known to hold no Python file and get no bytecode layer.
    """
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
        with_python = [wheel for wheel in big if wheel.name not in without_python]
        layers += _layer("bytecode-python", LayerKind.BYTECODE, python)
        layers += (
            LockedLayer(name=f"bytecode-{wheel.name}", kind=LayerKind.BYTECODE, members=(_member(wheel),)) for wheel in with_python
        )
        layers += _layer("bytecode-wheels", LayerKind.BYTECODE, small)
    return _keep_diff_ids(layers, debs, interpreter, wheels, former)


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


def _keep_diff_ids(
    layers: Sequence[LockedLayer],
    debs: Sequence[LockedDeb],
    interpreter: LockedInterpreter,
    wheels: Sequence[LockedWheel],
    former: PlatformLock | None,
) -> tuple[LockedLayer, ...]:
    if former is None:
        return tuple(layers)
    known = {layer.name: layer for layer in former.layers}
    now = _Ingredients(debs, interpreter, wheels)
    then = _Ingredients(former.debs, former.interpreter, former.wheels)
    return tuple(
        replace(layer, diff_id=known[layer.name].diff_id)
        if layer.name in known and now.of(layer) == then.of(known[layer.name])
        else layer
        for layer in layers
    )


class _Ingredients:
    """What a layer's bytes are made of, so that an unchanged layer is recognised."""

    def __init__(self, debs: Sequence[LockedDeb], interpreter: LockedInterpreter, wheels: Sequence[LockedWheel]) -> None:
        self._interpreter = interpreter
        self._debs = tuple(deb.sha256 for deb in debs)
        packages: tuple[LockedDeb | LockedWheel, ...] = (*debs, *wheels)
        self._digests = {_member(package): package.sha256 for package in packages}

    def of(self, layer: LockedLayer) -> tuple[object, ...]:
        own = tuple(self._digests.get(member) for member in layer.members)
        if layer.kind in (LayerKind.BASE, LayerKind.INTERPRETER):
            return (layer.kind, layer.members, own, self._debs, self._interpreter)
        if layer.kind is LayerKind.BYTECODE:
            return (layer.kind, layer.members, own, self._interpreter)
        return (layer.kind, layer.members, own, self._interpreter.minor)


def _layer(name: str, kind: LayerKind, members: tuple[str, ...]) -> list[LockedLayer]:
    return [LockedLayer(name=name, kind=kind, members=members)] if members else []


def _member(package: LockedDeb | LockedWheel) -> str:
    return f"{package.name} {package.version}"
