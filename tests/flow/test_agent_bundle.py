"""The agent with its own interpreter, in a root that has nothing but a shell: it takes an update and starts its image."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.conftest import require_tool
from tests.engines.images import busybox_entries
from tests.flow.conftest import Seed
from tests.simulators.devices import Operator, make_image
from wherry.formats.tar import file_entry
from wherry.model.release import Health
from wherry.store.host import read_host_platform

pytestmark = [pytest.mark.engine, pytest.mark.network]

ROOT = Path(__file__).parents[2]
LOOP = b'#!/bin/sh\ntrap "exit 0" TERM\necho serving $(cat /srv/name)\nwhile :; do sleep 0.1; done\n'
SETTINGS = """\
engine = "bubblewrap"
state = "agent"
[channel]
root = "root.json"
[container]
name = "van"
network = "host"
grace = 2
"""


@pytest.fixture(scope="module")
def bundle(seed: Seed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundle") / "wherry-agent.tar.gz"
    env = {**os.environ, "WHERRY_CACHE": str(seed.wherry.cache)}
    argv = [sys.executable, "-m", "tools.agent_bundle", str(out)]
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture
def device(bundle: Path, tmp_path: Path) -> Path:
    """A root with a shell, the bundle in /opt, and what an operator puts on a stick."""
    require_tool("bwrap", "busybox")
    root = tmp_path / "device"
    for folder in ("bin", "dev", "opt", "proc", "state", "tmp"):
        (root / folder).mkdir(parents=True)
    (root / "bin/busybox").write_bytes(next(bytes(entry.content) for entry in busybox_entries() if entry.path == "bin/busybox"))  # type: ignore[arg-type]
    (root / "bin/busybox").chmod(0o755)
    for applet in ("sh", "readlink", "dirname"):
        (root / "bin" / applet).symlink_to("busybox")
    subprocess.run(["tar", "-xzf", bundle, "-C", root / "opt"], check=True)
    operator, before = Operator(datetime.now(UTC).replace(microsecond=0)), None
    (root / "state/root.json").write_bytes(operator.root)
    (root / "state/agent.toml").write_text(SETTINGS)
    for number, name in enumerate(("first", "second"), 1):
        layers = busybox_entries(), [file_entry("srv/loop", LOOP, 0o755)], [file_entry("srv/name", name.encode())]
        image = make_image(*layers, platform=read_host_platform(), entrypoint=["/srv/loop"], env=["PATH=/bin"])
        operator.release(number, image, Health(log=f"serving {name}", within=20, seconds=0))
        (root / "state" / name).write_bytes(operator.cut(image, before))
        before = image
    return root


def run_inside(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    # The machine's own /proc: the agent's engine mounts one, which the kernel allows only where a whole one is seen.
    sandbox = ["bwrap", "--unshare-net", "--bind", root, "/", "--dev-bind", "/proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
    caps = ["--cap-add", "ALL"] if os.geteuid() == 0 else []
    agent = ["/opt/wherry-agent/wherry-agent", "--config", "/state/agent.toml", *words]
    argv = [*sandbox, *caps, "--clearenv", "--setenv", "PATH", "/bin", "--", *agent]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)


def test_it_brings_all_that_it_needs(device: Path) -> None:
    try:
        for name in ("first", "second"):
            done = run_inside(device, "apply", f"/state/{name}")
            assert (done.returncode, done.stdout.strip()) == (0, "updated"), done.stderr
        assert "on: release 2" in run_inside(device, "status").stdout
        assert "serving second" in (device / "state/agent/engine/containers/van/log").read_text()
    finally:
        with suppress(OSError, ValueError):
            number = (device / "state/agent/engine/containers/van/process").read_text().split("\n")[0]
            os.kill(int(number), signal.SIGTERM)
