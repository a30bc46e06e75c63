"""`wherry-agent` as whole processes on real engines: updated from a stick, healthy or taken back, rolled back."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import require_tool
from tests.engines.images import busybox_entries
from tests.simulators.devices import Operator, TinyImage, make_image
from wherry.engines.device_choice import make_device_engine
from wherry.formats.tar import file_entry
from wherry.model.release import Health
from wherry.store.host import read_host_platform

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("engines")]

AGENT = (sys.executable, "-c", "from wherry.agent.front import main; main()")
LOOP = b"""#!/bin/sh
trap "exit 0" TERM
test $(cat /srv/name) = sick || touch /tmp/well
echo serving $(cat /srv/name)
while :; do sleep 0.1; done
"""
HEALTH = Health(command=("test", "-e", "/tmp/well"), within=5, seconds=0)
WEIGHTS = random.Random(7).randbytes(20_000)


def make_release(name: str, weights: bytes) -> TinyImage:
    code = [file_entry("srv/loop", LOOP, 0o755)]
    model = [file_entry("srv/name", name.encode()), file_entry("srv/weights", weights)]
    config: dict[str, Any] = {"entrypoint": ["/srv/loop"], "env": ["PATH=/bin"], "user": "10001"}
    return make_image(busybox_entries(), code, model, platform=read_host_platform(), **config)


@dataclass(frozen=True, kw_only=True)
class Van:
    """A device with an agent.toml."""

    folder: Path
    env: Mapping[str, str]
    container: str

    def agent(self, *words: str) -> subprocess.CompletedProcess[str]:
        argv = [*AGENT, "--config", str(self.folder / "agent.toml"), *words]
        return subprocess.run(argv, env=dict(self.env), capture_output=True, text=True, check=False, timeout=120)

    def apply(self, name: str) -> str:
        done = self.agent("apply", str(self.folder / name))
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def status(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.agent("status", "--json").stdout)
        return told


NEWER = [pytest.param(f"newer_docker{store}", marks=pytest.mark.network) for store in ("", "_containerd_store")]


@pytest.fixture(scope="module", params=["bubblewrap", "podman", "docker", *NEWER, "containerd"])
def van(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Van]:
    folder, engine = tmp_path_factory.mktemp("van"), "docker" if "docker" in request.param else request.param
    env: Mapping[str, str] = dict(os.environ)
    if request.param == "bubblewrap":
        require_tool("bwrap", "nsenter")
    else:
        env = request.getfixturevalue(f"{request.param}_engine").env
    container = f"van-{os.getpid()}-{request.param}"  # runc knows them of all engines of a machine by one list
    operator = Operator(datetime.now(UTC).replace(microsecond=0))
    (folder / "root.json").write_bytes(operator.root)
    images = {name: make_release(name, WEIGHTS[:where] + name.encode() + WEIGHTS[where:]) for name, where in PLACES.items()}
    before = None
    for number, (name, image) in enumerate(images.items(), 1):
        operator.release(number, image, HEALTH)
        (folder / name).write_bytes(operator.cut(image, before))
        before = image if name != "sick" else before
    settings = f'engine = "{engine}"\nstate = "state"\n[container]\nname = "{container}"\nnetwork = "host"\ngrace = 2\n'
    (folder / "agent.toml").write_text(settings)
    yield Van(folder=folder, env=env, container=container)
    make_device_engine(engine, env, folder / "state" / "engine").discard(container, 0)


PLACES = {"first": 5, "second": 900, "sick": 1500}


def test_the_life_of_a_device(van: Van) -> None:
    assert van.agent("doctor").returncode == 0
    assert van.apply("first") == "updated"
    assert (van.folder / "second").stat().st_size < (van.folder / "first").stat().st_size / 10
    assert van.apply("second") == "updated"
    # A sick one: the former is back, and stays.
    sick = van.agent("apply", str(van.folder / "sick"))
    assert (sick.returncode, "taken back" in sick.stderr) == (17, True), sick.stderr
    status = van.status()
    assert (status["current"]["release"], status["container"]["running"], status["pending"]) == (2, True, None)
    assert [refused["image"]["release"] for refused in status["refused"]] == [3]
    rolled = van.agent("rollback")
    assert rolled.returncode == 0, rolled.stderr
    status = van.status()
    assert (status["current"]["release"], status["former"]["release"], status["container"]["running"]) == (1, 2, True)
    # After a start of the machine no container runs.
    name = van.folder.joinpath("agent.toml").read_text().split('"')[1]
    engine = make_device_engine(name, van.env, van.folder / "state" / "engine")
    engine.discard(van.container, 1)
    assert not van.status()["container"]["running"]
    done = van.agent("recover")
    assert done.returncode == 0, done.stderr
    assert van.status()["container"]["running"]
    engine.discard(van.container, 1)
