"""Resolves a declaration to a whole lock: per platform the base, conda's records, the wheels that fit them, then the layers.

The base is somebody else's to lock and comes in as a function. Platforms are resolved in parallel. A former lock that
answers the same declaration is the answer, unless an upgrade is asked for; else what it pins stays where it can.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from packaging.utils import canonicalize_name

from wherry.errors import LockError
from wherry.lock.besides import lock_besides
from wherry.lock.built_wheels import Yard, lock_built_wheels, lock_listed_wheels
from wherry.lock.candidates import NOTHING_BUILT
from wherry.lock.conda_environment import CondaEnvironment, open_conda
from wherry.lock.conda_names import list_distributions
from wherry.lock.plan import plan_layers
from wherry.lock.provided import constrain_to_provided, divide_provided, keep_besides, without_provided
from wherry.lock.target import WheelTarget
from wherry.lock.wheels import LockOptions, lock_candidates, lock_wheels
from wherry.model.declaration import Bytecode, Declaration
from wherry.model.digest import Digest
from wherry.model.lock import Lock, LockedBase, LockedBuild, LockedDeb, LockedInterpreter, LockedRecord, LockedWheel, PlatformLock
from wherry.model.platform import Platform
from wherry.model.progress import Progress, be_silent
from wherry.sources.package_sources import PackageSources

_GLIBC = re.compile(r"(?:\d+:)?(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseLock:
    """What lies below the wheels on one platform. `glibc` decides which wheels run there.

    `python` is None where conda's packages bring it, until they are resolved.
    """

    base: LockedBase | None
    python: LockedInterpreter | None
    debs: tuple[LockedDeb, ...]
    glibc: tuple[int, int]

    @property
    def interpreter(self) -> LockedInterpreter:
        """The Python that runs the wheels."""
        if self.python is None:
            raise LockError("there is no Python among conda's packages", where="environment", hint="name python")
        return self.python


LockBase = Callable[[Platform, PlatformLock | None], BaseLock]
LockPython = Callable[[Platform, PlatformLock | None], LockedInterpreter | None]
OpenYard = Callable[[PlatformLock], Yard]


def resolve_lock(
    declaration: Declaration,
    digest: Digest,
    former: Lock | None,
    *,
    upgrade: bool,
    upgrade_packages: frozenset[str],
    offline: bool,
    environment: Mapping[str, str],
    cache: Path,
    lock_base: LockBase,
    open_yard: OpenYard | None = None,
    stale: bool = False,
    refresh_names: bool = False,
    progress: Progress = be_silent,
    say: Callable[[str], None] = lambda _text: None,
) -> Lock:
    """Lock every platform of the declaration, whose digest is `digest`. `lock_base` may be called from several threads.

    `open_yard` gives the place to build in where the declaration allows builds. `stale` says that a folder has changed which
    something was built from. `refresh_names` looks into conda's archives for what they bring of pip's world.
    """
    changes = upgrade or bool(upgrade_packages) or stale or refresh_names
    if former is not None and not changes and is_answered(declaration, digest, former):
        return former
    options = LockOptions(
        upgrade=upgrade,
        upgrade_packages=frozenset(canonicalize_name(name) for name in upgrade_packages),
        offline=offline,
        refresh_names=refresh_names,
    )
    sources = PackageSources(declaration.root, declaration.environment.indexes, environment, cache, offline=offline)
    platforms = sorted(set(declaration.platforms))

    fresh = changes or former is None or former.declaration != digest

    with open_conda(declaration, environment, cache, options, progress) as conda:
        way = _Way(declaration, sources, options, conda, open_yard if declaration.allow_build else None, say)

        def resolve(platform: Platform) -> PlatformLock:
            own = _find_platform(former, platform)
            if own is not None and not fresh:
                return own
            return way.resolve(platform, lock_base(platform, own), own or _any_platform(former), own)

        with ThreadPoolExecutor(max(1, min(4, len(platforms))), thread_name_prefix="lock") as pool:
            locked = tuple(pool.map(resolve, platforms))
    _check_upgraded(upgrade_packages, former, locked)
    return Lock(declaration=digest, platforms=locked)


def is_answered(declaration: Declaration, digest: Digest, lock: Lock) -> bool:
    """Whether the lock answers this declaration as it stands, for its platforms at least."""
    return lock.declaration == digest and {locked.platform for locked in lock.platforms} >= set(declaration.platforms)


def require_answered(declaration: Declaration, digest: Digest, lock: Lock | None) -> Lock:
    """`--locked`: the lock as it is, or a `LockError` because it would have to change."""
    if lock is None:
        raise LockError("there is no lock, and --locked allows none to be made", where="wherry.lock", hint="wherry lock")
    if not is_answered(declaration, digest, lock):
        raise LockError("the lock was made for another declaration", where="wherry.lock", hint="wherry lock")
    return lock


def await_conda(_platform: Platform, _former: PlatformLock | None) -> None:
    """The `LockPython` of an environment of conda's, whose records bring Python once they are resolved."""


