"""What remedies cost: the packages that come along, and the leaner choice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulators.debian import NOW, Archive
from wherry.formats.debian_index import PackageIndex
from wherry.model.platform import Platform
from wherry.model.report import Finding, Fix, Report, Seen, Severity
from wherry.remedy_prices import has_prices, price_remedies
from wherry.sources.debian import DebianArchive

AMD64 = Platform("linux", "amd64")
KNOWN = {"libGL.so.1": ("libgl1",)}
BY_DEBIAN = Fix(system_packages=("libgl1",))
BY_A_WHEEL = Fix(replacements=(("opencv-python", "opencv-python-headless"),))


@pytest.fixture
def index(tmp_path: Path) -> PackageIndex:
    archive = Archive(tmp_path / "mirror")
    archive.add("bookworm", "libgl1", fields="Installed-Size: 1000\nDepends: mesa, libc6\n")
    archive.add("bookworm", "mesa", fields="Installed-Size: 200000\n")
    archive.add("bookworm", "libc6", fields="Installed-Size: 9000\n")
    archive.write()
    with DebianArchive(archive.sources(), tmp_path / "cache", keyring=archive.keyring, now=lambda: NOW) as opened:
        return opened.packages("bookworm", AMD64)


def report(fix: Fix | None, *packages: str) -> Report:
    found = Finding(rule="missing-library", severity=Severity.ERROR, subject="libGL.so.1", what="", remedy="do this", fix=fix)
    return Report(subject="x", platform=AMD64, findings=(found,), seen=Seen(), release="debian:bookworm", packages=packages)


def remedy(index: PackageIndex, fix: Fix | None, *packages: str) -> str:
    (found,) = price_remedies(report(fix, *packages), KNOWN, index).findings
    return found.remedy


def test_what_comes_along_is_counted_without_what_is_there(index: PackageIndex) -> None:
    assert remedy(index, BY_DEBIAN, "libc6") == "do this (2 packages, 0.0 MB to fetch, 205.8 MB unpacked)"
    assert remedy(index, BY_DEBIAN, "libc6", "mesa") == "do this (1 package, 0.0 MB to fetch, 1.0 MB unpacked)"


def test_the_leaner_choice_is_told_with_what_it_saves(index: PackageIndex) -> None:
    said = remedy(index, BY_A_WHEEL, "libc6")
    assert said == "do this; Debian's libgl1 in its place brings 2 packages, 0.0 MB to fetch, 205.8 MB unpacked"


def test_what_has_no_price(index: PackageIndex) -> None:
    assert remedy(index, None) == "do this"
    assert remedy(index, Fix(system_packages=("never",))) == "do this"
    assert not has_prices(report(None), KNOWN)
    assert has_prices(report(BY_A_WHEEL), {})
