"""Whether containers start and reach the network, tried with a real engine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import require_tool
from tests.engines.daemons import Daemon
from wherry.engines.device_choice import make_device_engine
from wherry.engines.network_probe import Target, try_network
from wherry.errors import EngineError

pytestmark = [pytest.mark.engine]


def test_a_container_runs_and_says_what_it_did_not_reach(podman_engine: Daemon, tmp_path: Path) -> None:
    require_tool("busybox")
    engine = make_device_engine("podman", podman_engine.env, tmp_path)
    targets = (Target(host="nobody.invalid", port=443), Target(host="127.0.0.1", port=9, is_name=False))
    tried = try_network(engine, podman_engine.env, targets, 40.0)
    assert tried.resolved == {targets[1]}, "an address has not to be resolved"
    assert tried.reached == frozenset()
    names = podman_engine.call("podman", "images", "--format", "{{.Repository}}").stdout.decode()
    assert "wherry-probe" not in names
    assert podman_engine.call("podman", "ps", "--all", "--quiet").stdout == b""


def test_an_engine_that_starts_no_container_says_so(podman_engine: Daemon, tmp_path: Path) -> None:
    require_tool("busybox")
    conf = tmp_path / "containers.conf"
    conf.write_text(Path(podman_engine.env["CONTAINERS_CONF"]).read_text().replace('"runc"', '"/bin/false"'))
    env = {**podman_engine.env, "CONTAINERS_CONF": str(conf)}
    with pytest.raises(EngineError):
        try_network(make_device_engine("podman", env, tmp_path), env, (), 20.0)


def test_the_command_on_this_machine(podman_engine: Daemon, tmp_path: Path) -> None:
    require_tool("busybox")
    command = [sys.executable, "-c", "from wherry.cli.front import main; main()", "check", "--host", "--offline", "--json"]
    env = {**podman_engine.env, "WHERRY_STORE": str(tmp_path / "s"), "WHERRY_CACHE": str(tmp_path / "c")}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=100)
    document = json.loads(done.stdout)
    lines = {one["subject"]: one for one in document["findings"]}
    assert lines["engine podman"]["state"] == lines["containers"]["state"] == "ok", done.stdout
    assert {"clock", "cgroups", "disk of the store", "user namespaces"} <= lines.keys()
