"""The bench `batch-slurm`: sweeps on a real Slurm of two nodes on loopback, beside plain arrays of the same commands."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.engines.daemons import private_folder
from tests.engines.images import busybox_entries, layer_bytes, put_image
from tests.engines.slurm_cluster import SlurmCluster, run_slurm

from bench.cases import measure_cases
from bench.harness import NotMeasured, tell
from bench.results import Figure, Results, Target, figure, ratio
from wherry.model.sweep import Axis, Parameters, Sweep, SweepSpec
from wherry.run.backends.slurm import SlurmBackend
from wherry.run.sweep_driver import Post, SweepDriver
from wherry.run.sweep_state import SweepState
from wherry.run.sweep_watch import StopSign
from wherry.store.disk import DiskStore
from wherry.store.objects_open import open_objects

CASES = ("slurm-1000", "slurm-200-containers")
TITLES = {
    "slurm-1000": "1,000 tasks of `true` as processes: a sweep beside one array of 1,000",
    "slurm-200-containers": "200 tasks of `true`, each in a container: a sweep (bubblewrap) beside one array of 200 `runc run`",
}
TARGETS = {
    "slurm-1000": (
        Target(metric="tasks_per_s", limit=20, at_least=True),
        Target(metric="ratio_to_bare", limit=0.85, at_least=True),
    ),
    "slurm-200-containers": (
        Target(metric="tasks_per_s", limit=15, at_least=True),
        Target(metric="ratio_to_bare", limit=0.85, at_least=True),
    ),
}
_ROUNDS = 3


def run(work: Path, source: Path, results: Results, cases: tuple[str, ...]) -> None:
    """Measure the cases with the wherry that this Python has; each is printed and kept as soon as it is done."""
    del source
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    measures = {"slurm-1000": lambda: _measure_processes(work), "slurm-200-containers": lambda: _measure_containers(work)}
    measure_cases("batch-slurm", cases, TITLES, TARGETS, results, lambda case: measures[case]())


def _measure_processes(work: Path) -> Iterator[Figure]:
    with _cluster() as cluster:
        yield from _compare(
            "slurm-1000",
            1000,
            lambda at: _run_sweep(cluster, work / f"p{at}", 1000),
            lambda: _run_array(cluster, 1000, "true"),
        )


def _measure_containers(work: Path) -> Iterator[Figure]:
    layer = layer_bytes(busybox_entries())
    store = DiskStore(work / "store")
    put_image(store, "bare", [layer], cmd=("sh",), user="0:0", workdir="/app")
    image = str(store.resolve("bare").digest)
    bundle = _make_bundle(work / "bundle", layer)
    os.environ["WHERRY_STORE"] = str(store.root)
    script = f"runc --root {work}/runc run --bundle {bundle} t$SLURM_ARRAY_TASK_ID"
    with _cluster() as cluster:
        cluster.environment["WHERRY_STORE"] = str(store.root)
        yield from _compare(
            "slurm-200-containers",
            200,
            lambda at: _run_sweep(cluster, work / f"c{at}", 200, image=image, engine="bubblewrap"),
            lambda: _run_array(cluster, 200, script),
        )


def _compare(case: str, tasks: int, sweep: Callable[[int], float], bare: Callable[[], float]) -> Iterator[Figure]:
    """In turn, so that whatever else the machine does is for both."""
    ours, theirs = [], []
    for at in range(_ROUNDS):
        theirs.append(tasks / bare())
        ours.append(tasks / sweep(at))
    yield figure(case, "wherry", "tasks_per_s", ours, "1/s")
    yield figure(case, "array", "tasks_per_s", theirs, "1/s")
    yield ratio(case, "ratio_to_bare", ours, theirs)


def _run_array(cluster: SlurmCluster, tasks: int, script: str) -> float:
    """Seconds from the array's submission until the queue is empty."""
    begun = time.monotonic()
    out = cluster.folder / "bare.out"
    cluster.call("sbatch", "--parsable", f"--array=0-{tasks - 1}", f"--output={out}", "--wrap", script)
    while cluster.call("squeue", "--noheader", "--states=PENDING,RUNNING,COMPLETING").strip():
        time.sleep(0.2)
    if out.exists() and (said := out.read_text().strip()):
        raise NotMeasured(f"the bare array failed: {said[-200:]}")
    return time.monotonic() - begun


def _run_sweep(cluster: SlurmCluster, folder: Path, tasks: int, **more: str) -> float:
    """Seconds of a whole sweep, from its first document to its last worker's end; all tasks must have succeeded."""
    axis = Axis(name="i", values=tuple(range(tasks)))
    sweep = Sweep(name="bench", command=("sh", "-c", "true"), parameters=Parameters(axes=(axis,)))
    spec = SweepSpec(
        id="bench-1", sweep=sweep, target="cluster", backend="slurm", root=str(folder), owner="bench", created=0.0, **more
    )
    folder.mkdir(parents=True)
    begun = time.monotonic()
    state = SweepState(open_objects((folder / "state").as_uri(), cluster.environment, tell), spec.id)
    state.create(spec)
    post = Post(
        owner="bench",
        host="here",
        folder=folder / "sweeps",
        command=(sys.executable, "-m", "wherry.sweep_worker"),
        env={},
        keep=None,
    )
    backend = SlurmBackend(cluster.environment, say=tell)
    status = SweepDriver(state, spec, backend, post, StopSign(), tell, lambda _status: None).drive()
    if status.counts.succeeded != tasks:
        raise NotMeasured(f"not all tasks succeeded: {status.counts}")
    return time.monotonic() - begun


def _make_bundle(folder: Path, layer: bytes) -> Path:
    """What runc runs: a root, and a config that prints nothing."""
    (folder / "rootfs").mkdir(parents=True)
    (folder / "layer.tar").write_bytes(layer)
    with tarfile.open(folder / "layer.tar") as tar:
        tar.extractall(folder / "rootfs", filter="fully_trusted")
    subprocess.run(["runc", "spec"], cwd=folder, check=True)
    config = json.loads((folder / "config.json").read_text())
    config["process"] |= {"terminal": False, "args": ["sh", "-c", "true"]}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@contextmanager
def _cluster() -> Iterator[SlurmCluster]:
    with private_folder("slurm") as folder, run_slurm(folder / "slurm") as cluster:
        yield cluster
