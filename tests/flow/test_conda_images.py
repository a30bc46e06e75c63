"""A project with a conda_dependencies.yml becomes images for two platforms that run, say who they are, and update in small.

The channel is a folder of generated packages, with a real Python of Debian's; nothing of conda's own is asked or run.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tarfile
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tools.conda_channel.channel import Channel
from tools.conda_channel.samples import write_samples

from tests.conftest import cannot_run, require_tool
from tests.flow.conftest import BOTH, Seed, Wherry, copy_store, layers_of, write_project
from tests.simulators.devices import Device
from tests.simulators.engine import SimulatedEngine
from tests.simulators.releases import Operator
from wherry.agent.parcel_source import open_parcel_file
from wherry.agent.update import Outcome
from wherry.model.digest import DiffId, Digest
from wherry.model.release import locate_parcel
from wherry.store.archive import read_layer
from wherry.store.disk import DiskStore

pytest.importorskip("rattler")
pytestmark = [pytest.mark.network, pytest.mark.engine]

FILE = """\
name: harbour
channels:
  - {channel}
dependencies:
  - python=3.11
  - hello=1.0
  - harbour >=3
  - compass
  - talker
  - clobber-b
  - pip:
      - tinyone==1.0
"""
MAIN = """\
import importlib.metadata, json, os, platform, subprocess, sys
import ctypes, hello, harbour, sqlite3, ssl, tinyone, zlib
names = ("hello", "answer", "harbour", "tinyone")
print(json.dumps({
    "executable": sys.executable, "prefix": sys.prefix, "conda": os.environ["CONDA_PREFIX"],
    "python": platform.python_version(), "machine": os.uname().machine,
    "versions": {name: importlib.metadata.version(name) for name in names}, "cached": hello.__cached__,
}))
"""


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory, conda_records: Callable[[str], list[Path]]) -> Channel:
    made = write_samples(tmp_path_factory.mktemp("conda") / "channel", python=False)
    for subdir in ("linux-64", "linux-aarch64"):
        for archive in conda_records(subdir):
            made.add_archive(archive)
    made.write_index()
    return made


@pytest.fixture(scope="module")
def built(seed: Seed, channel: Channel, tmp_path_factory: pytest.TempPathFactory) -> tuple[Wherry, Path, str]:
    """The project built once for both platforms; what was said while that was done."""
    folder = tmp_path_factory.mktemp("built")
    copy_store(seed.wherry.store, folder / "store")
    wherry = replace(seed.wherry, store=folder / "store")
    files = {
        "main.py": MAIN,
        "conda_dependencies.yml": FILE.format(channel=channel.folder.as_uri()),
        "wherry.toml": 'name = "harbour"\nentrypoint = ["python", "main.py"]\n',
    }
    project = write_project(folder / "harbour", files)
    (project / "requirements.txt").unlink()
    done = wherry.run("build", *BOTH, cwd=project)
    assert done.returncode == 0, done.stderr
    return wherry, project, done.stderr


def locked_versions(project: Path, platform: str) -> dict[str, str]:
    document = tomllib.loads((project / "wherry.lock").read_text())
    (locked,) = [one for one in document["platform"] if one["platform"] == platform]
    return {package["name"]: package["version"] for package in (*locked["record"], *locked["wheel"])}


def diff_ids(result: dict[str, Any], platform: str) -> list[str]:
    return [layer["diff_id"] for layer in layers_of(result, platform)]


def unpack(store: Path, result: dict[str, Any], platform: str, root: Path) -> Path:
    """The image's whole tree. Layers of ours share no path, so their order does not matter."""
    for layer in layers_of(result, platform):
        tar = root.with_suffix(".tar")
        with tar.open("wb") as file:
            file.writelines(read_layer(DiskStore(store), Digest.parse(layer["digest"]), DiffId.parse(layer["diff_id"])))
        with tarfile.open(tar) as opened:
            opened.extractall(root, filter="tar")
    return root


def check_answer(printed: str, project: Path, platform: str, machine: str) -> None:
    answer, locked = json.loads(printed), locked_versions(project, platform)
    assert (answer["executable"], answer["prefix"], answer["conda"]) == ("/opt/conda/bin/python", "/opt/conda", "/opt/conda")
    assert (answer["python"], answer["machine"]) == (locked["python"], machine)
    assert answer["versions"] == {name: locked[name] for name in answer["versions"]}
    assert answer["cached"] == "/opt/conda/lib/python3.11/site-packages/hello/__pycache__/__init__.cpython-311.pyc"


def test_it_runs_here(built: tuple[Wherry, Path, str]) -> None:
    require_tool("bwrap")
    wherry, project, said = built
    check_answer(wherry.ok("run", "--on", "bubblewrap", cwd=project), project, "linux/amd64", "x86_64")
    assert wherry.ok("run", "--on", "bubblewrap", "--", "hello", cwd=project) == "hello 1.0 2\n"
    assert wherry.ok("run", "--on", "bubblewrap", "--", "compass", cwd=project).startswith("/opt/conda/share/compass")
    assert "talker 1.0: its post-link script is not run" in said
    assert "opt/conda/share/clobber/path is in clobber-b and in clobber-a: that of clobber-b is in the image" in said


