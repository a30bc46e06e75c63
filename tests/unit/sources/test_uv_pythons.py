"""uv's managed Pythons, asked of the real uv with a list and a mirror of our own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.simulators.managed_python import list_downloads, pretended, write_archive
from wherry.errors import LockError, TransferError, TrustError
from wherry.lock.managed_python import ManagedPythons
from wherry.model.declaration import IndexOptions
from wherry.model.lock import LockedInterpreter, PlatformLock
from wherry.model.platform import Platform
from wherry.sources.package_sources import PackageSources
from wherry.sources.uv_pythons import UvPythons

AMD64, ARM64 = Platform.parse("linux/amd64"), Platform.parse("linux/arm64")


@pytest.fixture
def archives(tmp_path: Path) -> dict[tuple[str, str], Path]:
    found = {}
    for version, platform, arch in (
        ("3.12.6", "linux/amd64", "x86_64"),
        ("3.12.10", "linux/amd64", "x86_64"),
        ("3.12.10", "linux/arm64", "aarch64"),
        ("3.11.9", "linux/amd64", "x86_64"),
    ):
        name = f"cpython-{version}+20240101-{arch}-unknown-linux-gnu-install_only_stripped.tar.gz"
        found[version, platform] = write_archive(tmp_path / "mirror" / name, pretended(version, arch))
    return found


def uv_pythons(tmp_path: Path, archives: Mapping[tuple[str, str], Path], cache: str = "cache", **more: object) -> UvPythons:
    env = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "UV_CACHE_DIR": str(tmp_path / "uv"),
        "UV_PYTHON_DOWNLOADS_JSON_URL": list_downloads(tmp_path, archives),
    }
    offline = bool(more.pop("offline", False))
    sources = PackageSources(tmp_path, IndexOptions(), env, tmp_path / cache, offline=offline)
    return UvPythons(sources, **more)  # type: ignore[arg-type]


def test_the_newest_of_a_minor_for_any_platform(tmp_path: Path, archives: dict[tuple[str, str], Path]) -> None:
    pythons = uv_pythons(tmp_path, archives)
    assert pythons.choose("3.12", AMD64).version == "3.12.10"
    assert pythons.choose("3.12.6", AMD64).version == "3.12.6"
    assert pythons.choose("3.11", AMD64).key == "cpython-3.11.9-linux-x86_64-gnu"
    build = pythons.choose("3.12", ARM64)
    assert build.file == archives["3.12.10", "linux/arm64"].name
    locked = pythons.lock(build)
    data = archives["3.12.10", "linux/arm64"].read_bytes()
    assert (locked.file, locked.size, locked.sha256.hex) == (build.file, len(data), hashlib.sha256(data).hexdigest())
    assert pythons.fetch(locked, "3.12.10", ARM64).read_bytes() == data


def test_one_that_uv_has_not_is_a_lock_error(tmp_path: Path, archives: dict[tuple[str, str], Path]) -> None:
    with pytest.raises(LockError, match=r"no Python 3\.11 for linux/arm64"):
        uv_pythons(tmp_path, archives).choose("3.11", ARM64)


def test_a_locked_one_is_found_again(tmp_path: Path, archives: dict[tuple[str, str], Path]) -> None:
    pythons = uv_pythons(tmp_path, archives)
    locked = pythons.lock(pythons.choose("3.12", AMD64))
    found = uv_pythons(tmp_path, archives, "other-cache")
    assert found.fetch(locked, "3.12.10", AMD64).stat().st_size == locked.size
    # The list knows it no more, and somebody has kept the file.
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / locked.file).write_bytes(archives["3.12.10", "linux/amd64"].read_bytes())
    gone = {key: path for key, path in archives.items() if key[0] != "3.12.10"}
    assert uv_pythons(tmp_path, gone, "third", find=(kept,)).fetch(locked, "3.12.10", AMD64).is_file()
    with pytest.raises(LockError, match=r"no Python 3\.12\.10"):
        uv_pythons(tmp_path, gone, "fourth").fetch(locked, "3.12.10", AMD64)


def test_other_bytes_are_refused(tmp_path: Path, archives: dict[tuple[str, str], Path]) -> None:
    pythons = uv_pythons(tmp_path, archives)
    locked = pythons.lock(pythons.choose("3.12", AMD64))
    path = archives["3.12.10", "linux/amd64"]
    (pythons.fetch(locked, "3.12.10", AMD64)).unlink()
    write_archive(path, {**pretended("3.12.10"), "lib/python3.12/more.py": b"evil"})
    with pytest.raises(TrustError):  # where it was seen lies another file now
        pythons.fetch(locked, "3.12.10", AMD64)
    with pytest.raises(LockError, match="another build"):  # uv's list was made anew with it
        uv_pythons(tmp_path, archives, "other").fetch(locked, "3.12.10", AMD64)
    pythons = uv_pythons(tmp_path, archives, "third")
    write_archive(path, pretended("3.12.10", "tampered"))
    with pytest.raises(TrustError, match="another digest"):  # uv's list and its mirror do not agree
        pythons.lock(pythons.choose("3.12", AMD64))


def test_a_mirror_that_lacks_it_may_be_asked_again(tmp_path: Path, archives: dict[tuple[str, str], Path]) -> None:
    pythons = uv_pythons(tmp_path, archives)
    archives["3.12.10", "linux/amd64"].unlink()
    with pytest.raises((TransferError, LockError)):
        pythons.lock(pythons.choose("3.12", AMD64))


def test_the_locked_build_stays_until_it_is_upgraded(tmp_path: Path, archives: dict[tuple[str, str], Path]) -> None:
    before = {key: path for key, path in archives.items() if key != ("3.12.10", "linux/amd64")}
    first = ManagedPythons(uv_pythons(tmp_path, before), "3.12", False)(AMD64, None)
    assert (first.version, first.path, first.source) == ("3.12.6", "/opt/python/bin/python3.12", "managed")
    former = platform_lock(first)
    pythons = uv_pythons(tmp_path, archives)
    assert ManagedPythons(pythons, "3.12", False)(AMD64, former) == first
    assert ManagedPythons(pythons, "3.12", {"numpy"})(AMD64, former) == first
    assert ManagedPythons(pythons, "3.12", {"python"})(AMD64, former).version == "3.12.10"
    assert ManagedPythons(pythons, "3.12", True)(AMD64, former).version == "3.12.10"
    assert ManagedPythons(pythons, "3.11", False)(AMD64, former).version == "3.11.9"


def platform_lock(interpreter: LockedInterpreter) -> PlatformLock:
    return PlatformLock(platform=AMD64, base=None, interpreter=interpreter, debs=(), wheels=(), layers=())
