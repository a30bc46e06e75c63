"""The two kinds of base behind one face: what each stage needs to know of what lies below the wheels.

A base of Debian packages is locked and assembled; one given by reference is pinned and carried along as it is.
"""

from __future__ import annotations

import platform as host_platform
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from wherry.assemble.build import Inputs
from wherry.assemble.inputs import FetchedInputs, HostPython
from wherry.assemble.recipe import PlatformRecipe
from wherry.errors import DeclarationError, LockError
from wherry.lock.bases import DebianBases
from wherry.lock.resolution import BaseLock
from wherry.model.declaration import DebianBase, Declaration
from wherry.model.image import BuiltLayer
from wherry.model.lock import Lock, LockedDeb, LockedInterpreter, PlatformLock
from wherry.model.platform import Platform
from wherry.model.progress import Progress
from wherry.sources.artefacts import ArtefactFinder
from wherry.sources.debian import DebianArchive, open_archive


class Bases(Protocol):
    """One declaration's base, on every platform."""

    def lock_base(self, platform: Platform, former: PlatformLock | None) -> BaseLock:
        """Lock what lies below the wheels."""
        ...

    def inputs(self, locked: PlatformLock, lock: Lock, finder: ArtefactFinder) -> Inputs:
        """Where the locked files of a platform come from."""
        ...

    def recipe(self, locked: PlatformLock, layers: tuple[BuiltLayer, ...]) -> PlatformRecipe:
        """The platform's layers, the base's own included."""
        ...


@contextmanager
def open_bases(
    declared: Declaration,
    env: Mapping[str, str],
    cache: Path,
    upgrade: bool | Collection[str],
    offline: bool,
    progress: Progress,
) -> Iterator[Bases]:
    """The base that is declared, with connections that close at the end."""
    if not isinstance(declared.base, DebianBase):
        raise DeclarationError("bases given by reference are not built yet", where="base")
    archive = open_archive(env, cache, mirror=declared.debian_mirror, offline=offline, progress=progress)
    if archive is None:
        raise LockError(
            "this machine has no apt configuration for Debian",
            where="base",
            hint='[debian] mirror = "…" in wherry.toml, or a base given by reference',
        )
    with archive:
        yield DebianSide(declared, declared.base, archive, cache, upgrade)


class DebianSide:
    """A base of Debian packages."""

    def __init__(
        self, declared: Declaration, base: DebianBase, archive: DebianArchive, cache: Path, upgrade: bool | Collection[str]
    ) -> None:
        self._suite = base.suite
        self._archive = archive
        self._cache = cache
        self._bases = DebianBases(declared, base, archive, upgrade)

    def lock_base(self, platform: Platform, former: PlatformLock | None) -> BaseLock:
        return self._bases(platform, former)

    def inputs(self, locked: PlatformLock, lock: Lock, finder: ArtefactFinder) -> Inputs:
        host = Platform.parse(host_platform.machine())
        on_host = next((one for one in lock.platforms if one.platform == host), None)

        def find_packages() -> tuple[tuple[LockedDeb, ...], LockedInterpreter]:
            return self._bases.lock_packages(host, ())

        python = HostPython(platform=host, locked=on_host, find_packages=find_packages)
        return FetchedInputs(locked, finder, self._archive, self._suite, self._cache, python)

    def recipe(self, locked: PlatformLock, layers: tuple[BuiltLayer, ...]) -> PlatformRecipe:
        return PlatformRecipe(platform=locked.platform, layers=layers)
