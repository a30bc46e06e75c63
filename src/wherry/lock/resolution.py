"""Resolves a declaration to a whole lock: per platform the base, then the wheels that fit it, then the layers.

The base is somebody else's to lock and comes in as a function. Platforms are resolved in parallel. A former lock that
answers the same declaration is the answer, unless an upgrade is asked for; else what it pins stays where it can.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.utils import canonicalize_name

from wherry.errors import LockError
from wherry.lock.built_wheels import Yard, lock_built_wheels
from wherry.lock.plan import plan_layers
from wherry.lock.target import WheelTarget
from wherry.lock.wheels import LockOptions, lock_wheels
from wherry.model.declaration import Bytecode, Declaration
from wherry.model.digest import Digest
from wherry.model.lock import Lock, LockedBase, LockedBuild, LockedDeb, LockedInterpreter, LockedWheel, PlatformLock
from wherry.model.platform import Platform
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
OpenYard = Callable[[Platform, BaseLock], Yard]


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
) -> Lock:
    """Lock every platform of the declaration, whose digest is `digest`. `lock_base` may be called from several threads.

    `open_yard` gives the place to build in where the declaration allows builds. `stale` says that a folder has changed which
    something was built from.
    """
    if former is not None and not upgrade and not upgrade_packages and not stale and is_answered(declaration, digest, former):
        return former
    if declaration.environment.kind.is_conda:
        raise LockError("conda environments are read, but not locked yet", where=declaration.environment.files[0])
    options = LockOptions(
        upgrade=upgrade, upgrade_packages=frozenset(canonicalize_name(name) for name in upgrade_packages), offline=offline
    )
    sources = PackageSources(declaration.root, declaration.environment.indexes, environment, cache, offline=offline)
    platforms = sorted(set(declaration.platforms))

    fresh = stale or upgrade or bool(upgrade_packages) or former is None or former.declaration != digest

    def resolve(platform: Platform) -> PlatformLock:
        own = _find_platform(former, platform)
        if own is not None and not fresh:
            return own
        base = lock_base(platform, own)
        yard = open_yard(platform, base) if open_yard is not None and declaration.allow_build else None
        return _resolve_platform(declaration, platform, base, own or _any_platform(former), own, sources, options, yard)

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


def glibc_of(debs: Sequence[LockedDeb]) -> tuple[int, int] | None:
    """The glibc that Debian packages bring, from libc6's version."""
    for deb in debs:
        match = _GLIBC.match(deb.version) if deb.name == "libc6" else None
        if match is not None:
            return int(match[1]), int(match[2])
    return None


def _resolve_platform(
    declaration: Declaration,
    platform: Platform,
    base: BaseLock,
    keep: PlatformLock | None,
    former: PlatformLock | None,
    sources: PackageSources,
    options: LockOptions,
    yard: Yard | None,
) -> PlatformLock:
    """`keep` is where versions are kept from, maybe another platform's lock; `former` is this platform's own."""
    target = WheelTarget(platform=platform, glibc=base.glibc, python=base.interpreter.version)
    builds: tuple[LockedBuild, ...] = ()
    if yard is None:
        wheels = lock_wheels(declaration, target, sources, keep=keep, options=options)
    else:
        wheels, builds = lock_built_wheels(declaration, target, sources, keep=keep, options=options, yard=yard)
    return replan(
        PlatformLock(
            platform=platform,
            base=base.base,
            interpreter=base.interpreter,
            debs=base.debs,
            wheels=wheels,
            layers=(),
            builds=builds,
        ),
        declaration.bytecode,
        models=len(declaration.models),
        former=former,
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
        packages: tuple[LockedWheel | LockedDeb, ...] = (*platform.wheels, *platform.debs)
        everything.update(package.name for package in packages)
    unknown = sorted(name for name in names if canonicalize_name(name) not in everything and name not in everything)
    if unknown:
        raise LockError(f"nothing named {unknown[0]} is locked", where="--upgrade-package", hint="a name that wherry.lock has")
