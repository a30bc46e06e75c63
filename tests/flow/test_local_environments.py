"""One lock, two twins: the image and the environment on this machine hold the same files, byte for byte."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import os
import shutil
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

from tests.flow.conftest import PROGRAM, Wherry, write_project
from tests.simulators.python_index import PythonIndex, Wheel
from tests.unit.run.local_projects import rich_wheel
from wherry.formats.lockfile import parse_lock
from wherry.formats.tar import EntryKind
from wherry.formats.untar import read_members
from wherry.model.lock import LockedWheel
from wherry.store.archive import read_layer
from wherry.store.disk import DiskStore
from wherry.store.host import read_host_platform
from wherry.store.images import pick_image

pytestmark = pytest.mark.network

MAIN = "import sys, rich, tinyone\nprint(sys.prefix, rich.VALUE, tinyone.VERSION, sys.version_info[:2])\n"


@pytest.fixture
def project(tmp_path: Path, index: PythonIndex) -> Path:
    if not any(wheel.name == "rich" for wheel in index.wheels):
        path = rich_wheel(tmp_path)
        index.add(Wheel(name="rich", version="1.0", file=path.name, data=path.read_bytes()))
    return write_project(tmp_path / "twins", {"main.py": MAIN, "requirements.txt": "rich==1.0\ntinytwo==1.0\n"})


def test_every_file_of_each_wheels_record_is_the_same(wherry: Wherry, project: Path) -> None:
    platform = read_host_platform()
    wherry.ok("build", "--platform", str(platform), cwd=project)
    prefix = Path(wherry.ok("env", "create", "--frozen", cwd=project).strip())
    locked = parse_lock((project / "wherry.lock").read_text()).for_platform(platform)
    image = image_files(wherry.store, "twins:latest", "opt/env/")
    compared = 0
    for wheel in locked.wheels:
        for path, member in recorded_files(wherry.cache, wheel, locked.interpreter.minor).items():
            assert image[path] == digest(member), f"image: {path}"
            assert digest((prefix / path).read_bytes()) == digest(member), f"environment: {path}"
            compared += 1
    assert compared == 14  # eight of rich, three of each tiny one
    # What is generated has the same names, and RECORD tells the truth of each.
    for wheel in locked.wheels:
        info = f"lib/python{locked.interpreter.minor}/site-packages/{wheel.name}-{wheel.version}.dist-info"
        rows = list(csv.reader(io.StringIO((prefix / info / "RECORD").read_text())))
        for name, recorded, _ in rows:
            file = (prefix / info).parent / name
            if recorded:
                assert recorded.removeprefix("sha256=") == urlsafe(file.read_bytes()), name
            assert file.resolve().relative_to(prefix.resolve()).as_posix() in image


def test_both_run_the_project(wherry: Wherry, project: Path) -> None:
    prefix = Path(wherry.ok("env", "create", cwd=project).strip())
    done = subprocess.run(
        ["/bin/bash", "-c", f'eval "$({PROGRAM} env hook)"; python main.py'],
        cwd=project,
        env=dict(wherry.environment()),
        capture_output=True,
        text=True,
        check=True,
    )
    minor = parse_lock((project / "wherry.lock").read_text()).platforms[0].interpreter.minor
    assert done.stdout == f"{prefix} 7 1.1 ({minor.replace('.', ', ')})\n"


def test_locking_anew_makes_it_stale_and_making_it_anew_mends_it(wherry: Wherry, project: Path) -> None:
    wherry.ok("env", "create", cwd=project)
    (project / "requirements.txt").write_text("rich==1.0\ntinytwo==2.0\n")
    wherry.refused("env", "create", "--locked", cwd=project, code=11)
    assert state(wherry, project) == "ok"
    wherry.ok("lock", cwd=project)
    assert state(wherry, project) == "stale"
    wherry.ok("env", "create", cwd=project)
    assert state(wherry, project) == "ok"
    wherry.ok("env", "remove", cwd=project)
    assert json.loads(wherry.ok("env", "list", "--json", cwd=project))["environments"] == []


def test_a_wheel_that_was_damaged_in_the_cache_is_fetched_again(alone: Wherry, project: Path) -> None:
    alone.ok("env", "create", cwd=project)
    shutil.rmtree(alone.cache / "trees")
    for path in (alone.cache / "artefacts").rglob("rich-*.whl"):
        data = bytearray(path.read_bytes())
        data[len(data) // 3] ^= 1
        path.write_bytes(data)
    assert "removed from the cache: rich-1.0" in alone.refused("env", "create", "--frozen", cwd=project, code=13)
    assert state(alone, project) == "ok"  # the former one is untouched
    shutil.rmtree(project / ".wherry")
    alone.ok("env", "create", "--frozen", cwd=project)


def test_a_real_jupyter_starts_the_kernel(wherry: Wherry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ipykernel comes from the index that this machine is configured for."""
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    monkeypatch.setenv("MODE", "outside")
    kept = {key: value for key, value in os.environ.items() if not key.startswith("WHERRY_")}
    real = replace(wherry, env=kept)
    files = {"requirements.txt": "ipykernel\n", "wherry.toml": 'name = "deep-sea"\n[env]\nMODE = "deep"\n'}
    project = write_project(tmp_path / "deep", files)
    prefix = real.ok("env", "create", "--kernel", cwd=project).strip()
    said: list[str] = []
    manager = KernelManager(kernel_name="wherry-deep-sea", kernel_spec_manager=KernelSpecManager())
    manager.start_kernel(cwd=str(project))
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        shown = "sys.executable, os.environ['MODE'], os.environ['PYTHONNOUSERSITE'], shutil.which('python')"
        code = f"import os, shutil, sys; print({shown})"
        client.execute_interactive(code, output_hook=lambda message: said.append(message["content"].get("text", "")), timeout=60)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert "".join(said).split() == [f"{prefix}/bin/python", "deep", "1", f"{prefix}/bin/python"]
    real.ok("env", "remove", cwd=project)
    assert not list((tmp_path / "jupyter/kernels").iterdir())


