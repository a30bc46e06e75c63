"""The bench `score`: requests a second beside a hand-written FastAPI app, and what is lost when everything is killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from bench.cases import measure_cases
from bench.harness import NotMeasured, run_process
from bench.results import Figure, Results, Target, figure, ratio
from bench.serving import SIDES, Load, ask, run_side, write_sides
from bench.workshop import install_wherry

CASES = ("serve-http", "kill")
TITLES = {
    "serve-http": "the example's model over HTTP on one core, 32 connections: a scoring script beside FastAPI with the same types",
    "kill": "SIGKILL at random moments: jobs and the page; a service on a device and a collector, 3,000 readings",
}
TARGETS = {
    "serve-http": (Target(metric="ratio_to_fastapi", limit=0.8, at_least=True),),
    "kill": (Target(metric="lost", limit=0),),
}
_ROUNDS, _SECONDS, _CONNECTIONS = 20, 0.6, 32
_KILLS, _READINGS = 30, 100


def run(work: Path, source: Path, results: Results, cases: tuple[str, ...]) -> None:
    """Measure the cases with the wherry of `source`; each is printed and kept as soon as it is done."""
    measures = {"serve-http": lambda: _measure_serving(work), "kill": lambda: _measure_kills(work, source)}
    measure_cases("score", cases, TITLES, TARGETS, results, lambda case: measures[case]())


def _measure_serving(work: Path) -> Iterator[Figure]:
    """In short turns, so that whatever else the machine does is for all of them; the idle ones take nothing.

    On a machine that is busy otherwise `ratio_by_cpu` tells more.
    """
    if len(cores := sorted(os.sched_getaffinity(0))) < 2:
        raise NotMeasured("one core for the server, another one for who asks")
    folder = work / "serving"
    write_sides(folder)
    os.sched_setaffinity(0, cores[1:])
    taken: dict[str, list[Load]] = {name: [] for name in SIDES}
    try:
        with ExitStack() as stack:
            servers = {name: stack.enter_context(run_side(folder, words, cores[0])) for name, words in SIDES.items()}
            for turn in range(_ROUNDS + 1):
                for name, (port, process) in servers.items():
                    load = ask(port, process, _CONNECTIONS, _SECONDS)
                    if turn:  # the first round warms
                        taken[name].append(load)
    finally:
        os.sched_setaffinity(0, cores)
    speeds = {name: [load.answers / load.seconds for load in loads] for name, loads in taken.items()}
    rival = max(("fastapi", "fastapi-async"), key=lambda name: sorted(speeds[name])[_ROUNDS // 2])
    yield ratio("serve-http", "ratio_to_fastapi", speeds["wherry"], speeds[rival])
    spent = {name: [load.answers / load.cpu for load in loads] for name, loads in taken.items()}
    yield ratio("serve-http", "ratio_by_cpu", spent["wherry"], spent[rival])
    for name in SIDES:
        yield figure("serve-http", name, "requests_per_second", speeds[name], "/s")
        yield figure("serve-http", name, "cpu_per_request", [load.cpu / load.answers * 1e3 for load in taken[name]], "ms")


def _measure_kills(work: Path, source: Path) -> Iterator[Figure]:
    drawn = random.Random(7)
    wherry = install_wherry(work, source)
    telemetry, kills = _kill_telemetry(work / "telemetry", drawn)
    jobs, more = _kill_jobs(work / "jobs", wherry, drawn)
    yield figure("kill", "wherry", "lost", [telemetry + jobs], "")
    yield figure("kill", "wherry", "kills", [kills + more], "")


def _kill_telemetry(folder: Path, drawn: random.Random) -> tuple[int, int]:
    """Readings that are not in the tables exactly once, and how often something was killed."""
    import pyarrow.dataset as ds
    from tests.flow.test_telemetry import Device, collect_rest, collector, publish
    from tests.simulators.mosquitto import run_mosquitto

    folder = folder / str(time.time_ns())
    folder.mkdir(parents=True)
    with run_mosquitto(folder) as broker:
        device, tables = Device(folder, "hulk", broker), folder / "tables" / "hulk"
        collect_rest(broker, tables)
        for turn in range(_KILLS):
            taking = subprocess.Popen(collector(broker, tables, "--rows", "20", "--every", "50ms"), stderr=subprocess.DEVNULL)
            with device.run() as service:
                publish(broker, "hulk", range(turn * _READINGS, (turn + 1) * _READINGS))
                time.sleep(drawn.uniform(0, 0.3))
                service.kill()
            time.sleep(drawn.uniform(0, 0.3))
            taking.kill()
            taking.wait(60)
        with device.run() as service:
            while device.counts()["waiting"]:
                time.sleep(0.1)
            service.send_signal(signal.SIGTERM)
            service.wait(60)
        collect_rest(broker, tables)
    found = ds.dataset(tables, partitioning="hive").to_table(columns=["id"]).column("id").to_pylist()
    wanted = {f"r{number}" for number in range(_KILLS * _READINGS)}
    return len(wanted - set(found)) + len(found) - len(set(found)), 2 * _KILLS


def _kill_jobs(folder: Path, wherry: Path, drawn: random.Random) -> tuple[int, int]:
    """Jobs without a record, or that are said to run although nobody watches them; and how often something was killed."""
    project = folder / "project"
    project.mkdir(parents=True, exist_ok=True)
    (project / "wherry.toml").write_text('name = "hold"\nenvironment = false\n')
    kept = {key: value for key, value in os.environ.items() if not key.startswith("WHERRY_")}
    env = kept | {f"WHERRY_{name}": str(folder / name.lower()) for name in ("STORE", "CACHE", "JOBS")}
    run_process([wherry, "run", "--on", "local", "true"], cwd=project, env=env)
    begun = set()
    page = subprocess.Popen(
        [wherry, "ui", "--no-browser"], cwd=project, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    for _ in range(_KILLS // 3):
        name = run_process([wherry, "run", "--on", "local", "-d", "--", "sleep", "120"], cwd=project, env=env).output.strip()
        begun.add(name)
        time.sleep(drawn.uniform(0, 0.2))
        told = next((folder / "jobs").rglob(f"{name}/tasks/0/begun.json"))
        os.kill(json.loads(told.read_text())["pid"], signal.SIGKILL)
    page.kill()
    page.wait(60)
    listed = json.loads(run_process([wherry, "job", "ls", "--all", "--json"], cwd=project, env=env).output)["jobs"]
    sound = {job["id"] for job in listed if job["state"] not in ("running",)}
    for name in begun:
        run_process([wherry, "job", "stop", name], cwd=project, env=env)
    return len(begun - sound), _KILLS // 3 + 1
