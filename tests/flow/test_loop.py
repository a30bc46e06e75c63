"""examples/anomaly-loop, as its README tells it: readings are scored on a device, reduced, collected, trained on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.conftest import require_tool
from tests.flow.conftest import Wherry
from tests.simulators.mosquitto import Mosquitto, run_mosquitto
from tests.unit.test_scoring import ask, free_port
from wherry.engines.device_choice import make_device_engine

pytestmark = [pytest.mark.engine, pytest.mark.network, pytest.mark.xdist_group("engines")]

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "anomaly-loop"
BIN = Path(sys.executable).parent
AGENT = """\
engine = "bubblewrap"
state = "state"
[channel]
url = "{fleet}"
root = "{fleet}/metadata/1.root.json"
[container]
name = "loop-{pid}"
network = "host"
volumes = ["{data}:/data"]
env = {{ HUB = "mqtt://127.0.0.1:{hub}", WHERRY_DEVICE = "boiler-1" }}
"""


@dataclass(frozen=True, kw_only=True)
class Loop:
    """The example's folders, and a device whose agent reads the channel beside them."""

    folder: Path
    places: dict[str, str]
    hub: Mosquitto
    port: int

    def run(self, *words: str | Path, cwd: str = "", program: str = "wherry") -> str:
        done = subprocess.run(
            [BIN / program, *words],
            cwd=self.folder / cwd,
            env={**os.environ, **self.places},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def release(self) -> None:
        self.run("build", cwd="device")
        well = ("--health", f"http:{self.port}/health", "--health-for", "1")
        self.run("release", "anomaly-loop", "--channel", "fleet", *well)
        assert self.run("--config", "agent.toml", "once", program="wherry-agent").strip() == "updated"

    def measure(self, seed: int, steps: int, odd: int = 0) -> None:
        before = self.tell()["came"] if self.tell().get("came") else 0
        words = ["127.0.0.1", str(self.hub.plain_port), "--seed", str(seed), "--steps", str(steps), "--odd", str(odd)]
        self.run("sensor.py", *words, program="python")
        while self.tell().get("came", 0) < before + steps:
            pass

    def tell(self) -> dict[str, Any]:
        return dict(json.loads(ask(self.port, "/health")[1])["telemetry"])

    def collect(self) -> list[dict[str, Any]]:
        hub = f"mqtt://127.0.0.1:{self.hub.plain_port}"
        self.run("telemetry", "collect", "training/data/readings", "--broker", hub, "--idle", "1s")
        files = sorted((self.folder / "training/data/readings").glob("date=*/*/*.parquet"))
        return [{**row, "device": file.parent.name} for file in files for row in pq.ParquetFile(file).read().to_pylist()]


@pytest.fixture
def loop(tmp_path: Path, wherry: Wherry) -> Iterator[Loop]:
    require_tool("bwrap", "nsenter", "mosquitto")
    shutil.copytree(EXAMPLE, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("wherry.lock", "*.json", "data"))
    (tmp_path / "training/data").mkdir()
    (tmp_path / "telemetry").mkdir(mode=0o777)
    (tmp_path / "telemetry").chmod(0o777)  # the image's user writes there
    port = free_port()
    with (tmp_path / "device/wherry.toml").open("a") as declared:
        declared.write(f"\n[score]\nport = {port}\n")
    with run_mosquitto(tmp_path / "broker") as hub:
        agent = AGENT.format(fleet=tmp_path / "fleet", pid=os.getpid(), data=tmp_path / "telemetry", hub=hub.plain_port)
        (tmp_path / "agent.toml").write_text(agent)
        places = {"JOBS": tmp_path / "jobs", "KEYS": tmp_path / "keys", "STORE": wherry.store, "CACHE": wherry.cache}
        made = Loop(folder=tmp_path, places={f"WHERRY_{name}": str(path) for name, path in places.items()}, hub=hub, port=port)
        made.run("channel", "keys", "init", "fleet", "--keys", "keys", "--no-passphrase")
        try:
            yield made
        finally:
            make_device_engine("bubblewrap", os.environ, tmp_path / "state" / "engine").discard(f"loop-{os.getpid()}", 1)


def test_from_readings_to_a_better_model_and_back(loop: Loop) -> None:
    assert loop.collect() == []  # from here on the broker keeps what is sent
    loop.release()
    loop.measure(seed=1, steps=600)
    first = loop.collect()
    assert 8 <= len(first) < 12  # one record a minute, but for the one that is not over
    assert sum(row["count"] for row in first) <= 600

    model = loop.run("run", "--on", "local", "--", "train.py", "data/readings", cwd="training")
    assert abs(json.loads(model)["mean"] - 21.0) < 0.1
    (loop.folder / "device/models").mkdir()
    (loop.folder / "device/models/model.json").write_text(model)
    loop.release()
    parcels = sorted(path.stat().st_size for path in (loop.folder / "fleet/parcels").rglob("*") if path.is_file())
    assert parcels[0] < 3000 < parcels[-1]  # the model moved, and no package

    loop.measure(seed=2, steps=120, odd=3)
    found = loop.collect()
    assert len(found) >= len(first) + 3
    odd = [row for row in found if row.get("result.anomaly")]
    assert [(row["reading.celsius"], row["count"], row["device"]) for row in odd] == [(60.0, 1, "device=boiler-1")] * 3