def state(wherry: Wherry, project: Path) -> str:
    (found,) = json.loads(wherry.ok("env", "list", "--json", cwd=project))["environments"]
    return str(found["state"])


def recorded_files(cache: Path, wheel: LockedWheel, minor: str) -> dict[str, bytes]:
    """The files that a wheel's own RECORD names and that no installer rewrites, by their place below the prefix."""
    library, data = f"lib/python{minor}/site-packages", f"{wheel.name}-{wheel.version}.data/"
    schemes = {
        "scripts": "bin",
        "data": ".",
        "headers": f"include/site/python{minor}/{wheel.name}",
        "purelib": library,
        "platlib": library,
    }
    found = {}
    with zipfile.ZipFile(cache / "artefacts/sha256" / wheel.sha256.hex / wheel.file) as archive:
        record = archive.read(f"{wheel.name}-{wheel.version}.dist-info/RECORD").decode()
        for name, recorded, _ in csv.reader(io.StringIO(record)):
            content = archive.read(name)
            if not recorded or content.startswith(b"#!python"):
                continue
            place = f"{library}/{name}"
            if name.startswith(data):
                scheme, _, rest = name.removeprefix(data).partition("/")
                place = Path(schemes[scheme], rest).as_posix()
            found[place] = content
    return found


def image_files(store_path: Path, name: str, prefix: str) -> dict[str, str]:
    """The digest of each file of the image below `prefix`; a link's is that of nothing."""
    store = DiskStore(store_path)
    stored = pick_image(store, store.resolve(name), None)
    found = {}
    for layer, diff_id in zip(stored.manifest.layers, stored.config.diff_ids, strict=True):
        for member in read_members(read_layer(store, layer.digest, diff_id), name):
            if member.path.startswith(prefix) and member.kind is not EntryKind.DIRECTORY:
                found[member.path.removeprefix(prefix)] = digest(b"".join(member.content))
    return found


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def urlsafe(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