def glibc_of(debs: Sequence[LockedDeb]) -> tuple[int, int] | None:
    """The glibc that Debian packages bring, from libc6's version."""
    for deb in debs:
        match = _GLIBC.match(deb.version) if deb.name == "libc6" else None
        if match is not None:
            return int(match[1]), int(match[2])
    return None


@dataclass(frozen=True, slots=True)
class _Way:
    """How every platform of one declaration is resolved."""

    declaration: Declaration
    sources: PackageSources
    options: LockOptions
    conda: CondaEnvironment | None
    open_yard: OpenYard | None
    say: Callable[[str], None]

    def resolve(self, platform: Platform, base: BaseLock, keep: PlatformLock | None, former: PlatformLock | None) -> PlatformLock:
        """`keep` is where versions are kept from, maybe another platform's lock; `former` is this platform's own."""
        records: tuple[LockedRecord, ...] = ()
        if self.conda is not None:
            records, python = self.conda.lock_records(platform, base.glibc, keep)
            base = replace(base, python=python)
        target = WheelTarget(platform=platform, glibc=base.glibc, python=base.interpreter.version)
        wheels, builds = self._lock_wheels(target, base, records, keep)
        wheels = lock_besides(self.declaration, wheels, records, target, self.sources, keep=keep, options=self.options)
        return replan(
            PlatformLock(
                platform=platform,
                base=base.base,
                interpreter=base.interpreter,
                debs=base.debs,
                wheels=wheels,
                layers=(),
                records=records,
                builds=builds,
            ),
            self.declaration.bytecode,
            models=len(self.declaration.models),
            former=former,
        )

    def _lock_wheels(
        self, target: WheelTarget, base: BaseLock, records: tuple[LockedRecord, ...], keep: PlatformLock | None
    ) -> tuple[tuple[LockedWheel, ...], tuple[LockedBuild, ...]]:
        yard = self.open_yard(_below_wheels(target.platform, base, records)) if self.open_yard is not None else None
        if self.conda is not None and self.conda.names_wheels:
            choose = partial(self.conda.foreign_wheels, target)
            if yard is None:
                return lock_candidates(choose(NOTHING_BUILT), keep, self.sources), ()
            return lock_listed_wheels(choose, self.declaration, target, self.sources, keep=keep, options=self.options, yard=yard)
        provided = divide_provided(list_distributions(records), self.declaration.environment.requirements, target)
        for note in provided.replaced:
            self.say(note)
        kept = keep_besides(keep, provided)
        builds: tuple[LockedBuild, ...] = ()
        with constrain_to_provided(self.declaration, provided) as declaration:
            if yard is None:
                wheels = lock_wheels(declaration, target, self.sources, keep=kept, options=self.options)
            else:
                wheels, builds = lock_built_wheels(declaration, target, self.sources, keep=kept, options=self.options, yard=yard)
        wheels = without_provided(wheels, provided)
        names = {wheel.name for wheel in wheels}
        return wheels, tuple(build for build in builds if build.name in names)


def _below_wheels(platform: Platform, base: BaseLock, records: tuple[LockedRecord, ...]) -> PlatformLock:
    return PlatformLock(
        platform=platform,
        base=base.base,
        interpreter=base.interpreter,
        debs=base.debs,
        wheels=(),
        layers=(),
        records=records,
    )


def replan(locked: PlatformLock, bytecode: Bytecode, *, models: int, former: PlatformLock | None) -> PlatformLock:
    """The platform with its layers planned anew."""
    layers = plan_layers(
        locked.debs,
        locked.interpreter,
        locked.wheels,
        bytecode,
        records=locked.records,
        former=former,
        unlocked_layers=1 + models,
    )
    return replace(locked, layers=layers)


def _find_platform(lock: Lock | None, platform: Platform) -> PlatformLock | None:
    return next((locked for locked in lock.platforms if locked.platform == platform), None) if lock is not None else None


def _any_platform(lock: Lock | None) -> PlatformLock | None:
    """For a platform that is new: it starts from the versions that the others have."""
    return lock.platforms[0] if lock is not None and lock.platforms else None


def _check_upgraded(names: frozenset[str], former: Lock | None, locked: Sequence[PlatformLock]) -> None:
    """A name that is nowhere is a typing error, not a wish that is granted."""
    everything: set[str] = set()
    for platform in (*locked, *(former.platforms if former is not None else ())):
        packages: tuple[LockedWheel | LockedRecord | LockedDeb, ...] = (*platform.wheels, *platform.records, *platform.debs)
        everything.update(package.name for package in packages)
        if platform.interpreter.archive is not None:
            everything.add("python")
    everything |= {canonicalize_name(name) for name in everything}
    unknown = sorted(name for name in names if canonicalize_name(name) not in everything and name not in everything)
    if unknown:
        raise LockError(f"nothing named {unknown[0]} is locked", where="--upgrade-package", hint="a name that wherry.lock has")
