"""Locks a base that somebody published: which image it is, which Python is in it, and what is added over it.

The lock keeps the image it named before, while the same reference is declared, until an upgrade is asked for.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from wherry.errors import LockError
from wherry.formats.debian_index import read_status
from wherry.lock.debian import lock_over_base, upstream_version
from wherry.lock.resolution import BaseLock, LockPython, await_conda
from wherry.model.declaration import Declaration
from wherry.model.lock import LockedBase, LockedDeb, LockedInterpreter, PlatformLock
from wherry.model.oci import ImageConfig
from wherry.model.platform import Platform
from wherry.sources.debian import DebianArchive
from wherry.store.survey import STATUS, BaseSurvey

_PYTHON_PACKAGE = re.compile(r"python3\.\d+(?=-minimal$|$)")
_MINOR = re.compile(r"/python(3\.\d+)$")
_FULL = re.compile(r"3\.\d+\.\d+")

# The base on a platform as it is now, or as `LockedBase` pins it: its lock, its config, what lies in it.
FindBase = Callable[[Platform, LockedBase | None], tuple[LockedBase, ImageConfig, Callable[[], BaseSurvey]]]
# The archive of a distribution (os-release's ID), None where this machine is not configured for it.
OpenArchive = Callable[[str], DebianArchive | None]


class ReferenceBases:
    """The `LockBase` of a base given by reference."""

    def __init__(
        self,
        declared: Declaration,
        name: str,
        find_base: FindBase,
        open_archive: OpenArchive,
        upgrade: bool | Collection[str],
        lock_python: LockPython | None = None,
    ) -> None:
        """`lock_python` gives a Python that the base does not bring."""
        self._declared = declared
        self._name = name
        self._find_base = find_base
        self._open_archive = open_archive
        self._upgrade = upgrade
        self._lock_python = await_conda if declared.environment.has_records else lock_python
        self._turn: AbstractContextManager[object] = threading.Lock()

    def __call__(self, platform: Platform, former: PlatformLock | None) -> BaseLock:
        kept = former.base if former is not None and former.base is not None and former.base.name == self._name else None
        with self._turn:
            locked, config, survey = self._find_base(platform, None if self._upgrade is True else kept)
            looked = survey()
            debs, release = self._lock_packages(looked, platform, former)
        if self._lock_python is not None:
            python = self._lock_python(platform, former)
        else:
            python = find_interpreter(config, looked, debs, self._declared.python, self._name)
        return BaseLock(
            base=replace(locked, release=release),
            python=python,
            debs=debs,
            glibc=_require_glibc(looked, self._name),
        )

    def _lock_packages(
        self, survey: BaseSurvey, platform: Platform, former: PlatformLock | None
    ) -> tuple[tuple[LockedDeb, ...], str | None]:
        """What is added over the base, and of which release it is."""
        if not self._declared.system_packages:
            return (), None
        distribution, suite = survey.os_release.get("ID", ""), survey.os_release.get("VERSION_CODENAME", "")
        archive = self._open_archive(distribution)
        if archive is None or not survey.status:
            raise LockError(
                f"system packages cannot be added over {self._name}: "
                + ("it lists no Debian packages" if not survey.status else f"no archive of {distribution} is configured here"),
                where="system-packages",
                hint="take a base that has them already",
            )
        debs = lock_over_base(
            archive,
            survey.status,
            self._declared.system_packages,
            suite=suite,
            platform=platform,
            distribution=distribution,
            keep=former.debs if former else (),
            upgrade=self._upgrade,
        )
        return debs, f"{distribution}:{suite}" if debs else None


def find_interpreter(
    config: ImageConfig, survey: BaseSurvey, debs: tuple[LockedDeb, ...], wanted: str | None, name: str
) -> LockedInterpreter:
    """The Python of a base, or the one that packages over it bring; `wanted` is a minor version such as ``3.11``.

    Of several, the first on the base's PATH, which is what its author means by python3. Its version is what its own C
    headers say, else its package, else the base's PYTHON_VERSION, which official Python images set.
    """
    added = {f"/usr/bin/{match[0]}": deb for deb in debs if (match := _PYTHON_PACKAGE.match(deb.name))}
    pythons = _in_search_order({**survey.pythons, **{path: path for path in added}}, config)
    versions = _tell_versions(pythons, config, survey, debs)
    known = [(path, version) for path, version in versions if version and wanted in (None, _minor_of(path))]
    if not known:
        has = ", ".join(sorted({_minor_of(path) for path in pythons})) or "none"
        raise LockError(
            f"the base {name} has no Python {wanted or 'whose version can be told'} (it has: {has})",
            where="base",
            hint='a base that brings Python, such as docker.io/library/python:3.11-slim, or system-packages = ["python3"]',
        )
    path, version = known[0]
    return LockedInterpreter(source="debian" if path in added else "base", version=version, path=path)


def _in_search_order(pythons: Mapping[str, str], config: ImageConfig) -> tuple[str, ...]:
    """Where the programs really lie, by the place on PATH where each is found."""
    folders = dict(entry.partition("=")[::2] for entry in config.env).get("PATH", "").split(":")
    order = {folder: number for number, folder in reversed(list(enumerate(folders)))}
    found = sorted(pythons, key=lambda path: (order.get(path.rpartition("/")[0], len(order)), path))
    return tuple(dict.fromkeys(pythons[path] for path in found if _MINOR.search(pythons[path])))


def _tell_versions(
    pythons: Sequence[str], config: ImageConfig, survey: BaseSurvey, debs: tuple[LockedDeb, ...]
) -> list[tuple[str, str]]:
    told = dict(entry.partition("=")[::2] for entry in config.env).get("PYTHON_VERSION", "")
    installed = read_status(survey.status, STATUS) if survey.status else ()
    packages = {package.name: package.version for package in (*installed, *debs)}
    found = []
    for path in pythons:
        minor, prefix = _minor_of(path), path.rpartition("/")[0].rpartition("/")[0]
        package = packages.get(f"python{minor}-minimal") or packages.get(f"python{minor}") if prefix == "/usr" else None
        version = survey.versions.get((prefix, minor)) or (upstream_version(package) if package else "")
        if not version and _FULL.fullmatch(told) and told.startswith(f"{minor}."):
            version, told = told, ""  # there is one Python that it can mean: the first
        found.append((path, version))
    return found


def _minor_of(path: str) -> str:
    match = _MINOR.search(path)
    return match[1] if match else ""


def _require_glibc(survey: BaseSurvey, name: str) -> tuple[int, int]:
    if survey.glibc is None:
        raise LockError(
            f"the base {name} has no GNU C library: manylinux wheels do not run on it",
            where="base",
            hint="a base made on Debian, Ubuntu, Fedora or the like; Alpine's musl will not do",
        )
    return survey.glibc
