"""Locks the Debian part of an image: which packages, at which versions, for one platform.

The base is the least that lets Python wheels run: the C and C++ runtime, certificates, time zones, and the release's
own Python. Nothing here fetches a package or looks into one; the archive's signed index says all. Former versions stay
while the archive still has them, unless an upgrade is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from wherry.errors import LockError
from wherry.formats.debian_index import BinaryPackage, PackageIndex, parse_relations, read_status
from wherry.lock.debian_solver import Wish, solve_packages
from wherry.model.lock import LayerKind, LockedDeb, LockedInterpreter
from wherry.model.platform import Platform
from wherry.sources.debian import DebianArchive
from wherry.sources.debian_trust import DISTRIBUTIONS

# Why each: os-release and licences; C.UTF-8 and name lookup; TLS; time zones; port names; what compiled wheels link.
BASE_PACKAGES = ("base-files", "libc-bin", "ca-certificates", "tzdata", "netbase", "libstdc++6", "libgomp1")
_PYTHON = re.compile(r"python3\.\d+")
_INTERPRETER = re.compile(r"(?:lib)?python3\.\d+(?:-minimal|-stdlib)?")


def lock_debian(
    archive: DebianArchive,
    suite: str,
    platform: Platform,
    system_packages: tuple[str, ...] = (),
    python: str | None = None,
    keep: tuple[LockedDeb, ...] = (),
    upgrade: bool | Collection[str] = False,
) -> tuple[tuple[LockedDeb, ...], LockedInterpreter]:
    """The packages of a whole base with its interpreter, sorted by name.

    `upgrade` is true for all, or names the packages whose former version does not count. A package or a Python that
    the release does not have is a `LockError`.
    """
    interpreter = _find_python(archive.packages(suite, platform), suite, python)
    locked = _lock_base(archive, suite, platform, (*BASE_PACKAGES, interpreter), system_packages, keep, upgrade)
    version = next(package.version for package in locked if package.name == interpreter)
    return locked, LockedInterpreter(source="debian", version=upstream_version(version), path=f"/usr/bin/{interpreter}")


def lock_base_alone(
    archive: DebianArchive,
    suite: str,
    platform: Platform,
    system_packages: tuple[str, ...] = (),
    keep: tuple[LockedDeb, ...] = (),
    upgrade: bool | Collection[str] = False,
) -> tuple[LockedDeb, ...]:
    """The packages of a base whose Python comes from elsewhere."""
    return _lock_base(archive, suite, platform, BASE_PACKAGES, system_packages, keep, upgrade)


def lock_over_base(
    archive: DebianArchive | None,
    status: bytes,
    packages: tuple[str, ...],
    *,
    suite: str,
    platform: Platform,
    distribution: str = "debian",
    keep: tuple[LockedDeb, ...] = (),
    upgrade: bool | Collection[str] = False,
) -> tuple[LockedDeb, ...]:
    """What has to be added to a base that somebody else made; `status` is its ``/var/lib/dpkg/status``.

    `suite` and `distribution` are VERSION_CODENAME and ID of its os-release; `archive` is that distribution's. An
    installed package that is too old for a new one is replaced. A base of another distribution is refused, and one
    whose archive apt is not configured for.
    """
    if distribution not in DISTRIBUTIONS:
        raise LockError(
            f"system packages cannot be added over a base of {distribution or 'an unknown distribution'}",
            where="system-packages",
            hint="take a base of Debian or Ubuntu, or one that has the packages already",
        )
    if archive is None or archive.distribution.name != distribution:
        raise LockError(
            f"the base is {distribution} {suite}, and apt on this machine has no source signed with {distribution}'s archive keys",
            where="system-packages",
            hint=f"add a source of {distribution} with Signed-By, or lock on a machine that has one",
        )
    installed = {package.name: package for package in read_status(status, "var/lib/dpkg/status")}
    if not installed:
        raise LockError("the base lists no installed packages", where="var/lib/dpkg/status", hint="take a Debian base")
    index = archive.packages(suite, platform)
    chosen = solve_packages(index, _parse_wishes(packages, platform), keep=_kept_versions(keep, upgrade), installed=installed)
    return _lock_all(archive, chosen)


def _lock_base(
    archive: DebianArchive,
    suite: str,
    platform: Platform,
    base: tuple[str, ...],
    system_packages: tuple[str, ...],
    keep: tuple[LockedDeb, ...],
    upgrade: bool | Collection[str],
) -> tuple[LockedDeb, ...]:
    index = archive.packages(suite, platform)
    wishes = [*_parse_wishes(base, platform), *_parse_wishes(system_packages, platform)]
    return _lock_all(archive, solve_packages(index, wishes, keep=_kept_versions(keep, upgrade)))


def _find_python(index: PackageIndex, suite: str, python: str | None) -> str:
    default = ""
    for package in index.candidates("python3"):
        for group in package.depends:
            default = next((relation.name for relation in group if _PYTHON.fullmatch(relation.name)), default)
    wanted = f"python{python}" if python else default
    if wanted and wanted in index:
        return wanted
    has = f"it has {default.removeprefix('python')}" if default else "it has none"
    raise LockError(
        f"Debian {suite} has no Python {python or '3'}: {has}",
        where="python",
        hint="bookworm has 3.11, trixie 3.13; or take a base image that brings this Python",
    )


def _parse_wishes(names: Iterable[str], platform: Platform) -> list[Wish]:
    return [wish for name in names for wish in parse_relations(name, platform.debian, "system-packages")]


def _kept_versions(keep: tuple[LockedDeb, ...], upgrade: bool | Collection[str]) -> dict[str, str]:
    if upgrade is True:
        return {}
    anew = frozenset(upgrade or ())
    return {deb.name: deb.version for deb in keep if deb.name not in anew}


def _lock_all(archive: DebianArchive, packages: tuple[BinaryPackage, ...]) -> tuple[LockedDeb, ...]:
    for package in packages:
        archive.remember(package)
    return tuple(_lock_package(package) for package in packages)


def _lock_package(package: BinaryPackage) -> LockedDeb:
    if package.sha256 is None or not package.filename:
        raise LockError("the index gives no sha256 or no file", where=f"{package.name} {package.version}")
    return LockedDeb(
        name=package.name,
        version=package.version,
        architecture=package.architecture,
        file=package.filename.rpartition("/")[2],
        size=package.size,
        sha256=package.sha256,
        part=LayerKind.INTERPRETER if _INTERPRETER.fullmatch(package.name) else LayerKind.BASE,
    )


def upstream_version(version: str) -> str:
    """``3.11.2-6+deb12u6`` → ``3.11.2``."""
    without_epoch = version.partition(":")[2] or version
    match = re.match(r"\d+\.\d+(?:\.\d+)?(?:(?:a|b|rc)\d+)?", without_epoch.partition("~")[0])
    if match is None:
        raise LockError(f"not a version of Python: {version!r}", where="python")
    return match[0]
