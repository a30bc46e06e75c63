"""Locks a managed Python: uv's CPython of the version that is declared, one archive a platform.

The build that a former lock names stays while it is of that version, until an upgrade is asked for: of everything, or of
``python``.
"""

from __future__ import annotations

from collections.abc import Collection

from wherry.model.layout import MANAGED
from wherry.model.lock import LockedInterpreter, PlatformLock
from wherry.model.platform import Platform
from wherry.sources.uv_pythons import UvPythons


class ManagedPythons:
    """The `LockPython` of ``interpreter = "managed"``; `minor` is the declared version."""

    def __init__(self, pythons: UvPythons, minor: str, upgrade: bool | Collection[str]) -> None:
        self._pythons = pythons
        self._minor = minor
        self._anew = upgrade is True or (upgrade is not False and "python" in upgrade)

    def __call__(self, platform: Platform, former: PlatformLock | None) -> LockedInterpreter:
        kept = former.interpreter if former is not None else None
        if kept is not None and kept.archive is not None and kept.minor == self._minor and not self._anew:
            return kept
        return self.lock(self._minor, platform)

    def lock(self, version: str, platform: Platform) -> LockedInterpreter:
        """The newest build of a minor version, or the one of a full version."""
        build = self._pythons.choose(version, platform)
        minor = build.version.rpartition(".")[0]
        path = f"/{MANAGED}/bin/python{minor}"
        return LockedInterpreter(source="managed", version=build.version, path=path, archive=self._pythons.lock(build))
