"""The real archive that this machine's apt is configured for: lock, assemble, start Python."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.conftest import cannot_run, require_tool
from wherry.assemble.debian import debian_entries
from wherry.assemble.spool import Spool
from wherry.formats.tar import write_tar
from wherry.lock.debian import lock_debian
from wherry.model.lock import LayerKind
from wherry.model.platform import Platform
from wherry.sources.debian import open_archive

PROBE = """
import ctypes, locale, pwd, sqlite3, ssl, sys, zoneinfo
zoneinfo.ZoneInfo("Europe/Berlin")
locale.setlocale(locale.LC_ALL, "C.UTF-8")
assert len(ssl.create_default_context().get_ca_certs()) > 100
sqlite3.connect(":memory:").execute("select 1")
ctypes.CDLL("libstdc++.so.6"), ctypes.CDLL("libgomp.so.1")
assert pwd.getpwnam("wherry").pw_uid == 10001
print("Python", sys.version.split()[0])
"""
PARTS = (LayerKind.BASE, LayerKind.INTERPRETER)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.mark.network
@pytest.mark.engine
@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
@pytest.mark.parametrize("name", ["linux/amd64", "linux/arm64"])
def test_python_starts_in_an_assembled_base(suite: str, name: str, cache: Path, tmp_path: Path) -> None:
    platform = Platform.parse(name)
    archive = open_archive(os.environ, cache)
    if archive is None:
        cannot_run("apt is not configured for Debian here")
        return
    with archive:
        locked, interpreter = lock_debian(archive, suite, platform)
        debs = archive.fetch_all(locked)
    with open_archive(os.environ, cache, offline=True) or archive as again:
        assert lock_debian(again, suite, platform, keep=locked) == (locked, interpreter)
    root = tmp_path / "root"
    for part in PARTS:
        digests = {write_layer(debs, part, tmp_path / f"{part.value}.tar") for _ in range(2)}
        assert len(digests) == 1
        with tarfile.open(tmp_path / f"{part.value}.tar") as tar:
            tar.extractall(root, filter="tar")
    said = start_python(root, platform)
    assert said == f"Python {interpreter.version}"


def write_layer(debs: tuple, part: LayerKind, path: Path) -> str:  # type: ignore[type-arg]
    digest = hashlib.sha256()
    with Spool(path.parent) as spool, path.open("wb") as out:

        def sink(data: bytes) -> None:
            digest.update(data)
            out.write(data)

        write_tar(debian_entries(debs, part, spool), sink)
    return digest.hexdigest()


def start_python(root: Path, platform: Platform) -> str:
    if platform.machine == os.uname().machine:
        require_tool("bwrap")
        command = ["bwrap", "--bind", str(root), "/", "--unshare-all", "--clearenv", "--proc", "/proc", "--dev", "/dev"]
    else:
        emulator = f"qemu-{platform.machine}-static"
        require_tool("proot", emulator)
        command = ["proot", "-q", emulator, "-r", str(root), "-b", "/proc", "-b", "/dev", "-w", "/"]
    done = subprocess.run([*command, "/usr/bin/python3", "-c", PROBE], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
