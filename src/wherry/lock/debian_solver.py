"""Chooses Debian packages: the closure of Depends and Pre-Depends over one index, and nothing else.

Pure: the same index, wishes and preferences give the same choice. Rules: of a name, a kept version before the highest;
of alternatives, one that is chosen already before the first that can be had; of providers, apt's order (priority, then
name). Recommends are not followed, Essential packages are not added unasked, what only maintainer scripts need
(`SCRIPT_ONLY`) is not followed either. When a later dependency wants another version of something chosen, the wish is
noted and the whole choice made anew. Refused: what cannot be had, and chosen packages that conflict.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from wherry.errors import LockError
from wherry.formats.debian_index import BinaryPackage, PackageIndex, Relation
from wherry.formats.debian_version import version_key
from wherry.formats.maintainer_script import INSTALLERS

# Asked for by maintainer scripts alone, which never run here. Whoever wants one names it as a system package.
SCRIPT_ONLY = frozenset(
    {
        "adduser",
        "cdebconf",
        "debconf",
        "debconf-2.0",
        "dpkg",
        "init-system-helpers",
        "install-info",
        "lsb-base",
        "sysvinit-utils",
        "ucf",
    }
)
# Package → what only its own scripts use.
SCRIPT_ONLY_OF: Mapping[str, frozenset[str]] = {
    "base-files": frozenset({"awk"}),
    "ca-certificates": frozenset({"openssl"}),
}
_PRIORITIES = ("required", "important", "standard", "optional", "extra")
_ROUNDS = 200

Wish = tuple[Relation, ...]


class _Again(Exception):
    """A new wish makes a former choice wrong."""


def solve_packages(
    index: PackageIndex,
    wishes: Iterable[Wish],
    *,
    keep: Mapping[str, str] | None = None,
    installed: Mapping[str, BinaryPackage] | None = None,
) -> tuple[BinaryPackage, ...]:
    """The packages to add, by name. `keep` is name → version to prefer; `installed` are there already.

    A wish that cannot be met is a `LockError` that names the way it came.
    """
    wanted = tuple(wishes)
    noted: dict[str, set[Relation]] = {}
    for _ in range(_ROUNDS):
        round_ = _Round(index, keep or {}, installed or {}, noted)
        try:
            for wish in wanted:
                round_.meet(wish, ())
        except _Again:
            continue
        round_.check_conflicts()
        return tuple(package for name, package in sorted(round_.chosen.items()) if (installed or {}).get(name) is not package)
    raise LockError("the system packages cannot be brought together", where="system-packages")


class _Round:
    def __init__(
        self,
        index: PackageIndex,
        keep: Mapping[str, str],
        installed: Mapping[str, BinaryPackage],
        noted: dict[str, set[Relation]],
    ) -> None:
        self._index = index
        self._keep = keep
        self._noted = noted
        self._candidates: dict[str, tuple[BinaryPackage, ...]] = {}
        self.chosen: dict[str, BinaryPackage] = {
            name: package for name, package in installed.items() if all(satisfies(package, wish) for wish in noted.get(name, ()))
        }
        self._provided: dict[str, list[BinaryPackage]] = {}
        for package in self.chosen.values():
            self._note_provides(package)

    def meet(self, wish: Wish, path: tuple[str, ...]) -> None:
        """Choose what one group of alternatives wants, and what that wants in turn."""
        todo = [(wish, path)]
        while todo:
            alternatives, way = todo.pop()
            if any(self._is_met(relation) for relation in alternatives):
                continue
            package = self._pick(alternatives, way)
            self.chosen[package.name] = package
            self._note_provides(package)
            skipped = SCRIPT_ONLY | SCRIPT_ONLY_OF.get(package.name, frozenset())
            below = [
                (group, (*way, package.name))
                for group in package.depends
                if not any(relation.name in skipped for relation in group)
            ]
            todo += reversed(below)

    def _is_met(self, relation: Relation) -> bool:
        package = self.chosen.get(relation.name)
        if package is not None and satisfies(package, relation):
            return True
        return any(provides(provider, relation) for provider in self._provided.get(relation.name, ()))

    def _pick(self, alternatives: Wish, way: tuple[str, ...]) -> BinaryPackage:
        for relation in alternatives:
            for package in self._choices(relation):
                if relation.name in self.chosen and package.name == relation.name:
                    self._noted.setdefault(relation.name, set()).add(relation)
                    raise _Again
                if not self._clashes(package):
                    return package
        raise _refusal(self._index, alternatives, way, self._noted)

    def _choices(self, relation: Relation) -> list[BinaryPackage]:
        real = [package for package in self._sorted(relation.name) if satisfies(package, relation)]
        if real:
            return real
        found = [
            next((package for package in self._sorted(name) if provides(package, relation)), None)
            for name in self._index.providers(relation.name)
            if name not in self.chosen
        ]
        return sorted((package for package in found if package is not None), key=_apt_order)

    def _sorted(self, name: str) -> tuple[BinaryPackage, ...]:
        if name not in self._candidates:
            noted = self._noted.get(name, set())
            found = [p for p in self._index.candidates(name) if all(satisfies(p, wish) for wish in noted)]
            found.sort(key=lambda package: version_key(package.version), reverse=True)
            found.sort(key=lambda package: package.version != self._keep.get(name))
            self._candidates[name] = tuple(found)
        return self._candidates[name]

    def _note_provides(self, package: BinaryPackage) -> None:
        for relation in package.provides:
            self._provided.setdefault(relation.name, []).append(package)

    def _clashes(self, package: BinaryPackage) -> bool:
        return any(conflict(package, other) for other in self.chosen.values())

    def check_conflicts(self) -> None:
        packages = sorted(self.chosen.values(), key=lambda package: package.name)
        for package in packages:
            for relation in package.conflicts:
                other = self.chosen.get(relation.name)
                if other is not None and other is not package and satisfies(other, relation):
                    raise LockError(
                        f"{package.name} {package.version} does not go together with {other.name} {other.version}",
                        where="system-packages",
                        hint="leave one of the two out",
                    )


def conflict(one: BinaryPackage, other: BinaryPackage) -> bool:
    """Whether either of two packages names the other as a conflict."""
    return any(
        (satisfies(right, relation) or provides(right, relation))
        for left, right in ((one, other), (other, one))
        if left.name != right.name
        for relation in left.conflicts
    )


def satisfies(package: BinaryPackage, relation: Relation) -> bool:
    """Whether the package itself is what the relation asks for."""
    if package.name != relation.name:
        return False
    return _compare(package.version, relation.operator, relation.version)


def provides(package: BinaryPackage, relation: Relation) -> bool:
    """Whether a Provides field meets the relation; an unversioned one meets no version (policy 7.5)."""
    return any(
        virtual.name == relation.name
        and (not relation.operator or (virtual.operator == "=" and _compare(virtual.version, relation.operator, relation.version)))
        for virtual in package.provides
    )


def _compare(version: str, operator: str, bound: str) -> bool:
    if not operator:
        return True
    left, right = version_key(version), version_key(bound)
    return {"<<": left < right, "<=": left <= right, "=": left == right, ">=": left >= right, ">>": left > right}[operator]


def _apt_order(package: BinaryPackage) -> tuple[int, str]:
    known = package.priority in _PRIORITIES
    return (_PRIORITIES.index(package.priority) if known else len(_PRIORITIES), package.name)


def _refusal(index: PackageIndex, alternatives: Wish, way: Iterable[str], noted: Mapping[str, set[Relation]]) -> LockError:
    wish = " | ".join(map(str, alternatives))
    where = " → ".join(("system-packages", *way))
    others = sorted({str(other) for relation in alternatives for other in noted.get(relation.name, ())} - {wish})
    if others:
        return LockError(f"{wish} does not go together with {', '.join(others)}, which others ask for", where=where)
    have = sorted({package.version for relation in alternatives for package in index.candidates(relation.name)})
    if have:
        return LockError(f"{wish} cannot be had: the archive has {', '.join(have)}", where=where)
    hint = next((INSTALLERS[relation.name] for relation in alternatives if relation.name in INSTALLERS), None)
    if hint:
        reason = "it is in contrib, and holds nothing but a script that asks a question and downloads; none runs here"
        return LockError(f"{wish} cannot be had: {reason}", where=where, hint=hint)
    return LockError(f"there is no package {wish} in this release's main component", where=where, hint="check the name")
