"""examples/iot-edge-module: built with its one sdist, it sends telemetry from containers to a real mosquitto on loopback."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.conftest import require_tool
from tests.simulators.mosquitto import Mosquitto, Subscriber, run_mosquitto
from wherry.formats.lockfile import parse_lock
from wherry.model.lock import BuildKind
from wherry.store.host import read_host_platform

pytestmark = [pytest.mark.engine, pytest.mark.network, pytest.mark.xdist_group("engines")]

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "iot-edge-module"
WHERRY = (sys.executable, "-c", "from wherry.cli.front import main; main()")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, built once for this machine's platform."""
    require_tool("bwrap")
    home = tmp_path_factory.mktemp("edge")
    copy = home / "iot-edge-module"
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("__pycache__", "wherry.lock"))
    run(home, os.environ, "build", "--platform", str(read_host_platform()), cwd=copy)
    return copy


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with run_mosquitto(tmp_path_factory.mktemp("mosquitto")) as running:
        yield running


def run(home: Path, env: Mapping[str, str], *arguments: str, cwd: Path) -> str:
    places = {"WHERRY_STORE": str(home / "store"), "WHERRY_CACHE": str(home / "cache")}
    done = subprocess.run(
        [*WHERRY, *arguments], cwd=cwd, env={**env, **places}, capture_output=True, text=True, check=False, timeout=400
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_its_lock_says_how_the_sdist_was_built(project: Path) -> None:
    (locked,) = parse_lock((project / "wherry.lock").read_text()).platforms
    (build,) = locked.builds
    assert (build.name, build.version, build.kind, build.file) == (
        "paho-mqtt",
        "1.6.1",
        BuildKind.SDIST,
        "paho-mqtt-1.6.1.tar.gz",
    )
    assert [tool.name for tool in build.tools] == ["setuptools"]
    assert next(wheel.file for wheel in locked.wheels if wheel.name == "paho-mqtt") == "paho_mqtt-1.6.1-py3-none-any.whl"


@pytest.mark.parametrize("engine", ["bubblewrap", "podman"])
def test_it_sends_telemetry(project: Path, hub: Mosquitto, engine: str, request: pytest.FixtureRequest) -> None:
    env = os.environ if engine == "bubblewrap" else request.getfixturevalue("podman_engine").env
    connection = {
        "HostName": "hub.example",
        "GatewayHostName": hub.host,
        "DeviceId": "buoy",
        "ModuleId": "thermometer",
        "SharedAccessKey": base64.b64encode(b"secret").decode(),
    }
    variables = {
        "EdgeHubConnectionString": ";".join(f"{key}={value}" for key, value in connection.items()),
        "EdgeModuleCACertificateFile": "/authority/root.pem",
        "READINGS": "3",
        "PERIOD": "0",
    }
    options = [word for key, value in variables.items() for word in ("-e", f"{key}={value}")]
    words = ("run", "--on", engine, "--network", "host", "-v", f"{hub.root}:/authority:ro", *options)
    with Subscriber(hub.plain_port) as listener:
        printed = run(project.parent, env, *words, cwd=project)
        heard = [listener.take() for _ in range(3)]
    assert [json.loads(line) for line in printed.splitlines()] == [json.loads(content) for _, content in heard]
    assert [json.loads(content)["number"] for _, content in heard] == [1, 2, 3]
    topic = unquote(heard[0][0])
    assert topic.startswith("devices/buoy/modules/thermometer/messages/events/")
    assert "$.on=temperature" in topic
    assert "alert=false" in topic
