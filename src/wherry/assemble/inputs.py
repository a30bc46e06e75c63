"""Fetches what a lock names, when it is needed: wheels from the Python indexes, packages from the Debian archive."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wherry.assemble.bytecode import HostInterpreter
from wherry.assemble.interpreter import unpack_interpreter
from wherry.assemble.layer_search import FindLayer
from wherry.assemble.layers import LayerBlob
from wherry.errors import LockError, StoreError
from wherry.model.digest import DiffId
from wherry.model.lock import LockedDeb, LockedInterpreter, LockedWheel, PlatformLock
from wherry.model.platform import Platform
from wherry.sources.artefacts import ArtefactFinder
from wherry.sources.debian import DebianArchive


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPython:
    """What this host can compile with: the lock of its own platform, else `find_packages`, asked when it is needed,
    gives the packages of the same Python for this host."""

    platform: Platform
    locked: PlatformLock | None
    find_packages: Callable[[], tuple[tuple[LockedDeb, ...], LockedInterpreter]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagedSource:
    """A managed Python: the locked archive, and the same version made to run on this host. Both may fetch."""

    archive: Callable[[], Path]
    interpreter: Callable[[], HostInterpreter]


class FetchedInputs:
    """The `Inputs` of one platform. `archive` is None where nothing of the lock comes from Debian."""

    def __init__(
        self,
        locked: PlatformLock,
        finder: ArtefactFinder,
        archive: DebianArchive | None,
        suite: str,
        cache: Path,
        host: HostPython,
        find_layer: FindLayer,
        managed: ManagedSource | None = None,
    ) -> None:
        self._locked = locked
        self._finder = finder
        self._find_layer = find_layer
        self._managed = managed
        self._archive = archive
        self._suite = suite
        self._cache = cache
        self._host = host

    def find_layer(self, diff_id: DiffId) -> LayerBlob | None:
        return self._find_layer(diff_id, self._locked.platform)

    def wheels(self, wheels: Sequence[LockedWheel]) -> Mapping[str, Path]:
        return fetch_wheels(self._finder, wheels)

    def debs(self, debs: Sequence[LockedDeb]) -> Sequence[tuple[LockedDeb, Path]]:
        return self._fetch(debs, self._locked.platform)

    def _fetch(self, debs: Sequence[LockedDeb], platform: Platform) -> Sequence[tuple[LockedDeb, Path]]:
        if not debs:
            return ()
        if self._archive is None:
            raise LockError(
                "the lock names Debian packages, and this machine has no apt configuration",
                where="wherry.lock",
                hint='[debian] mirror = "…" in wherry.toml, or a base given by reference',
            )
        return self._archive.fetch_all(debs, suite=self._suite, platform=platform)

    def interpreter(self) -> HostInterpreter:
        """The image's interpreter for this host; its packages are those of the lock where it has this host's platform."""
        if self._managed is not None:
            return self._managed.interpreter()
        wanted = self._locked.interpreter
        on_host = self._host.locked
        if on_host is not None and on_host.interpreter == wanted:
            debs, found = on_host.debs, on_host.interpreter
        else:
            debs, found = self._host.find_packages()
        if found.version != wanted.version:
            raise StoreError(
                f"bytecode needs Python {wanted.version}, and for this host there is {found.version}",
                where=f"wherry.lock: {self._locked.platform}",
                hint="wherry lock --upgrade, or layers-from = [an image that was built where this Python is]",
            )
        return unpack_interpreter(wanted, debs, lambda packages: self._fetch(packages, self._host.platform), self._cache)

    def managed_python(self) -> Path:
        return _archive_of(self._managed)


class ReferenceInputs:
    """The `Inputs` of a platform whose base is given by reference."""

    def __init__(
        self,
        locked: PlatformLock,
        finder: ArtefactFinder,
        interpreter: Callable[[], HostInterpreter],
        fetch_debs: Callable[[], Sequence[tuple[LockedDeb, Path]]],
        find_layer: FindLayer,
        managed: ManagedSource | None = None,
    ) -> None:
        self._locked = locked
        self._finder = finder
        self._managed = managed
        self._interpreter = managed.interpreter if managed is not None else interpreter
        self._fetch_debs = fetch_debs
        self._find_layer = find_layer

    def find_layer(self, diff_id: DiffId) -> LayerBlob | None:
        return self._find_layer(diff_id, self._locked.platform)

    def wheels(self, wheels: Sequence[LockedWheel]) -> Mapping[str, Path]:
        return fetch_wheels(self._finder, wheels)

    def debs(self, _debs: Sequence[LockedDeb]) -> Sequence[tuple[LockedDeb, Path]]:
        return self._fetch_debs()

    def interpreter(self) -> HostInterpreter:
        return self._interpreter()

    def managed_python(self) -> Path:
        return _archive_of(self._managed)


def _archive_of(managed: ManagedSource | None) -> Path:
    if managed is None:
        raise LockError("the lock has a managed Python, and the declaration has not", where="wherry.lock", hint="wherry lock")
    return managed.archive()


def fetch_wheels(finder: ArtefactFinder, wheels: Sequence[LockedWheel]) -> Mapping[str, Path]:
    """The wheels' files by name."""
    return {wheel.name: path for wheel, path in zip(wheels, finder.fetch_all(wheels), strict=True)}
