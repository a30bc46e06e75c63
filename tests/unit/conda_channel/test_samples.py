"""What the generator makes is real: py-rattler solves and installs it, and what it says of itself is so."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from tools.conda_channel.channel import Channel, read_index
from tools.conda_channel.packages import PLACEHOLDER
from tools.conda_channel.samples import hello, write_samples
from tools.conda_channel.server import serve_channel
from tools.conda_channel.wheels import wrap_wheel

from tests.simulators.wheels import make_wheel

rattler = pytest.importorskip("rattler")


def install(channel: str, target: Path, subdir: str, *specs: str, cache: Path) -> list[str]:
    """Solve and install with py-rattler itself; gives the files' names."""

    def virtual(name: str, version: str) -> object:
        return rattler.GenericVirtualPackage(rattler.PackageName(name), rattler.Version(version), rattler.BuildString("0"))

    async def run() -> list[str]:
        records = await rattler.solve(
            [rattler.Channel(channel)],
            [rattler.MatchSpec(spec) for spec in specs],
            platforms=[subdir, "noarch"],
            virtual_packages=[virtual("__glibc", "2.36"), virtual("__linux", "0"), virtual("__unix", "0")],
        )
        await rattler.install(
            records, target, platform=rattler.Subdir(subdir), cache_dir=cache, show_progress=False, execute_link_scripts=False
        )
        return sorted(record.file_name for record in records)

    return asyncio.run(run())


def test_packages_of_every_kind_are_installed(tmp_path: Path):
    write_samples(tmp_path / "channel")
    prefix = tmp_path / "prefix"
    wanted = ("hello", "harbour", "almanac", "compass", "talker", "clobber-b", "old-anchor", "python 3.11.*")
    names = install((tmp_path / "channel").as_uri(), prefix, "linux-64", *wanted, cache=tmp_path / "cache")
    assert names == sorted(
        [
            "almanac-2024.1-0.conda",
            "answer-2.0-pyhd_0.conda",
            "clobber-a-1.0-0.conda",
            "clobber-b-1.0-0.conda",
            "compass-1.0-h1a2b3c_0.conda",
            "harbour-3.1-py311_0.conda",
            "hello-1.1-pyhd_0.conda",
            "old-anchor-0.1-0.conda",
            "python-3.11.2-h3110_0_cpython.conda",
            "talker-1.0-0.conda",
        ]
    )
    assert (
        subprocess.run([prefix / "bin/compass"], capture_output=True, text=True, check=True).stdout == f"{prefix}/share/compass\n"
    )
    assert (prefix / "bin/hello").read_text().startswith(f"#!{prefix}/bin/python3.11")
    assert (prefix / "etc/anchor.conf").read_text() == f"root={prefix}\n"
    assert (prefix / "share/almanac/latest").readlink() == Path("tides.csv")
    assert PLACEHOLDER.encode() not in (prefix / "bin/compass").read_bytes()


def test_the_old_form_and_the_other_platform_are_installed(tmp_path: Path):
    write_samples(tmp_path / "channel")
    prefix = tmp_path / "prefix"
    wanted = ("hello 0.9", "almanac 2023.1", "compass 0.9", "python 3.11.*")
    names = install((tmp_path / "channel").as_uri(), prefix, "linux-aarch64", *wanted, cache=tmp_path / "cache")
    assert [name for name in names if name.endswith(".tar.bz2")] == [
        "almanac-2023.1-0.tar.bz2",
        "compass-0.9-h1a2b3c_0.tar.bz2",
        "hello-0.9-pyhd_0.tar.bz2",
    ]
    assert (prefix / "bin/compass").read_bytes()[18:20] == b"\xb7\x00"


def test_same_input_same_bytes(tmp_path: Path):
    for place in ("one", "two"):
        write_samples(tmp_path / place)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert len(files) > 20
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file


def test_the_index_says_what_lies_there(tmp_path: Path):
    folder = write_samples(tmp_path).folder
    index = json.loads((folder / "noarch/repodata.json").read_text())
    entry = index["packages.conda"]["hello-1.1-pyhd_0.conda"]
    data = (folder / "noarch/hello-1.1-pyhd_0.conda").read_bytes()
    assert entry["sha256"] == hashlib.sha256(data).hexdigest()
    assert entry["size"] == len(data)
    assert list(index["packages"]) == ["almanac-2023.1-0.tar.bz2", "hello-0.9-pyhd_0.tar.bz2"]


def test_wheels_become_packages(tmp_path: Path):
    pure = make_wheel(tmp_path, "my_pkg", "1.2", requires=("numpy<3,>=1; python_version>='3.9'", "x; extra=='dev'"))
    binary = make_wheel(
        tmp_path,
        "fast",
        "2.0",
        {"fast/_c.so": b"\x7fELF", "fast-2.0.data/scripts/run-it": b"#!python\n", "fast-2.0.data/data/share/x": b"x"},
        tag="cp311-cp311-manylinux_2_17_aarch64",
        entry_points="[console_scripts]\nfast = fast.cli:App.main\n",
    )
    channel = Channel(tmp_path / "channel")
    (first,) = channel.add(wrap_wheel(pure, names={"numpy": "numpy-base"}))
    (second,) = channel.add(wrap_wheel(binary))
    assert first.relative_to(channel.folder) == Path("noarch/my-pkg-1.2-pyhd_0.conda")
    assert read_index(first)["depends"] == ["python", "numpy-base <3,>=1"]
    assert second.relative_to(channel.folder) == Path("linux-aarch64/fast-2.0-py311_0.conda")
    assert read_index(second)["depends"] == ["python 3.11.*"]
    files = wrap_wheel(binary).all_files()
    assert files["bin/run-it"].placeholder == files["bin/fast"].placeholder == PLACEHOLDER
    assert {"share/x", "lib/python3.11/site-packages/fast/_c.so"} <= set(files)


def test_the_server_wants_what_it_was_told_to_want(tmp_path: Path):
    channel = Channel(tmp_path)
    channel.add(hello("1.0"))
    channel.write_index()

    def ask(url: str, **headers: str) -> int:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    with serve_channel(tmp_path, tokens=["abc"]) as server:
        assert ask(f"{server.url}/noarch/repodata.json") == 200
        assert ask(f"{server.plain_url}/noarch/repodata.json") == 404
        assert ask(f"{server.plain_url}/t/abc/../../etc/passwd") == 404
        assert server.seen[0] == ("/t/abc/noarch/repodata.json", 200)
    with serve_channel(tmp_path, login="u:p") as server:
        assert ask(f"{server.plain_url}/noarch/repodata.json") == 401
        assert ask(f"{server.plain_url}/noarch/repodata.json", Authorization="Basic dTpw") == 200
