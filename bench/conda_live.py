"""A live conda environment of 150 packages in which somebody worked: made by real installers, then by hand where they need more.

py-rattler installs Python (of Debian's packages) and small packages from a channel in a folder; uv lays wheels over them as pip
does. By hand come what no installer makes without a network: an editable install, and one by ``pip install --user``.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import rattler
from tools.conda_channel.channel import Channel
from tools.conda_channel.debian_records import make_debian_records
from tools.conda_channel.packages import CondaPackage
from uv import find_uv_bin

from bench.harness import run_process

SUBDIR = "linux-64"
PACKAGES = 150  # of conda and pip together
BUMPED = 5  # laid over conda's by pip, newer
REPEATED = 2  # laid over conda's by pip, the same version
OF_PIP = 10  # known to pip alone
BY_HAND = 2
# A program: what a Python would import, one distribution a line.
LIST = (
    "import importlib.metadata as m\n"
    "seen = {}\n"
    "for d in m.distributions(): seen.setdefault(d.metadata['Name'].lower().replace('_', '-'), d.version)\n"
    "for name, version in sorted(seen.items()): print(name, version)"
)


@dataclass(frozen=True, kw_only=True)
class LiveEnvironment:
    """`home` is that of the person who worked in it; `wheels` are what an index has to serve."""

    prefix: Path
    home: Path
    wheels: Path
    channel: Path


def make_live_environment(work: Path, cache: Path) -> LiveEnvironment:
    """Make channel, wheels and prefix below `work`; `cache` keeps what is slow to make."""
    shutil.rmtree(work, ignore_errors=True)
    live = LiveEnvironment(prefix=work / "live", home=work / "home", wheels=work / "wheels", channel=work / "harbour")
    channel = Channel(live.channel)
    records = make_debian_records(cache, SUBDIR)
    for archive in records:
        channel.add_archive(archive)
    boats = [f"boat-{number:03}" for number in range(PACKAGES - len(records) - OF_PIP - BY_HAND)]
    channel.add(*(_conda_package(name, "1.0") for name in boats))
    channel.write_index()
    asyncio.run(_install(live, [*boats, *(archive.name.rsplit("-", 2)[0] for archive in records)]))
    _lay_wheels(live)
    _work_by_hand(live)
    return live


async def _install(live: LiveEnvironment, names: list[str]) -> None:
    host = rattler.VirtualPackage.detect()
    gateway = rattler.Gateway(cache_dir=live.prefix.parent / "rattler")
    records = await rattler.solve(
        [live.channel.as_uri()], names, gateway=gateway, platforms=[SUBDIR, "noarch"], virtual_packages=host
    )
    await rattler.install(records, target_prefix=live.prefix, cache_dir=live.prefix.parent / "rattler", show_progress=False)


def _lay_wheels(live: LiveEnvironment) -> None:
    """What somebody did with pip: newer ones over conda's, the same once more, others besides, one from a file."""
    live.wheels.mkdir()
    asked = [_write_wheel(live.wheels, f"boat-{number:03}", "2.0") for number in range(BUMPED)]
    asked += [_write_wheel(live.wheels, f"boat-{number:03}", "1.0") for number in range(BUMPED, BUMPED + REPEATED)]
    asked += [_write_wheel(live.wheels, f"cargo-{number:02}", "3.1") for number in range(OF_PIP)]
    env = {**os.environ, "UV_NO_CONFIG": "1"}
    base = [
        find_uv_bin(),
        "pip",
        "install",
        "-q",
        "--python",
        live.prefix / "bin" / "python",
        "--no-deps",
        "--offline",
        "--no-index",
    ]
    names = [f"{wheel.name.split('-')[0].replace('_', '-')}=={wheel.name.split('-')[1]}" for wheel in asked[:-1]]
    again = [f"--reinstall-package={name.partition('==')[0]}" for name in names]
    run_process([*base, "--find-links", live.wheels, "--break-system-packages", *again, *names], env=env)
    run_process([*base, "--break-system-packages", asked[-1]], env=env)  # from a file of this machine


def _work_by_hand(live: LiveEnvironment) -> None:
    site = next((live.prefix / "lib").glob("python3.*/site-packages"))
    url = {"url": f"file://{live.home}/mine", "dir_info": {"editable": True}}
    _write_files(site, {**_dist_info("mine", "0.1"), "mine-0.1.dist-info/direct_url.json": json.dumps(url).encode()})
    user = live.home / ".local" / "lib" / site.parent.name / "site-packages"
    _write_files(user, {"keepsake.py": b"", **_dist_info("keepsake", "1.2")})
    _write_wheel(live.wheels, "keepsake", "1.2")


def _conda_package(name: str, version: str) -> CondaPackage:
    files = {f"site-packages/{path}": data for path, data in _distribution(name, version, installer="conda").items()}
    return CondaPackage(name=name, version=version, build="pyhd_0", noarch="python", depends=("python >=3.9",), files=files)


def _write_wheel(folder: Path, name: str, version: str) -> Path:
    path = folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inner, data in _distribution(name, version).items():
            archive.writestr(zipfile.ZipInfo(inner, (2024, 1, 1, 0, 0, 0)), data)
    return path


def _distribution(name: str, version: str, *, installer: str = "") -> dict[str, bytes]:
    module = name.replace("-", "_")
    files = {f"{module}.py": f'VERSION = "{version}"\n'.encode(), **_dist_info(name, version)}
    if installer:
        files[f"{module}-{version}.dist-info/INSTALLER"] = f"{installer}\n".encode()
    record = f"{module}-{version}.dist-info/RECORD"
    lines = [f"{path},sha256={_digest(data)},{len(data)}" for path, data in files.items() if path != record]
    return {**files, record: "".join(f"{line}\n" for line in [*lines, f"{record},,"]).encode()}


def _dist_info(name: str, version: str) -> dict[str, bytes]:
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    return {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: bench\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def _write_files(folder: Path, files: dict[str, bytes]) -> None:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)


def list_distributions(said: str) -> Iterator[tuple[str, str]]:
    """Name and version of each distribution, out of what a Python said that ran `LIST`."""
    for line in said.splitlines():
        name, space, version = line.partition(" ")
        if space:
            yield name, version
