"""Locks what lies below the wheels: a base of Debian packages, or one that somebody published.

Platforms are locked in turn: an archive's index is large, and one is held at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from contextlib import AbstractContextManager

from wherry.errors import LockError
from wherry.lock.debian import lock_base_alone, lock_debian
from wherry.lock.resolution import BaseLock, LockPython, await_conda, glibc_of
from wherry.model.declaration import DebianBase, Declaration
from wherry.model.lock import LockedDeb, LockedInterpreter, PlatformLock
from wherry.model.platform import Platform
from wherry.sources.debian import DebianArchive


class DebianBases:
    """The `LockBase` of a Debian base. `upgrade` is true for all packages, or names those to be locked anew.

    `lock_python` gives a Python that is neither Debian's nor conda's.
    """

    def __init__(
        self,
        declaration: Declaration,
        base: DebianBase,
        archive: DebianArchive,
        upgrade: bool | Collection[str],
        lock_python: LockPython | None = None,
    ) -> None:
        self._declaration = declaration
        self._suite = base.suite
        self._archive = archive
        self._upgrade = upgrade
        self._lock_python = await_conda if declaration.environment.has_records else lock_python
        self._turn: AbstractContextManager[object] = threading.Lock()

    def __call__(self, platform: Platform, former: PlatformLock | None) -> BaseLock:
        keep = former.debs if former else ()
        if self._lock_python is not None:
            debs, python = self._lock_alone(platform, keep), self._lock_python(platform, former)
        else:
            debs, python = self.lock_packages(platform, keep)
        glibc = glibc_of(debs)
        if glibc is None:
            raise LockError("the base has no libc6: wheels cannot run on it", where=f"base, {platform}")
        return BaseLock(base=None, python=python, debs=debs, glibc=glibc)

    def lock_packages(self, platform: Platform, keep: tuple[LockedDeb, ...]) -> tuple[tuple[LockedDeb, ...], LockedInterpreter]:
        """The packages and the interpreter alone; also for a host whose platform is not in the lock."""
        declared = self._declaration
        with self._turn:
            return lock_debian(
                self._archive,
                self._suite,
                platform,
                declared.system_packages,
                declared.python,
                keep=keep,
                upgrade=self._upgrade,
            )

    def _lock_alone(self, platform: Platform, keep: tuple[LockedDeb, ...]) -> tuple[LockedDeb, ...]:
        packages = self._declaration.system_packages
        with self._turn:
            return lock_base_alone(self._archive, self._suite, platform, packages, keep=keep, upgrade=self._upgrade)
