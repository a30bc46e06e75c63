"""The bench `batch`: sweeps on this machine beside GNU parallel, what the wrapper costs, calls of backends, status of a huge sweep.

Whole processes are timed where there is a rival. The store of the 100,000 tasks is simulated, in the reader's own process; what it
holds counts in the memory.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from bench.cases import measure_cases
from bench.harness import NotMeasured, run_process, tell
from bench.results import Figure, Results, Target, figure, ratio
from wherry.engines.bubblewrap import BubblewrapEngine
from wherry.model.job import Job, TaskEnd
from wherry.model.sweep import Axis, Parameters, Sweep, SweepSpec
from wherry.run.backends.local import LocalBackend
from wherry.run.launch import load_image, pick_runnable
from wherry.run.sweep_container import ContainerLauncher
from wherry.run.sweep_driver import Post, SweepDriver
from wherry.run.sweep_launch import Launcher
from wherry.run.sweep_process import ProcessLauncher
from wherry.run.sweep_state import SweepState
from wherry.run.sweep_tasks import Place, run_tasks
from wherry.run.sweep_watch import StopSign
from wherry.store.disk import DiskStore
from wherry.store.objects_folder import FolderObjects

CASES = ("local-1000", "wrapper", "calls", "status-100000")
TITLES = {
    "local-1000": "1,000 tasks of `true` on this machine, records and commits included, beside GNU parallel",
    "wrapper": "what the wrapper adds to one task, beside the bare command",
    "calls": "calls of a backend for 1,000 tasks",
    "status-100000": "status of a sweep of 100,000 finished tasks, in a process of its own",
}
TARGETS = {
    "local-1000": (Target(metric="ratio_to_parallel", limit=0.5, at_least=True),),
    "wrapper": (Target(metric="ms_task", limit=10), Target(metric="ms_container", limit=150)),
    "calls": (Target(metric="submit", limit=2), Target(metric="poll", limit=1)),
    "status-100000": (Target(metric="seconds", limit=2), Target(metric="peak_mb", limit=300)),
}
_ROUNDS = 3
_WHERRY = Path(sys.executable).with_name("wherry")


def run(work: Path, source: Path, results: Results, cases: tuple[str, ...]) -> None:
    """Measure the cases with the wherry that this Python has; each is printed and kept as soon as it is done."""
    del source
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    measures: dict[str, Callable[[Path], Iterator[Figure]]] = {
        "local-1000": _measure_local,
        "wrapper": _measure_wrapper,
        "calls": _measure_calls,
        "status-100000": _measure_status,
    }
    measure_cases("batch", cases, TITLES, TARGETS, results, lambda case: measures[case](work))


def _measure_local(work: Path) -> Iterator[Figure]:
    if shutil.which("parallel") is None:
        raise NotMeasured("parallel is not installed: make rivals")
    project = work / "project"
    project.mkdir()
    numbers = ", ".join(map(str, range(1000)))
    table = f'[sweeps.many]\ncommand = ["true", "{{number}}"]\ngrid = {{ number = [{numbers}] }}\n'
    (project / "wherry.toml").write_text(f"environment = false\n{table}")
    places = {"WHERRY_STORE": "store", "WHERRY_CACHE": "cache", "WHERRY_JOBS": "jobs"}
    env = {**os.environ, **{name: str(work / place) for name, place in places.items()}}
    run_process([_WHERRY, "env", "create"], cwd=project, env=env)
    sweeps, rivals = [], []
    for _ in range(_ROUNDS):
        done = run_process([_WHERRY, "sweep", "run", "many", "--on", "local", "--json"], cwd=project, env=env)
        if json.loads(done.output)["counts"]["succeeded"] != 1000:
            raise NotMeasured("not all tasks succeeded")
        sweeps.append(1000 / done.seconds)
        log = work / "joblog"
        slots = str(len(os.sched_getaffinity(0)))
        words = ["parallel", "--jobs", slots, "--joblog", str(log), "true", ":::", *map(str, range(1000))]
        rivals.append(1000 / run_process(words).seconds)
        log.unlink()
    yield figure("local-1000", "wherry", "tasks_per_s", sweeps, "1/s")
    yield figure("local-1000", "GNU parallel", "tasks_per_s", rivals, "1/s")
    yield ratio("local-1000", "ratio_to_parallel", sweeps, rivals)


def _measure_wrapper(work: Path) -> Iterator[Figure]:
    own = [_time_tasks(work / f"p{turn}", ProcessLauncher(os.environ, None, {}), ("true",), 300) for turn in range(_ROUNDS)]
    bare = [_time_bare(["true"], 300) for _ in range(_ROUNDS)]
    yield figure("wrapper", "wherry", "ms_task", [(mine - its) * 1000 for mine, its in zip(own, bare, strict=True)], "ms")
    yield figure("wrapper", "bare `true`", "ms_task", [seconds * 1000 for seconds in bare], "ms")
    launcher, root = _open_container(work)
    own = [_time_tasks(work / f"c{turn}", launcher, ("sh", "-c", ":"), 60) for turn in range(_ROUNDS)]
    bind = ["bwrap", "--unshare-all", "--ro-bind", str(root), "/", "--proc", "/proc", "--dev", "/dev", "sh", "-c", ":"]
    bare = [_time_bare(bind, 60) for _ in range(_ROUNDS)]
    pairs = zip(own, bare, strict=True)
    yield figure("wrapper", "wherry", "ms_container", [(mine - its) * 1000 for mine, its in pairs], "ms")
    yield figure("wrapper", "bare bwrap", "ms_container", [seconds * 1000 for seconds in bare], "ms")


def _time_tasks(folder: Path, launcher: Launcher, command: tuple[str, ...], tasks: int) -> float:
    """Seconds a task takes of a worker with one slot, its state in a folder."""
    (folder / "scratch").mkdir(parents=True)
    spec = _make_spec(folder, command, tasks)
    state = SweepState(FolderObjects(folder / "store"), spec.id)
    state.create(spec)
    place = Place(worker=f"bench.{os.urandom(4).hex()}", host="here", scratch=folder / "scratch", slots=1)
    start = time.perf_counter()
    beat = run_tasks(state, spec, range(tasks), launcher, place, StopSign())
    seconds = time.perf_counter() - start
    if beat.done != tasks:
        raise NotMeasured(f"{beat.done} of {tasks} tasks were done")
    return seconds / tasks


def _time_bare(command: Sequence[str], times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    return (time.perf_counter() - start) / times


def _open_container(work: Path) -> tuple[ContainerLauncher, Path]:
    from tests.engines.images import busybox_entries, layer_bytes, put_image

    from wherry.formats.tar import directory_entry

    store = DiskStore(work / "store")
    put_image(store, "tiny:latest", [layer_bytes(busybox_entries()), layer_bytes([directory_entry("app")])], workdir="/app")
    engine = BubblewrapEngine(os.environ, work / "cache", work / "volumes")
    if not engine.probe().usable:
        raise NotMeasured("bubblewrap is not usable")
    stored, image = pick_runnable(store, "tiny")
    load_image(store, stored, image, engine, lambda _text: None)
    shells = sorted((work / "cache").rglob("bin/sh"), key=lambda path: len(path.parts))
    return ContainerLauncher(engine, image), shells[0].parents[1]


def _measure_calls(work: Path) -> Iterator[Figure]:
    called: list[str] = []

    class Counted(LocalBackend):
        def submit(self, job: Job, indices: Sequence[int]) -> None:
            called.append("submit")
            super().submit(job, indices)

        def poll(self, job: Job) -> dict[int, TaskEnd]:
            called.append("poll")
            return super().poll(job)

    env = {**os.environ, "WHERRY_JOBS": str(work / "calls/jobs")}
    (work / "calls").mkdir()
    spec = _make_spec(work / "calls", ("true",), 1000)
    state = SweepState(FolderObjects(work / "calls/store"), spec.id)
    state.create(spec)
    command = (sys.executable, "-m", "wherry.sweep_worker")
    post = Post(owner="bench", host="here", folder=work / "calls/jobs/sweeps", command=command, env={})
    looks: list[int] = []
    driver = SweepDriver(state, spec, Counted(env), post, StopSign(), tell, lambda _status: looks.append(len(called)))
    if driver.drive().counts.succeeded != 1000:
        raise NotMeasured("not all tasks succeeded")
    polls = [called[start:end].count("poll") for start, end in pairwise(looks)]
    yield figure("calls", "wherry", "submit", [float(called.count("submit"))], "calls")
    yield figure("calls", "wherry", "poll", [float(max(polls, default=0))], "calls a look")


def _measure_status(work: Path) -> Iterator[Figure]:
    del work
    runs = [run_process([sys.executable, "-m", "bench.batch_status", "100000"], memory=True) for _ in range(_ROUNDS)]
    yield figure("status-100000", "wherry", "seconds", [json.loads(run.output)["seconds"] for run in runs], "s")
    yield figure("status-100000", "wherry", "peak_mb", [run.peak / 1e6 for run in runs], "MB")


def _make_spec(root: Path, command: tuple[str, ...], tasks: int) -> SweepSpec:
    parameters = Parameters(axes=(Axis(name="number", values=tuple(range(tasks))),))
    sweep = Sweep(name="bench", command=command, parameters=parameters)
    return SweepSpec(id="bench-1", sweep=sweep, target="local", backend="local", root=str(root), owner="bench", created=0.0)
