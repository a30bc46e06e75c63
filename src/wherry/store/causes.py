"""Which requirement brought which bytes: an image's layers told as a tree, pure.

With the lock's edges the roots are what the author asked for, and below each stands what it brought. A wheel that several
brought counts once, below the first of them; elsewhere it is named with `counted_above`. Wheels that share a layer share
its stored bytes in proportion to their wheels' sizes: such a figure is `estimated`. The sum over the tree is the image.
Without a lock, or with one of another image, the tree is flat: a cause a layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wherry.model.image import BuiltLayer
from wherry.model.lock import LayerKind, LockedWheel, PlatformLock

_OF_WHEELS = (LayerKind.WHEEL, LayerKind.WHEELS, LayerKind.BYTECODE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Something that brought `size` stored bytes itself and `total` with its children. None: known for all together only."""

    name: str
    size: int | None
    estimated: bool = False
    counted_above: bool = False
    children: tuple[Cause, ...] = ()

    @property
    def total(self) -> int:
        return (self.size or 0) + sum(child.total for child in self.children)


def describes_image(locked: PlatformLock, layers: Sequence[BuiltLayer]) -> bool:
    """Whether a lock is that of an image: the same wheels in the same versions."""
    members = {member for layer in layers if layer.kind in _OF_WHEELS[:2] for member in layer.members}
    return members == {_title(wheel) for wheel in locked.wheels}


def requirement_tree(layers: Sequence[BuiltLayer], locked: PlatformLock | None = None) -> tuple[Cause, ...]:
    """The causes of all layers: first what was asked for, in the order of names, then the rest from the lowest layer up."""
    if locked is None or not describes_image(locked, layers):
        return tuple(_layer_cause(layer) for layer in layers)
    wheels = {wheel.name: wheel for wheel in locked.wheels}
    own, estimated, rest = _split_bytes(layers, wheels)
    seen: set[str] = set()
    asked = sorted(name for name, wheel in wheels.items() if wheel.requested)
    roots = [_wheel_cause(wheels[name], wheels, own, estimated, seen) for name in asked]
    # Whatever no requested wheel reaches, such as one that a lock of another tool lists alone.
    roots += [_wheel_cause(wheels[name], wheels, own, estimated, seen) for name in sorted(wheels) if name not in seen]
    return (*roots, *(_layer_cause(layer) for layer in rest))


def _split_bytes(
    layers: Sequence[BuiltLayer], wheels: Mapping[str, LockedWheel]
) -> tuple[dict[str, int], set[str], list[BuiltLayer]]:
    """Each wheel's bytes, the names whose bytes are estimated, and the layers that hold no wheels."""
    by_title = {_title(wheel): wheel for wheel in wheels.values()}
    own = dict.fromkeys(wheels, 0)
    estimated: set[str] = set()
    rest = []
    for layer in layers:
        inside = [by_title[member] for member in layer.members if member in by_title]
        if layer.kind not in _OF_WHEELS or not inside or len(inside) != len(layer.members):
            rest.append(layer)
            continue
        for wheel, share in zip(inside, _share(layer.size, [wheel.size for wheel in inside]), strict=True):
            own[wheel.name] += share
        if len(inside) > 1:
            estimated |= {wheel.name for wheel in inside}
    return own, estimated, rest


def _share(size: int, weights: Sequence[int]) -> list[int]:
    """Whole bytes in proportion to `weights`; their sum is `size`."""
    total = sum(weights) or len(weights)
    shares, before, weight_so_far = [], 0, 0
    for weight in weights:
        weight_so_far += weight if sum(weights) else 1
        upto = size * weight_so_far // total
        shares.append(upto - before)
        before = upto
    return shares


def _wheel_cause(
    wheel: LockedWheel, wheels: Mapping[str, LockedWheel], own: Mapping[str, int], estimated: set[str], seen: set[str]
) -> Cause:
    if wheel.name in seen:
        return Cause(name=_title(wheel), size=0, counted_above=True)
    seen.add(wheel.name)
    required = [wheels[name] for name in sorted(wheel.requires) if name in wheels]
    return Cause(
        name=_title(wheel),
        size=own[wheel.name],
        estimated=wheel.name in estimated,
        children=tuple(_wheel_cause(other, wheels, own, estimated, seen) for other in required),
    )


def _layer_cause(layer: BuiltLayer) -> Cause:
    members = layer.members if len(layer.members) > 1 else ()
    name = layer.cause if layer.kind is not LayerKind.BYTECODE else layer.name
    return Cause(name=name, size=layer.size, children=tuple(Cause(name=member, size=None) for member in members))


def _title(wheel: LockedWheel) -> str:
    return f"{wheel.name} {wheel.version}"
