"""A scoring service as an image in podman: published, healthy, killed and started again over the volume of its telemetry."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.conftest import require_tool
from tests.engines.daemons import Daemon
from tests.flow.test_telemetry import publish
from tests.simulators.mosquitto import Subscriber, run_mosquitto
from tests.unit.test_scoring import ask, free_port
from wherry.store.host import read_host_platform

pytestmark = [pytest.mark.engine, pytest.mark.network, pytest.mark.xdist_group("engines")]

WHERRY = (sys.executable, "-c", "from wherry.cli.front import main; main()")
DECLARED = """\
name = "served"
environment = false
bytecode = "none"
entrypoint = { score = "score.py" }
[score.mqtt]
broker = "env:HUB"
readings = "pod/readings"
upstream = "env:UP"
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    (folder / "wherry.toml").write_text(DECLARED)
    (folder / "score.py").write_text("def run(data: dict):\n    return {'hot': data['celsius'] > 30}\n")
    wherry(folder, os.environ, "build", "--platform", str(read_host_platform()))
    return folder


def wherry(folder: Path, env: Mapping[str, str], *words: str) -> str:
    places = {"WHERRY_STORE": str(folder.with_name("store")), "WHERRY_CACHE": str(folder.with_name("cache"))}
    done = subprocess.run(
        [*WHERRY, *words], cwd=folder, env={**env, **places}, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def test_in_a_container(
    project: Path, podman_engine: Daemon, tmp_path: Path, wait_for: Callable[[Callable[[], bool]], bool]
) -> None:
    require_tool("mosquitto")
    port = free_port()

    def is_up() -> bool:
        try:
            return ask(port, "/health")[0] == 200 and bool(tell()["listening"])
        except OSError:
            return False

    def tell() -> dict[str, int]:
        return dict(json.loads(ask(port, "/health")[1])["telemetry"])

    def start(up: int) -> str:
        variables = (f"HUB=mqtt://127.0.0.1:{hub.plain_port}", f"UP=mqtt://127.0.0.1:{up}", "WHERRY_DEVICE=pod")
        given = [word for one in (*variables, f"WHERRY_SCORE={json.dumps(settings)}") for word in ("-e", one)]
        return wherry(project, podman_engine.env, "run", "--on", "podman", "-d", "--network", "host", "-v", "served:/data", *given)

    declared = {"broker": {"url": "env:HUB"}, "upstream": {"url": "env:UP"}, "readings": "pod/readings"}
    settings = {"script": "score.py", "port": port, "mqtt": declared}
    with run_mosquitto(tmp_path) as hub, Subscriber(hub.plain_port) as hearing:
        container = start(free_port())  # nobody takes telemetry there
        assert wait_for(is_up), podman_engine.call("podman", "logs", container)
        assert ask(port, "/score", b'{"celsius": 31}') == (200, b'{"hot": true}')
        publish(hub, "pod", range(3))
        assert wait_for(lambda: tell()["waiting"] == 3)
        podman_engine.call("podman", "kill", container)
        container = start(hub.plain_port)
        heard = [hearing.take() for _ in range(4)]
        message = json.loads(heard[-1][1])
        assert heard[-1][0] == "wherry/pod/telemetry"
        assert (message["device"], [record["id"] for record in message["records"]]) == ("pod", ["r0", "r1", "r2"])
        podman_engine.call("podman", "stop", "-t", "30", container)
        podman_engine.call("podman", "volume", "rm", "served")
