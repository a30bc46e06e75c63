"""Measures a root: which bytes lie in which layer, and what brought each of them. Pure.

A file belongs to the package whose list names it (dpkg's, conda's, a wheel's RECORD), else to what its layer holds by the image's
own history, else to the project, to Python or to the system, by its place. Bytecode belongs to what its source belongs to.
With the lock's edges a package is told under the requirement that asked for it, and which others need it too.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from packaging.utils import canonicalize_name

from wherry.check.facts import FILE, Entry, Facts
from wherry.check.places import is_own
from wherry.check.python import Site
from wherry.check.size_savings import HIDDEN, TESTS, classify_unneeded
from wherry.check.tree import Tree
from wherry.model.image import BuiltLayer
from wherry.model.lock import LayerKind, PlatformLock
from wherry.model.sizes import LayerSize, OwnerKind, OwnerSize, SavedPart, Saving, Sizes
from wherry.store.causes import describes_image, share_size

_BYTECODE = re.compile(r"(.*)__pycache__/([^/]+)\.[^./]+-\d+(?:\.opt-\d)?\.pyc")
_STANDARD = re.compile(r"(?:.*/)?(?:lib(?:64)?/python(3\.\d+)t?/|bin/python(3\.\d+)?|lib/libpython(3\.\d+))")
_SITE = re.compile(r"(?:.*/)?lib(?:64)?/python[^/]+/(?:site|dist)-packages/")
_DPKG = re.compile(r"var/lib/dpkg/(?:info|status\.d)/([^/:]+)(?::[^/]+)?\.md5sums")
_META = re.compile(r"((?:.*/)?)conda-meta/([^/]+)-([^-/]+)-[^-/]+\.json")
_OF_LAYER = {
    LayerKind.BASE: OwnerKind.SYSTEM,
    LayerKind.INTERPRETER: OwnerKind.PYTHON,
    LayerKind.RECORD: OwnerKind.RECORD,
    LayerKind.RECORDS: OwnerKind.RECORD,
    LayerKind.WHEEL: OwnerKind.WHEEL,
    LayerKind.WHEELS: OwnerKind.WHEEL,
    LayerKind.BYTECODE: OwnerKind.PYTHON,
    LayerKind.CODE: OwnerKind.CODE,
    LayerKind.MODEL: OwnerKind.MODEL,
}
_GROUPS = {
    OwnerKind.DEBIAN: "Debian packages",
    OwnerKind.PYTHON: "Python",
    OwnerKind.SYSTEM: "the base system",
    OwnerKind.CODE: "the project's own files",
    OwnerKind.MODEL: "models",
}
_Owner = tuple[OwnerKind, str]


@dataclass(slots=True)
class _Sum:
    files: int = 0
    content: int = 0
    stored: int = 0

    def add(self, files: int, content: int, stored: int = 0) -> None:
        self.files += files
        self.content += content
        self.stored += stored


_Sums = defaultdict[tuple[str, str], _Sum]


def measure_sizes(
    tree: Tree,
    layers: Sequence[tuple[Facts, BuiltLayer | None]],
    sites: Sequence[Site],
    locked: PlatformLock | None = None,
) -> Sizes:
    """The sizes of a root; each of `layers` with what its image says of it, None for a folder."""
    finder = _Finder(tree, [facts for facts, _ in layers], sites)
    owners: _Sums = defaultdict(_Sum)
    unneeded: _Sums = defaultdict(_Sum)
    told = []
    for facts, layer in layers:
        mine, spare = _tally(facts, layer, finder)
        for whole, part in ((owners, mine), (unneeded, spare)):
            for key, one in part.items():
                whole[key].add(one.files, one.content, one.stored)
        if layer:
            told.append(_describe_layer(layer, mine.values()))
    return Sizes(
        layers=tuple(told),
        owners=_describe_owners(owners, _find_askers([layer for _, layer in layers if layer], locked)),
        savings=_describe_savings(unneeded),
    )


def _tally(facts: Facts, layer: BuiltLayer | None, finder: _Finder) -> tuple[_Sums, _Sums]:
    """One layer: by owner (its kind and name), and what could go by its kind and the owner's name."""
    mine: _Sums = defaultdict(_Sum)
    spare: _Sums = defaultdict(_Sum)
    for entry in facts.entries:
        if entry.kind == FILE:
            owner, name = finder.find(entry, layer)
            mine[owner.value, name].add(1, entry.size)
            kind = HIDDEN if owner is OwnerKind.HIDDEN else classify_unneeded(entry.path)
            if kind and not (kind == TESTS and finder.needs_tests(entry.path)):
                spare[kind, name].add(1, entry.size)
    if layer:
        content = sum(one.content for one in mine.values())
        for one, share in zip(mine.values(), share_size(layer.size, [each.content for each in mine.values()]), strict=True):
            one.stored = share
        for one in spare.values():
            one.stored = layer.size * one.content // (content or 1)
    return mine, spare


def _describe_owners(owners: Mapping[tuple[str, str], _Sum], askers: Mapping[str, tuple[str, ...]]) -> tuple[OwnerSize, ...]:
    found = []
    for (value, name), one in owners.items():
        kind = OwnerKind(value)
        group = _GROUPS.get(kind)
        first, *also = (group,) if group else askers.get(normalise_title(name), (name,))
        found.append(
            OwnerSize(name=name, kind=kind, within=first, files=one.files, content=one.content, stored=one.stored, also=tuple(also))
        )
    return tuple(sorted(found, key=lambda one: (-one.content, one.name)))