def test_it_runs_on_arm64(built: tuple[Wherry, Path, str], tmp_path: Path) -> None:
    require_tool("qemu-aarch64-static", "proot")
    wherry, project, _ = built
    root = unpack(wherry.store, wherry.build(project, *BOTH), "linux/arm64", tmp_path / "root")
    argv = ["proot", "-q", "qemu-aarch64-static", "-r", root, "-b", "/proc", "-b", "/dev", "-w", "/app", "/opt/conda/bin/python"]
    env = {"PATH": "/opt/conda/bin:/usr/bin:/bin", "CONDA_PREFIX": "/opt/conda", "PYTHONNOUSERSITE": "1"}
    done = subprocess.run([*argv, "main.py"], env=env, capture_output=True, text=True, timeout=240, check=False)
    if done.returncode != 0 and "ptrace" in done.stderr:
        cannot_run(f"proot may not trace here: {done.stderr[-400:]}")
    assert done.returncode == 0, done.stderr
    check_answer(done.stdout, project, "linux/arm64", "aarch64")


def test_conda_meta_tells_the_truth(built: tuple[Wherry, Path, str], tmp_path: Path) -> None:
    """What conda would list is what is locked; each file that it would list is there, with the content it says."""
    from rattler import PrefixRecord

    wherry, project, _ = built
    prefix = unpack(wherry.store, wherry.build(project, *BOTH), "linux/amd64", tmp_path / "root") / "opt/conda"
    locked = tomllib.loads((project / "wherry.lock").read_text())["platform"][0]["record"]
    listed = {}
    for path in (prefix / "conda-meta").glob("*.json"):
        record = PrefixRecord.from_path(path)
        assert path.stem == f"{record.name.normalized}-{record.version}-{record.build}"
        listed[record.name.normalized] = str(record.version)
        for entry in json.loads(path.read_bytes())["paths_data"]["paths"]:
            file = prefix / entry["_path"]
            if entry["path_type"] == "softlink":
                assert file.is_symlink()
            else:
                digest = entry.get("sha256_in_prefix") or entry.get("sha256")
                assert digest in (None, hashlib.sha256(file.read_bytes()).hexdigest()), file
        raw = path.read_text()
        assert "file:" not in raw
        assert str(wherry.cache) not in raw
    assert listed == {record["name"]: record["version"] for record in locked}
    assert (prefix / "conda-meta/history").is_file()


def test_another_host_makes_the_same(built: tuple[Wherry, Path, str], tmp_path: Path) -> None:
    """Another cache and store, folder, umask, time zone and hash seed; the lock before it learned anything."""
    wherry, project, _ = built
    first = wherry.build(project, *BOTH)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/debian").symlink_to(wherry.cache / "debian")  # what the mirrors gave; nothing that was made of it
    other = replace(wherry, store=tmp_path / "store", cache=tmp_path / "cache").with_env(
        TZ="Asia/Tokyo", PYTHONHASHSEED="7", LC_ALL="C"
    )
    copy = copy_project(project, tmp_path / "elsewhere/harbour")
    lines = (copy / "wherry.lock").read_text().splitlines(keepends=True)
    (copy / "wherry.lock").write_text("".join(line for line in lines if not line.startswith(("diff_id", "yields"))))
    second = other.build(copy, *BOTH, prefix=("sh", "-c", 'umask 077; exec "$@"', "sh"))
    for platform in ("linux/amd64", "linux/arm64"):
        assert diff_ids(first, platform) == diff_ids(second, platform)
    assert first["index"] == second["index"]
    assert (copy / "wherry.lock").read_bytes() == (project / "wherry.lock").read_bytes()


def test_a_bumped_package_moves_its_layer_in_a_small_parcel(built: tuple[Wherry, Path, str], tmp_path: Path) -> None:
    wherry, project, _ = built
    copy_store(wherry.store, tmp_path / "store")
    wherry = replace(wherry, store=tmp_path / "store")
    project = copy_project(project, tmp_path / "harbour")
    operator = Operator(tmp_path)
    folder = tmp_path / "device"
    folder.mkdir()
    root = (operator.channel / "metadata/1.root.json").read_bytes()
    device = Device(folder=folder, root=root, engine=SimulatedEngine(folder / "engine"))
    before = wherry.build(project)
    operator.order("harbour:latest")
    sizes = [apply(operator, device, None)]
    current = device.agent().read_state().current
    assert current is not None
    text = (project / "conda_dependencies.yml").read_text()
    (project / "conda_dependencies.yml").write_text(text.replace("hello=1.0", "hello=1.1"))
    wherry.ok("lock", cwd=project)
    after = wherry.build(project)
    known = diff_ids(before, "linux/amd64")
    moved = [layer["cause"] for layer in layers_of(after) if layer["diff_id"] not in known]
    assert moved == ["records", "bytecode-records", "code"]  # the file that asks for it lies among the code
    operator.order("harbour:latest")
    sizes.append(apply(operator, device, current.manifest))
    assert sizes[1] < 20_000 < 10_000_000 < sizes[0]


def copy_project(project: Path, folder: Path) -> Path:
    folder.mkdir(parents=True)
    for path in project.iterdir():
        shutil.copy(path, folder)
    return folder


def apply(operator: Operator, device: Device, current: Digest | None) -> int:
    path = operator.channel / locate_parcel(device.platform, current)
    with open_parcel_file(path) as source:
        assert device.agent().apply(source) is Outcome.UPDATED
    return path.stat().st_size
