"""Which requirement brought which bytes: an image's layers told as a tree, pure.

With the lock's edges the roots are what the author asked for, and below each stands what it brought. A wheel or a record of
conda's that several brought counts once, below the first of them; elsewhere it is named with `counted_above`. Packages that
share a layer share its stored bytes in proportion to their files' sizes: such a figure is `estimated`. The sum over the tree is
the image.
Without a lock, or with one of another image, the tree is flat: a cause a layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wherry.model.image import BuiltLayer
from wherry.model.lock import LayerKind, LockedRecord, LockedWheel, PlatformLock

_Package = LockedRecord | LockedWheel
_Key = tuple[bool, str]  # whether it is a record, its name: the two worlds may have one name

_OF_RECORDS = (LayerKind.INTERPRETER, LayerKind.RECORD, LayerKind.RECORDS)
_OF_WHEELS = (LayerKind.WHEEL, LayerKind.WHEELS)


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
    """Whether a lock is that of an image: the same wheels and records in the same versions."""
    wheels = {member for layer in layers if layer.kind in _OF_WHEELS for member in layer.members}
    records = {member for layer in layers if layer.kind in _OF_RECORDS[1:] for member in layer.members}
    small = (record for record in locked.records if record.name != "python")
    return wheels == {_title(wheel) for wheel in locked.wheels} and records == {_title(record) for record in small}


def requirement_tree(layers: Sequence[BuiltLayer], locked: PlatformLock | None = None) -> tuple[Cause, ...]:
    """The causes of all layers: first what was asked for, in the order of names, then the rest from the lowest layer up."""
    if locked is None or not describes_image(locked, layers):
        return tuple(_layer_cause(layer) for layer in layers)
    packages: dict[_Key, _Package] = {(True, record.name): record for record in locked.records}
    packages |= {(False, wheel.name): wheel for wheel in locked.wheels}
    own, estimated, rest = _split_bytes(layers, packages)
    seen: set[_Key] = set()
    by_name = sorted(packages, key=lambda key: (key[1], key[0]))
    asked = [key for key in by_name if packages[key].requested]
    roots = [_package_cause(key, packages, own, estimated, seen) for key in asked]
    # Whatever no requested package reaches, such as one that a lock of another tool lists alone.
    roots += [_package_cause(key, packages, own, estimated, seen) for key in by_name if key not in seen]
    return (*roots, *(_layer_cause(layer) for layer in rest))


def _split_bytes(
    layers: Sequence[BuiltLayer], packages: Mapping[_Key, _Package]
) -> tuple[dict[_Key, int], set[_Key], list[BuiltLayer]]:
    """Each package's bytes, those whose bytes are estimated, and the layers that hold no packages of ours."""
    by_title = {(key[0], _title(package)): key for key, package in packages.items()}
    kinds = {layer.name: layer.kind for layer in layers}
    own = dict.fromkeys(packages, 0)
    estimated: set[_Key] = set()
    rest = []
    for layer in layers:
        kind = kinds.get(layer.name.removeprefix("bytecode-"), layer.kind)
        inside = [by_title[kind in _OF_RECORDS, member] for member in layer.members if (kind in _OF_RECORDS, member) in by_title]
        of_packages = layer.kind is LayerKind.BYTECODE or layer.kind in (*_OF_RECORDS, *_OF_WHEELS)
        if not of_packages or not inside or len(inside) != len(layer.members):
            rest.append(layer)
            continue
        for key, share in zip(inside, share_size(layer.size, [packages[key].size for key in inside]), strict=True):
            own[key] += share
        if len(inside) > 1:
            estimated |= set(inside)
    return own, estimated, rest


def share_size(size: int, weights: Sequence[int]) -> list[int]:
    """Whole bytes in proportion to `weights`; their sum is `size`."""
    total = sum(weights) or len(weights)
    shares, before, weight_so_far = [], 0, 0
    for weight in weights:
        weight_so_far += weight if sum(weights) else 1
        upto = size * weight_so_far // total
        shares.append(upto - before)
        before = upto
    return shares


def _package_cause(
    key: _Key, packages: Mapping[_Key, _Package], own: Mapping[_Key, int], estimated: set[_Key], seen: set[_Key]
) -> Cause:
    package = packages[key]
    if key in seen:
        return Cause(name=_title(package), size=0, counted_above=True)
    seen.add(key)
    required = [(key[0], name) for name in sorted(package.requires) if (key[0], name) in packages]
    return Cause(
        name=_title(package),
        size=own[key],
        estimated=key in estimated,
        children=tuple(_package_cause(other, packages, own, estimated, seen) for other in required),
    )


def _layer_cause(layer: BuiltLayer) -> Cause:
    members = layer.members if len(layer.members) > 1 else ()
    name = layer.cause if layer.kind is not LayerKind.BYTECODE else layer.name
    return Cause(name=name, size=layer.size, children=tuple(Cause(name=member, size=None) for member in members))


def _title(package: _Package) -> str:
    return f"{package.name} {package.version}"