def _describe_savings(unneeded: Mapping[tuple[str, str], _Sum]) -> tuple[Saving, ...]:
    kinds: dict[str, list[SavedPart]] = defaultdict(list)
    for (kind, name), one in unneeded.items():
        if one.content:
            kinds[kind].append(SavedPart(owner=name, files=one.files, content=one.content, stored=one.stored))
    found = (
        Saving(kind=kind, parts=tuple(sorted(parts, key=lambda part: (-part.content, part.owner)))) for kind, parts in kinds.items()
    )
    return tuple(sorted(found, key=lambda one: (-one.content, one.kind)))


def _describe_layer(layer: BuiltLayer, parts: Collection[_Sum]) -> LayerSize:
    return LayerSize(
        name=layer.name if layer.kind is not LayerKind.FOREIGN or not layer.members else f"{layer.name}: {layer.cause}",
        kind=layer.kind.value,
        diff_id=layer.diff_id,
        stored=layer.size,
        content=sum(one.content for one in parts),
        files=sum(one.files for one in parts),
    )


def _find_askers(layers: Sequence[BuiltLayer], locked: PlatformLock | None) -> dict[str, tuple[str, ...]]:
    """By package the requirements that need it, itself first where it is one; nothing without the lock of this very image."""
    if locked is None or not describes_image(locked, layers):
        return {}
    needed: dict[str, list[str]] = defaultdict(list)
    for packages in (locked.wheels, locked.records):
        by_name = {package.name: package for package in packages}
        for root in sorted((one for one in packages if one.requested), key=lambda one: one.name):
            reached: dict[str, None] = {}
            waiting = [root.name]
            while waiting:
                name = waiting.pop()
                if name not in reached and name in by_name:
                    reached[name] = None
                    waiting += by_name[name].requires
            for name in reached:
                title = f"{name} {by_name[name].version}"
                needed[title].insert(0 if name == root.name else len(needed[title]), f"{root.name} {root.version}")
    return {normalise_title(title): tuple(roots) for title, roots in needed.items()}


def normalise_title(title: str) -> str:
    """``Big_Pkg 1.0`` as ``big-pkg 1.0``: as locks call it."""
    name, _, version = title.partition(" ")
    return f"{canonicalize_name(name)} {version}"


class _Finder:
    """Says what brought a file."""

    def __init__(self, tree: Tree, layers: Sequence[Facts], sites: Sequence[Site]) -> None:
        self._tree = tree
        self._sites = {site.folder: site for site in sites}
        self._listed: dict[str, _Owner] = {}
        self._own_tests = {folder for facts in layers for folder in facts.own_tests}
        for facts in layers:
            for path, files in facts.lists.items():
                self._add_list(path, files)

    def _add_list(self, path: str, files: Sequence[str]) -> None:
        debian, record = _DPKG.fullmatch(path), _META.fullmatch(path)
        owner, prefix = (OwnerKind.SYSTEM, ""), ""
        if debian:
            owner = (OwnerKind.DEBIAN, debian[1])
        elif record:
            owner, prefix = (OwnerKind.RECORD, f"{record[2]} {record[3]}"), record[1]
        for file in (path, *(f"{prefix}{each.strip().removeprefix('./').lstrip('/')}" for each in files)):
            at = file if file in self._tree.entries else self._tree.resolve(file)
            if at:
                self._listed[at] = owner

    def find(self, entry: Entry, layer: BuiltLayer | None) -> _Owner:
        if self._tree.entries.get(entry.path) is not entry:
            return OwnerKind.HIDDEN, HIDDEN
        compiled = _BYTECODE.fullmatch(entry.path)
        path = f"{compiled[1]}{compiled[2]}.py" if compiled else entry.path
        return self._listed.get(path) or self._find_in_site(path) or _find_by_place(path, layer)

    def needs_tests(self, path: str) -> bool:
        """Whether a file lies among tests that their package imports."""
        return any(path.startswith(folder) for folder in self._own_tests)

    def _find_in_site(self, path: str) -> _Owner | None:
        found = _SITE.match(path)
        site = self._sites.get(found[0][:-1]) if found else None
        owner = site.find_owner(path) if site else None
        return (OwnerKind.WHEEL, str(owner)) if owner else None


def _find_by_place(path: str, layer: BuiltLayer | None) -> _Owner:
    standard = None if _SITE.match(path) else _STANDARD.match(path)
    if layer and layer.kind in (LayerKind.CODE, LayerKind.MODEL):
        return _OF_LAYER[layer.kind], layer.cause
    if standard:
        minor = standard[1] or standard[2] or standard[3]
        return OwnerKind.PYTHON, f"Python {minor}" if minor else "Python"
    if layer and layer.kind is not LayerKind.FOREIGN:
        several = f"{layer.name}: {len(layer.members)} packages"
        return _OF_LAYER[layer.kind], several if len(layer.members) > 1 else layer.cause
    if is_own(path):
        return OwnerKind.CODE, f"/{path.partition('/')[0]}"
    return OwnerKind.SYSTEM, f"/{'/'.join(path.split('/')[:2])}"
