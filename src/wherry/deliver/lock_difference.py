"""What changed between two locks, per platform, and about how many bytes that moves.

Pure. A lock knows the sizes of the files that it names (wheels, conda's records, Debian packages), not of the layers made from
them: sizes here are sums of those files, an estimate. A changed layer moves as a whole, so all its members count. Bytecode has
no file and is left out; `diff_images` of the built images is exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from wherry.deliver.changes import PACKAGES, Cause, Change, compare_versions, join_changes, merge_causes, versions_of
from wherry.model.digest import Digest
from wherry.model.lock import LayerKind, Lock, LockedDeb, LockedLayer, LockedRecord, LockedWheel, PlatformLock
from wherry.model.platform import Platform

_PYTHON = "python"
_MANAGED = "cpython"  # the one member of a managed Python's layer


@dataclass(frozen=True, slots=True, kw_only=True)
class LockDifference:
    """One platform. `base_present` and `target_present` tell whether the lock at that end has the platform at all."""

    platform: Platform
    base_present: bool
    target_present: bool
    changes: tuple[Change, ...] = ()
    causes: tuple[Cause, ...] = ()

    @property
    def is_empty(self) -> bool:
        return self.base_present == self.target_present and not self.changes and not self.causes

    @property
    def estimated_size(self) -> int:
        return sum(cause.size for cause in self.causes)


def diff_locks(base: Lock, target: Lock) -> tuple[LockDifference, ...]:
    """One difference for each platform of either lock, in the target's order, then what only the base has."""
    before = {locked.platform: locked for locked in base.platforms}
    after = {locked.platform: locked for locked in target.platforms}
    return tuple(_diff_platform(platform, before.get(platform), after.get(platform)) for platform in {**after, **before})


def _diff_platform(platform: Platform, base: PlatformLock | None, target: PlatformLock | None) -> LockDifference:
    if base is None or target is None:
        return LockDifference(platform=platform, base_present=base is not None, target_present=target is not None)
    before, after = _versions(base, target), _versions(target, base)
    changes = compare_versions(before, after)
    causes = (_attribute(changes, target, layer) for layer in _find_moved(base, target))
    return LockDifference(platform=platform, base_present=True, target_present=True, changes=changes, causes=merge_causes(causes))


def _versions(locked: PlatformLock, other: PlatformLock) -> dict[str, str]:
    """Of each package; with its build for a record of conda's that was only built anew."""
    there = {(record.name, record.version): record.build for record in other.records}
    named = {deb.name: deb.version for deb in locked.debs}
    for record in locked.records:
        rebuilt = there.get((record.name, record.version), record.build) != record.build
        named[record.name] = f"{record.version} {record.build}" if rebuilt else record.version
    named |= {wheel.name: wheel.version for wheel in locked.wheels}
    if locked.base is not None:
        named["base image"] = str(locked.base.manifest)[:19]
    return named | {_PYTHON: locked.interpreter.version}


def _find_moved(base: PlatformLock, target: PlatformLock) -> Iterator[LockedLayer]:
    """Layers are told apart by diff_id where both locks have them, else by the files that they are made of."""
    built = {layer.diff_id for layer in base.layers}
    before, files = _contents(base), _files(target)
    for layer in target.layers:
        if layer.diff_id is not None and (layer.diff_id in built or None not in built):
            held = layer.diff_id in built
        else:
            held = _content(target, files, layer) in before
        if not held:
            yield layer


def _contents(locked: PlatformLock) -> set[tuple[str, ...]]:
    files = _files(locked)
    return {_content(locked, files, layer) for layer in locked.layers}


def _content(locked: PlatformLock, files: Mapping[str, tuple[Digest, int]], layer: LockedLayer) -> tuple[str, ...]:
    """What a layer is made of: its kind and its members' files; bytecode is made by one interpreter."""
    made_by = locked.interpreter.version if layer.kind is LayerKind.BYTECODE else ""
    made_of = sorted(files[member][0].hex if member in files else member for member in layer.members)
    return (layer.kind.value, made_by, *made_of)


def _files(locked: PlatformLock) -> dict[str, tuple[Digest, int]]:
    """Digest and size of each member's file, by ``name version``."""
    packages: tuple[LockedDeb | LockedRecord | LockedWheel, ...] = (*locked.debs, *locked.records, *locked.wheels)
    found = {f"{package.name} {package.version}": (package.sha256, package.size) for package in packages}
    if (archive := locked.interpreter.archive) is not None:
        found[f"{_MANAGED} {locked.interpreter.version}"] = (archive.sha256, archive.size)
    return found


def _attribute(changes: tuple[Change, ...], target: PlatformLock, layer: LockedLayer) -> Cause:
    mine = versions_of(layer.members)
    bytecode = layer.kind is LayerKind.BYTECODE
    runs_python = bytecode or _MANAGED in mine
    own = tuple(change for change in changes if change.name in mine or (runs_python and change.name == _PYTHON))
    if bytecode:
        text = f"bytecode of {join_changes(own)}" if own else "bytecode"
    else:
        text = join_changes(own) or f"{layer.name}: the same packages, from other files or laid out otherwise"
    files = _files(target) if layer.kind in PACKAGES else {}
    size = sum(files[member][1] for member in layer.members if member in files)
    return Cause(text=text, size=size, kind=layer.kind, layers=(layer.name,), changes=own)
