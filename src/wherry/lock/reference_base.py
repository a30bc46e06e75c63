"""Locks a base that somebody published: which image it is, which Python is in it, and what is added over it.

The lock keeps the image it named before, while the same reference is declared, until an upgrade is asked for.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager

from wherry.errors import LockError
from wherry.formats.debian_index import read_status
from wherry.lock.debian import lock_over_base, upstream_version
from wherry.lock.resolution import BaseLock
from wherry.model.declaration import Declaration
from wherry.model.lock import LockedBase, LockedDeb, LockedInterpreter, PlatformLock
from wherry.model.oci import ImageConfig
from wherry.model.platform import Platform
from wherry.sources.debian import DebianArchive
from wherry.store.survey import STATUS, BaseSurvey

_PYTHON_PACKAGE = re.compile(r"python(3\.\d+)(?:-minimal)?")
_MINOR = re.compile(r"python(3\.\d+)$")

# The base on a platform as it is now, or as `LockedBase` pins it: its lock, its config, what lies in it.
FindBase = Callable[[Platform, LockedBase | None], tuple[LockedBase, ImageConfig, Callable[[], BaseSurvey]]]
# The archive of a distribution (os-release's ID), None where this machine is not configured for it.
OpenArchive = Callable[[str], DebianArchive | None]


class ReferenceBases:
    """The `LockBase` of a base given by reference."""

    def __init__(
        self, declared: Declaration, name: str, find_base: FindBase, open_archive: OpenArchive, upgrade: bool | Collection[str]
    ) -> None:
        self._declared = declared
        self._name = name
        self._find_base = find_base
        self._open_archive = open_archive
        self._upgrade = upgrade
        self._turn: AbstractContextManager[object] = threading.Lock()

    def __call__(self, platform: Platform, former: PlatformLock | None) -> BaseLock:
        kept = former.base if former is not None and former.base is not None and former.base.name == self._name else None
        with self._turn:
            locked, config, survey = self._find_base(platform, None if self._upgrade is True else kept)
            if former is not None and former.base == locked and not self._declared.system_packages and not former.debs:
                glibc = _require_glibc(survey(), self._name)
                return BaseLock(base=locked, interpreter=former.interpreter, debs=(), glibc=glibc)
            looked = survey()
            debs = self._lock_packages(looked, platform, former)
        interpreter = find_interpreter(config, looked, debs, self._declared.python, self._name)
        return BaseLock(base=locked, interpreter=interpreter, debs=debs, glibc=_require_glibc(looked, self._name))

    def _lock_packages(self, survey: BaseSurvey, platform: Platform, former: PlatformLock | None) -> tuple[LockedDeb, ...]:
        if not self._declared.system_packages:
            return ()
        distribution = survey.os_release.get("ID", "")
        archive = self._open_archive(distribution)
        if archive is None or not survey.status:
            raise LockError(
                f"system packages cannot be added over {self._name}: "
                + ("it lists no Debian packages" if not survey.status else f"no archive of {distribution} is configured here"),
                where="system-packages",
                hint="take a base that has them already",
            )
        return lock_over_base(
            archive,
            survey.status,
            self._declared.system_packages,
            suite=survey.os_release.get("VERSION_CODENAME", ""),
            platform=platform,
            distribution=distribution,
            keep=former.debs if former else (),
            upgrade=self._upgrade,
        )


def find_interpreter(
    config: ImageConfig, survey: BaseSurvey, debs: tuple[LockedDeb, ...], wanted: str | None, name: str
) -> LockedInterpreter:
    """The Python of a base, or the one that packages over it bring; `wanted` is a minor version such as ``3.11``."""
    versions = dict(survey.versions)
    paths = list(survey.pythons)
    told = dict(entry.partition("=")[::2] for entry in config.env).get("PYTHON_VERSION", "")
    if told.count(".") == 2:
        versions[told.rpartition(".")[0]] = told
    installed = [(package.name, package.version) for package in read_status(survey.status, STATUS)] if survey.status else []
    for package, version in (*installed, *((deb.name, deb.version) for deb in debs)):
        match = _PYTHON_PACKAGE.fullmatch(package)
        if match:
            versions.setdefault(match[1], upstream_version(version))
            paths.append(f"/usr/bin/python{match[1]}")
    found = [(match[1], path) for path in _by_search_path(paths, config) if (match := _MINOR.search(path))]
    known = [(minor, path) for minor, path in found if minor in versions and wanted in (None, minor)]
    if not known:
        has = ", ".join(sorted({minor for minor, _ in found})) or "none"
        raise LockError(
            f"the base {name} has no Python {wanted or 'whose version can be told'} (it has: {has})",
            where="base",
            hint='a base that brings Python, such as docker.io/library/python:3.11-slim, or system-packages = ["python3"]',
        )
    minor, path = known[0]  # the first on PATH is what the base's author means by python3
    return LockedInterpreter(source="base", version=versions[minor], path=path)


def _by_search_path(paths: list[str], config: ImageConfig) -> list[str]:
    folders = dict(entry.partition("=")[::2] for entry in config.env).get("PATH", "").split(":")
    order = {folder: number for number, folder in reversed(list(enumerate(folders)))}
    return sorted(dict.fromkeys(paths), key=lambda path: (order.get(path.rpartition("/")[0], len(order)), path))


def _require_glibc(survey: BaseSurvey, name: str) -> tuple[int, int]:
    if survey.glibc is None:
        raise LockError(
            f"the base {name} has no GNU C library: manylinux wheels do not run on it",
            where="base",
            hint="a base made on Debian, Ubuntu, Fedora or the like; Alpine's musl will not do",
        )
    return survey.glibc
