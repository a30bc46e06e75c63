"""Images that buildah built from a Dockerfile, released and updated without being rebuilt."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest

from tests.conftest import cannot_run, require_tool
from tests.simulators.devices import Device
from tests.simulators.engine import SimulatedEngine
from tests.simulators.releases import Operator
from wherry.agent.parcel_source import open_parcel_file
from wherry.agent.update import Outcome
from wherry.model.digest import Digest
from wherry.model.release import locate_parcel

pytestmark = [pytest.mark.engine]

DOCKERFILE = "FROM scratch\nCOPY site /opt/site\nCOPY app /app\nENV A=b\n"


def build(context: Path, archive: Path, folder: Path) -> None:
    """`buildah bud` with storage of its own, saved as docker saves."""
    storage = ("--root", folder / "root", "--runroot", folder / "run", "--storage-driver", "vfs")
    env = {**os.environ, "BUILDAH_ISOLATION": "chroot", "TMPDIR": str(folder)}
    for words in (("bud", "-q", "-t", "theirs", context), ("push", "-q", "theirs", f"docker-archive:{archive}:theirs:latest")):
        subprocess.run(["buildah", *storage, *words], env=env, check=True, capture_output=True, timeout=120)


def test_a_file_changed_in_a_layer_of_a_dockerfile(tmp_path: Path) -> None:
    require_tool("buildah")
    if os.geteuid() != 0:
        cannot_run("buildah needs root here")
    context, operator = tmp_path / "context", Operator(tmp_path)
    (context / "site/deep").mkdir(parents=True)
    (context / "app").mkdir()
    (context / "Dockerfile").write_text(DOCKERFILE)
    noise = random.Random(1)
    for number in range(60):
        (context / f"site/deep/{number}.bin").write_bytes(noise.randbytes(20_000))
        (context / f"site/module{number}.py").write_text(f"VALUE = {number}\n" * 200)
    (context / "site/link").symlink_to("deep/1.bin")
    (context / "app/main.py").write_text("print('hello')\n")
    (tmp_path / "device").mkdir()
    root = (operator.channel / "metadata/1.root.json").read_bytes()
    device = Device(folder=tmp_path / "device", root=root, engine=SimulatedEngine(tmp_path / "device/engine"))
    current: Digest | None = None
    sizes, whole = [], 0
    for release in (1, 2, 3):
        archive = tmp_path / f"{release}.tar"
        build(context, archive, tmp_path / "buildah")
        done = operator.order(str(archive))
        path = operator.channel / locate_parcel(device.platform, current)
        with open_parcel_file(path) as source:
            assert device.agent().apply(source) is Outcome.UPDATED
        state = device.agent().read_state()
        assert state.current is not None
        assert state.current.release == done.release == release
        current = state.current.manifest
        sizes.append(path.stat().st_size)
        whole = max(whole, archive.stat().st_size)
        with (context / f"site/module{release}.py").open("a") as file:
            file.write("CHANGED = True\n")
    assert whole > 1_200_000 < sizes[0]
    assert max(sizes[1:]) < 4_000
