"""A managed Python in all its parts: locked, in the image's layer, run on this host for bytecode, and in environments here."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from wherry.assemble.bytecode import HostInterpreter
from wherry.assemble.inputs import ManagedSource
from wherry.assemble.managed_python import unpack_managed
from wherry.lock.managed_python import ManagedPythons
from wherry.model.declaration import Declaration, InterpreterSource
from wherry.model.lock import Lock, LockedInterpreter, PlatformLock
from wherry.model.platform import Platform
from wherry.model.progress import Progress
from wherry.sources.package_sources import PackageSources
from wherry.sources.uv_pythons import UvPythons
from wherry.store.host import read_host_platform


class ManagedPython:
    """The managed Python of one declaration. `lock_python` is how the lock stage asks for it."""

    def __init__(self, pythons: UvPythons, minor: str, upgrade: bool | Collection[str], cache: Path) -> None:
        self._pythons = pythons
        self._cache = cache
        self.lock_python = ManagedPythons(pythons, minor, upgrade)

    def source(self, locked: PlatformLock, lock: Lock) -> ManagedSource:
        """What a build of this platform takes."""
        return ManagedSource(
            archive=lambda: self._fetch(locked.interpreter, locked.platform),
            interpreter=lambda: self.unpack(locked.interpreter, lock),
        )

    def unpack(self, wanted: LockedInterpreter, lock: Lock) -> HostInterpreter:
        """The host's variant of the same version: the lock's own where it has this platform, else the one that uv has."""
        host = read_host_platform()
        known = (one.interpreter for one in lock.platforms if one.platform == host and one.interpreter.version == wanted.version)
        found = next((one for one in known if one.archive is not None), None) or self.lock_python.lock(wanted.version, host)
        return unpack_managed(self._fetch(found, host), found, self._cache)

    def bring(self, wanted: LockedInterpreter, lock: Lock) -> tuple[Path, Path]:
        """The folder of the host's variant, and the program in it."""
        program = Path(self.unpack(wanted, lock).command[0])
        return program.parent.parent, program

    def _fetch(self, interpreter: LockedInterpreter, platform: Platform) -> Path:
        assert interpreter.archive is not None  # noqa: S101 - tells the type checker
        return self._pythons.fetch(interpreter.archive, interpreter.version, platform)


def open_managed(
    declared: Declaration,
    env: Mapping[str, str],
    cache: Path,
    upgrade: bool | Collection[str],
    offline: bool,
    progress: Progress,
    find: tuple[Path, ...] = (),
) -> ManagedPython | None:
    """The managed Python, where the declaration asks for one."""
    if declared.interpreter is not InterpreterSource.MANAGED or declared.python is None:
        return None
    sources = PackageSources(declared.root, declared.environment.indexes, env, cache, offline=offline)
    return ManagedPython(UvPythons(sources, find=find, progress=progress), declared.python, upgrade, cache)
