"""Readings on their way from a sensor to a table, through a real broker, a service and a collector that are killed on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from tests.flow.conftest import PROGRAM
from tests.simulators.mosquitto import TLS_PORT, Mosquitto, run_mosquitto
from tests.unit.test_scoring import ask, await_ready, free_port

SCRIPT = "def run(data: dict):\n    return {'hot': data['celsius'] > 30}\n"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with run_mosquitto(tmp_path_factory.mktemp("mosquitto")) as running:
        yield running


class Device:
    """A service on a device; readings come over the plain listener, telemetry leaves over TLS."""

    def __init__(self, folder: Path, name: str, hub: Mosquitto, **more: Any) -> None:
        self.folder, self.name, self.port = folder / name, name, free_port()
        self.folder.mkdir()
        (self.folder / "score.py").write_text(SCRIPT)
        upstream = {"url": f"mqtts://{hub.host}:{TLS_PORT}", "authority": "env:ROOT"}
        mqtt = {
            "broker": {"url": f"mqtt://127.0.0.1:{hub.plain_port}"},
            "readings": f"{name}/readings",
            "upstream": upstream,
            **more,
        }
        settings = {"script": "score.py", "port": self.port, "mqtt": mqtt}
        own = {"WHERRY_SCORE": json.dumps(settings), "WHERRY_DEVICE": name, "ROOT": str(hub.root / "root.pem")}
        self.env = {**os.environ, **own}

    @contextmanager
    def run(self) -> Iterator[subprocess.Popen[bytes]]:
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen([sys.executable, "-m", "wherry.score"], cwd=self.folder, env=self.env, stderr=log)
        try:
            await_ready(process, self.port)
            self.await_count("listening", 1)
            yield process
        finally:
            process.kill()
            process.wait(60)

    def counts(self) -> dict[str, int]:
        return dict(json.loads(ask(self.port, "/health")[1])["telemetry"])

    def await_count(self, name: str, least: int) -> None:
        end = time.monotonic() + 60
        while self.counts().get(name, 0) < least:
            assert time.monotonic() < end, (self.counts(), (self.folder / "log").read_text())
            time.sleep(0.02)


def publish(broker: Mosquitto, device: str, numbers: range) -> None:
    client = Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", broker.plain_port)
    client.loop_start()
    readings = [{"id": f"r{n}", "time": 1.7e9 + n, "celsius": n % 40} for n in numbers]
    for sent in [client.publish(f"{device}/readings", json.dumps(reading), qos=1) for reading in readings]:
        sent.wait_for_publish(60)
    client.disconnect()
    client.loop_stop()


def collector(broker: Mosquitto, tables: Path, *words: str) -> list[str | Path]:
    address = f"mqtt://127.0.0.1:{broker.plain_port}"
    return [PROGRAM, "telemetry", "collect", tables, "--broker", address, "--topic", f"wherry/{tables.name}/telemetry", *words]


def collect_rest(broker: Mosquitto, tables: Path) -> dict[str, Any]:
    done = subprocess.run(
        collector(broker, tables, "--idle", "1s", "--json"), capture_output=True, text=True, check=True, timeout=60
    )
    return dict(json.loads(done.stdout))


def read(tables: Path) -> list[dict[str, Any]]:
    return list(ds.dataset(tables, partitioning="hive").to_table().to_pylist())


def test_killed_on_the_way_every_reading_is_in_the_table_once(tmp_path: Path, broker: Mosquitto) -> None:
    device, tables = Device(tmp_path, "hulk", broker), tmp_path / "tables" / "hulk"
    assert collect_rest(broker, tables)["records"] == 0  # from here on the broker keeps what is for this collector
    with device.run() as service:
        publish(broker, "hulk", range(50))
        device.await_count("came", 1)
        service.kill()
    publish(broker, "hulk", range(50, 100))
    with device.run() as service:
        device.await_count("sent", 1)
        service.kill()
    taking = subprocess.Popen(collector(broker, tables, "--rows", "7", "--every", "1ms"), stderr=subprocess.PIPE)
    with device.run() as service:
        publish(broker, "hulk", range(100, 150))
        assert taking.stderr is not None
        taking.stderr.readline()  # a first file
        taking.kill()
        device.await_count("came", 50)
        service.kill()
    taking.communicate()
    with device.run() as service:
        end = time.monotonic() + 60
        while device.counts()["waiting"]:
            assert time.monotonic() < end
            time.sleep(0.02)
        service.send_signal(signal.SIGTERM)
        assert service.wait(60) == 0
    collect_rest(broker, tables)
    rows = read(tables)
    assert sorted(row["id"] for row in rows) == sorted(f"r{n}" for n in range(150))
    assert {(row["reading.celsius"] > 30) == row["result.hot"] for row in rows} == {True}
    assert {(row["device"], row["date"]) for row in rows} == {("hulk", "2023-11-14")}


def test_what_nobody_takes_waits_and_what_is_not_worth_its_bytes_does_not_leave(tmp_path: Path, broker: Mosquitto) -> None:
    rule = {"topic": "#", "fields": ["reading.celsius"], "method": "min-max", "window": 20, "points": 2, "always": "result.hot"}
    nowhere = {"url": f"mqtt://127.0.0.1:{free_port()}"}
    device, tables = Device(tmp_path, "brig", broker, reductions=[rule]), tmp_path / "tables" / "brig"
    collect_rest(broker, tables)
    away = {**device.env, "WHERRY_SCORE": device.env["WHERRY_SCORE"]}
    settings = json.loads(away["WHERRY_SCORE"])
    settings["mqtt"]["upstream"] = nowhere
    there, device.env = device.env, {**away, "WHERRY_SCORE": json.dumps(settings)}
    with device.run() as service:
        publish(broker, "brig", range(80))
        device.await_count("came", 80)
        assert device.counts().get("sent", 0) == 0
        service.kill()
    device.env = there
    publish(broker, "brig", range(100, 101))  # closes the last window
    with device.run():
        device.await_count("came", 81)
        hot = [f"r{n}" for n in range(80) if n % 40 > 30]
        device.await_count("sent", len(hot) + 8)
        assert device.counts()["saved_bytes"] > 0
    collect_rest(broker, tables)
    found = {row["id"] for row in read(tables)}
    assert set(hot) <= found
    assert {"r0", "r19", "r20", "r30", "r40", "r59"} <= found
    assert len(found) == len(hot) + 8


def test_strangers_are_passed_over_and_a_second_collector_refused(tmp_path: Path, broker: Mosquitto) -> None:
    tables = tmp_path / "tables" / "sloop"
    collect_rest(broker, tables)
    client = Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", broker.plain_port)
    client.loop_start()
    sound = {"version": 1, "device": "sloop", "dropped": 2, "records": [{"id": "a", "time": 1, "reading": "\ud800"}]}
    good = {**sound, "records": [{"id": "a", "time": 1, "reading": 1}]}
    for payload in (
        b"\xff",
        b"{}",
        json.dumps(sound),
        json.dumps({**good, "device": "../../up"}),
        json.dumps(good),
        json.dumps(good),
    ):
        client.publish("wherry/sloop/telemetry", payload, qos=1).wait_for_publish(60)
    client.disconnect()
    client.loop_stop()
    first = subprocess.Popen(
        collector(broker, tables, "--rows", "1", "--every", "1ms"), stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert first.stderr is not None
    while b"1 records in 1 files" not in first.stderr.readline():
        pass
    second = subprocess.run(collector(broker, tables, "--idle", "1s"), capture_output=True, text=True, check=False, timeout=60)
    assert second.returncode == 13
    assert "another collector takes telemetry there" in second.stderr
    first.send_signal(signal.SIGTERM)
    out, _ = first.communicate(timeout=60)
    assert first.returncode == 0
    assert out.decode() == "1 records in 1 files, 1 that came again, 4 messages passed over\nsloop: 2 dropped\n"
    assert [row["id"] for row in read(tables)] == ["a"]
    assert not (tmp_path / "up").exists()


def test_a_broker_that_wants_to_know_who_we_are(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("right\n")
    with run_mosquitto(tmp_path, users={"buoy": "right"}) as hub:
        address = {"url": f"mqtt://127.0.0.1:{hub.plain_port}", "user": "env:NAME", "password": f"file:{tmp_path}/password"}
        device = Device(tmp_path, "buoy", hub, broker=address, upstream=address)
        device.env["NAME"] = "buoy"
        with device.run():  # and listening
            pass
        (tmp_path / "password").write_text("wrong\n")
        refused = subprocess.Popen(
            [sys.executable, "-m", "wherry.score"], cwd=device.folder, env=device.env, stderr=subprocess.PIPE
        )
        assert refused.stderr is not None
        while b"refused: Not authorized" not in refused.stderr.readline():
            assert refused.poll() is None
        refused.terminate()
        refused.communicate(timeout=60)
        named = ("--broker", address["url"], "--user", "env:NAME", "--password", "env:WORD", "--idle", "200ms")
        words = [PROGRAM, "telemetry", "collect", tmp_path / "t", *named]
        for word, code in (("wrong", 14), ("right", 0)):
            env = {**os.environ, "NAME": "buoy", "WORD": word}
            done = subprocess.run(words, env=env, capture_output=True, text=True, check=False, timeout=60)
            assert done.returncode == code, done.stderr
            assert ("the broker refuses us" in done.stderr) == (code == 14)
            assert word not in done.stderr
        done = subprocess.run([*words, "--user", "buoy"], capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, "not a reference" in done.stderr) == (2, True)


def test_a_broker_that_is_not_there(tmp_path: Path) -> None:
    words = [PROGRAM, "telemetry", "collect", tmp_path / "t", "--broker", f"mqtt://127.0.0.1:{free_port()}", "--idle", "100ms"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 14
    assert "the broker was not reached" in done.stderr
