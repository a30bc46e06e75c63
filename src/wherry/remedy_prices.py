"""What a remedy costs: the packages that Debian's one brings along, what they weigh, and the leaner choice beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from wherry.errors import LockError
from wherry.formats.debian_index import BinaryPackage, PackageIndex, Relation
from wherry.lock.debian_solver import solve_packages
from wherry.model.platform import Platform
from wherry.model.report import Finding, Report
from wherry.sources.debian import open_archive
from wherry.sources.debian_trust import DISTRIBUTIONS

# What a wheel for screens lacks before all, and Debian's index of contents need not be read for.
_FOR_SCREENS = {"libGL.so.1": ("libgl1",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """`fetched` and `unpacked` are bytes of all `packages` that are not there yet."""

    packages: int
    fetched: int
    unpacked: int

    def __str__(self) -> str:
        count = "1 package" if self.packages == 1 else f"{self.packages} packages"
        return f"{count}, {self.fetched / 1e6:,.1f} MB to fetch, {self.unpacked / 1e6:,.1f} MB unpacked"


def has_prices(report: Report, known: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether a remedy is one of Debian's packages, or stands beside one."""
    return any(_choose(one, known) for one in report.findings)


def read_package_index(report: Report, env: Mapping[str, str], cache: Path, *, offline: bool = False) -> PackageIndex | None:
    """The packages of the distribution that the report is of; None where this machine has no apt sources for it."""
    name, _, suite = report.release.partition(":")
    if report.platform is None or name not in DISTRIBUTIONS:
        return None
    archive = open_archive(env, cache, offline=offline, distribution=DISTRIBUTIONS[name])
    if archive is None:
        return None
    with archive:
        return archive.packages(suite, Platform(report.platform.os, report.platform.architecture, report.platform.variant))


def price_remedies(report: Report, known: Mapping[str, tuple[str, ...]], index: PackageIndex) -> Report:
    """The report with a price behind each remedy. `known` are Debian's packages by library."""
    installed = {each: found[0] for each in report.packages if (found := index.candidates(each))}
    wanted = dict.fromkeys(package for one in report.findings if (package := _choose(one, known)))
    prices = {package: price for package in wanted if (price := _price(index, package, installed))}
    return replace(report, findings=tuple(_tell(one, _choose(one, known), prices) for one in report.findings))


def _choose(finding: Finding, known: Mapping[str, tuple[str, ...]]) -> str:
    """The package that the remedy is, or would be where a wheel that does without is better."""
    if finding.fix and finding.fix.system_packages:
        return finding.fix.system_packages[0]
    if finding.fix and finding.fix.replacements and finding.rule == "missing-library":
        return next(iter(known.get(finding.subject, ()) or _FOR_SCREENS.get(finding.subject, ())), "")
    return ""


def _price(index: PackageIndex, package: str, installed: Mapping[str, BinaryPackage]) -> Price | None:
    try:
        added = solve_packages(index, [(Relation(name=package),)], installed=installed)
    except LockError:
        return None
    return Price(packages=len(added), fetched=sum(one.size for one in added), unpacked=sum(one.unpacked for one in added))


def _tell(finding: Finding, package: str, prices: Mapping[str, Price]) -> Finding:
    price = prices.get(package)
    if price is None:
        return finding
    leaner = finding.fix is not None and bool(finding.fix.replacements)
    more = f"; Debian's {package} in its place brings {price}" if leaner else f" ({price})"
    return replace(finding, remedy=finding.remedy + more)
