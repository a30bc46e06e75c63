"""The bench `batch-ray`: a sweep on a real Ray of two nodes on loopback, beside bare Ray with a task for each of the same commands.

The rate is that of one job while it runs: from the first command's start to the last one's end, with the processes that start
commands up, ours as Ray's own. What it takes as a whole, connecting and starting those processes included, is a figure of its own.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.engines.daemons import private_folder
from tests.engines.ray_cluster import ADDRESS, RayCluster, run_ray

from bench.cases import measure_cases
from bench.harness import NotMeasured, tell
from bench.results import Figure, Results, Target, figure, ratio
from wherry.model.sweep import Axis, Parameters, Sweep, SweepSpec
from wherry.run.backends.ray import RayBackend
from wherry.run.sweep_driver import Post, SweepDriver
from wherry.run.sweep_state import SweepState
from wherry.run.sweep_watch import StopSign
from wherry.store.objects_folder import FolderObjects

CASES = ("ray-1000",)
TITLES = {"ray-1000": "1,000 tasks of `true` as processes in one job: a sweep, records and commits included, beside bare Ray"}
TARGETS = {
    "ray-1000": (
        Target(metric="tasks_per_s", limit=300, at_least=True),
        Target(metric="ratio_to_bare", limit=0.6, at_least=True),
    )
}
_TASKS = 1000
_ROUNDS = 3
_BARE = """
import subprocess, sys, time
import ray
ray.init(address=sys.argv[1], log_to_driver=False)
@ray.remote(num_cpus=1, max_retries=0)
def run():
    return subprocess.run(["true"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE).returncode
ray.get([run.remote() for _ in range(40)])
begun = time.perf_counter()
codes = ray.get([run.remote() for _ in range(int(sys.argv[2]))])
print(time.perf_counter() - begun if not any(codes) else "failed")
"""


def run(work: Path, source: Path, results: Results, cases: tuple[str, ...]) -> None:
    """Measure the case with the wherry that this Python has."""
    del source
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)

    def measure(case: str) -> Iterator[Figure]:
        with private_folder("ray") as folder, run_ray(folder) as cluster:
            yield from _compare(case, cluster, work)

    measure_cases("batch-ray", cases, TITLES, TARGETS, results, measure)


def _compare(case: str, cluster: RayCluster, work: Path) -> Iterator[Figure]:
    """In turn, so that whatever else the machine does is for both."""
    ours, theirs = [], []
    for at in range(_ROUNDS):
        theirs.append(_run_bare(cluster))
        ours.append(_run_sweep(cluster, work / str(at)))
    for subject, found in (("wherry", ours), ("bare Ray", theirs)):
        yield figure(case, subject, "tasks_per_s", [_TASKS / inside for inside, _ in found], "1/s")
        yield figure(case, subject, "whole_seconds", [whole for _, whole in found], "s")
    yield ratio(case, "ratio_to_bare", [_TASKS / inside for inside, _ in ours], [_TASKS / inside for inside, _ in theirs])


def _run_bare(cluster: RayCluster) -> tuple[float, float]:
    begun = time.monotonic()
    argv = [*cluster.python, "-c", _BARE, ADDRESS, str(_TASKS)]
    done = subprocess.run(argv, env=cluster.environment, cwd="/", capture_output=True, text=True, timeout=300)
    try:
        return float(done.stdout.split()[-1]), time.monotonic() - begun
    except (IndexError, ValueError) as error:
        raise NotMeasured(f"bare Ray failed: {done.stderr[-300:]}") from error


def _run_sweep(cluster: RayCluster, folder: Path) -> tuple[float, float]:
    """Seconds of the tasks, and of the whole sweep to its last worker's end."""
    begun = time.monotonic()
    axis = Axis(name="i", values=tuple(range(_TASKS)))
    sweep = Sweep(name="bench", command=("true",), parameters=Parameters(axes=(axis,)))
    spec = SweepSpec(id="bench-1", sweep=sweep, target="cluster", backend="ray", root="/", owner="bench", created=0.0)
    state = SweepState(FolderObjects(folder / "state"), spec.id)
    state.create(spec)
    command = (sys.executable, "-m", "wherry.sweep_worker")
    post = Post(owner="bench", host="here", folder=folder / "sweeps", command=command, env={})
    backend = RayBackend(cluster.environment, python=cluster.python)
    status = SweepDriver(state, spec, backend, post, StopSign(), tell, lambda _status: None).drive()
    whole = time.monotonic() - begun
    ends = state.read_ends().values()
    if status.counts.succeeded != _TASKS:
        raise NotMeasured(f"not all tasks succeeded: {status.counts}")
    return max(done.ended for done in ends) - min(done.ended - done.seconds for done in ends), whole
