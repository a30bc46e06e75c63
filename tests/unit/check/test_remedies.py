"""Remedies: a wheel that does without, a package of Debian's, a newer base."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.simulators.debian import NOW, Archive
from wherry.check.remedies import add_remedies, lacks_package
from wherry.errors import TrustError
from wherry.model.platform import Platform
from wherry.model.report import Finding, Fix, Report, Seen, Severity
from wherry.sources.debian import DebianArchive
from wherry.sources.debian_contents import find_library_packages

AMD64 = Platform("linux", "amd64")
PACKAGES = {"libGL.so.1": ("libgl1",), "libxcb.so.1": ("libxcb1", "other")}


def report(rule: str, subject: str, owner: str = "") -> Report:
    finding = Finding(rule=rule, severity=Severity.ERROR, subject=subject, what="", owner=owner)
    return Report(subject="x", platform=AMD64, findings=(finding,), seen=Seen(), release="debian:bookworm")


def remedy(rule: str, subject: str, owner: str = "") -> tuple[str, Fix | None]:
    (finding,) = add_remedies(report(rule, subject, owner), PACKAGES).findings
    return finding.remedy, finding.fix


def test_a_wheel_without_a_screen_is_preferred() -> None:
    text, fix = remedy("missing-library", "libGL.so.1", "opencv_python 4.11")
    assert text.startswith("opencv-python-headless in place of opencv-python")
    assert fix == Fix(replacements=(("opencv-python", "opencv-python-headless"),))
    assert not lacks_package(report("missing-library", "libGL.so.1", "opencv-python 4.11"))


def test_a_package_of_debians() -> None:
    text, fix = remedy("missing-library", "libxcb.so.1", "other 1")
    assert 'system-packages = ["libxcb1"]' in text
    assert fix == Fix(system_packages=("libxcb1",))
    assert lacks_package(report("missing-library", "libxcb.so.1"))


def test_a_wheels_qt_goes_with_its_own_parts_alone() -> None:
    finding = report("missing-library", "libQt6Pdf.so.6")
    (found,) = add_remedies(finding, {"libQt6Pdf.so.6": ("libqt6pdf6",)}).findings
    assert (found.remedy, found.fix) == ("", None)


def test_nothing_known() -> None:
    assert remedy("missing-library", "libnever.so.1") == ("", None)
    assert remedy("damaged-library", "x.so") == ("", None)
    assert not lacks_package(report("damaged-library", "x.so"))


@pytest.mark.parametrize(
    ("symbol", "base"),
    [
        ("GLIBC_2.36", "debian:bookworm"),
        ("GLIBC_2.38", "debian:trixie"),
        ("GLIBCXX_3.4.32", "debian:trixie"),
        ("GLIBC_2.99", "a newer base"),
        ("OPENSSL_9", "a newer base"),
    ],
)
def test_symbols_name_the_base_that_has_them(symbol: str, base: str) -> None:
    assert base in remedy("symbol-version", symbol)[0]


@pytest.mark.parametrize(
    ("library", "wheel"),
    [
        ("libcublas.so.12", "nvidia-cublas-cu12"),
        ("libcublas.so.13", "nvidia-cublas"),
        ("libcudart.so.11.0", "nvidia-cuda-runtime-cu11"),
        ("libnvJitLink.so.12", "nvidia-nvjitlink-cu12"),
        ("libcusparseLt.so.0", "nvidia-cusparselt-cu12"),
    ],
)
def test_cuda_in_wheels(library: str, wheel: str) -> None:
    assert remedy("missing-library", library)[0] == f"the wheel {wheel}, or a build without CUDA"


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    made = Archive(tmp_path / "mirror")
    made.add("bookworm", "libxcb1")
    made.more["bookworm", "main/Contents-amd64.gz"] = gzip.compress(b"usr/lib/x86_64-linux-gnu/libxcb.so.1   libs/libxcb1\n")
    return made.write()


def open_(archive: Archive, cache: Path, *, offline: bool = False) -> DebianArchive:
    return DebianArchive(archive.sources(), cache, keyring=archive.keyring, now=lambda: NOW, offline=offline)


def test_debians_index_is_read_once_and_kept_small(archive: Archive, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with open_(archive, cache) as opened:
        assert find_library_packages(opened, "bookworm", AMD64, cache) == {"libxcb.so.1": ("libxcb1",)}
    (archive.root / "dists/bookworm/main/Contents-amd64.gz").unlink()
    with open_(archive, cache, offline=True) as opened:
        assert find_library_packages(opened, "bookworm", AMD64, cache) == {"libxcb.so.1": ("libxcb1",)}
    (kept,) = (cache / "debian/libraries").iterdir()
    kept.write_text("{")
    assert not list((cache / "debian/indexes").glob(f"{kept.stem}*"))


def test_an_altered_index_is_refused(archive: Archive, tmp_path: Path) -> None:
    path = archive.root / "dists/bookworm/main/Contents-amd64.gz"
    path.write_bytes(gzip.compress(b"usr/lib/x86_64-linux-gnu/libxcb.so.1   libs/evilxx1\n"))
    with open_(archive, tmp_path / "cache") as opened, pytest.raises(TrustError):
        find_library_packages(opened, "bookworm", AMD64, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("libraries/*"))


def test_an_archive_without_an_index(archive: Archive, tmp_path: Path) -> None:
    archive.more.clear()
    archive.write()
    with open_(archive, tmp_path / "cache") as opened:
        assert find_library_packages(opened, "bookworm", AMD64, tmp_path / "cache") == {}
