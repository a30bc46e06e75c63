"""One sweep, unchanged: on this machine, in containers on a real Slurm of two nodes, on a real Ray of two nodes."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.engines.daemons import private_folder
from tests.engines.images import busybox_entries, layer_bytes, put_image
from tests.engines.ray_cluster import run_ray
from tests.engines.slurm_cluster import run_slurm
from wherry.model.job import JobState
from wherry.model.sweep import Axis, Parameters, Sweep, SweepSpec
from wherry.run.backends.local import LocalBackend
from wherry.run.backends.ray import RayBackend
from wherry.run.backends.slurm import SlurmBackend
from wherry.run.port import SweepBackend
from wherry.run.sweep_driver import Post, SweepDriver
from wherry.run.sweep_state import SweepState
from wherry.run.sweep_watch import StopSign
from wherry.store.disk import DiskStore
from wherry.store.objects_folder import FolderObjects

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("ray")]
TASKS = 12
# Busybox's and Debian's shells agree on this much: a file, a metric, an exit code, all of them by the parameters.
SCRIPT = (
    'cat given > "$WHERRY_OUTPUTS/result"; echo "{left} times {right} is $(({left} * {right}))" >> "$WHERRY_OUTPUTS/result"; '
    'echo "{{\\"metric\\": \\"product\\", \\"value\\": $(({left} * {right}))}}" > "$WHERRY_METRICS"; test {left} -ne 2'
)
SWEEP = Sweep(
    name="product",
    command=("sh", "-c", SCRIPT),
    parameters=Parameters(axes=(Axis(name="left", values=(1, 2, 3)), Axis(name="right", values=(5, 7, 11, 13)))),
)
Result = tuple[JobState, int | None, Mapping[str, float], bytes, tuple[tuple[str, str], ...]]


class Place:
    """A project, and whatever sweeps of it leave."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "project").mkdir()
        (folder / "project/given").write_text("from the project:\n")

    def run(self, name: str, backend: SweepBackend, **more: str) -> list[Result]:
        """The sweep's results on a backend, by task: as the store has them."""
        spec = SweepSpec(
            id=f"product-{name}-{os.urandom(3).hex()}",
            sweep=SWEEP,
            target=name,
            backend=name,
            root=str(self.folder / "project"),
            owner="me",
            created=0.0,
            beat=0.2,
            **more,  # type: ignore[arg-type]
        )
        state = SweepState(FolderObjects(self.folder / "state"), spec.id)
        assert state.create(spec)
        said: list[str] = []
        command = (sys.executable, "-m", "wherry.sweep_worker")
        post = Post(owner="me", host="here", folder=self.folder / "workers", command=command, env={})
        status = SweepDriver(state, spec, backend, post, StopSign(), said.append, lambda _status: None).drive()
        assert status.counts.done == TASKS, said
        return [self._read(state, task) for task in range(TASKS)]

    def _read(self, state: SweepState, task: int) -> Result:
        done = state.read_ends()[task]
        held = state.store.get(state.attempt_key(task, done.attempt, "outputs/result"))
        assert held is not None
        outputs = tuple((output.path, output.sha256) for output in done.outputs)
        return done.state, done.exit_code, done.metrics, held.data, outputs


def test_results_are_equal_byte_for_byte(tmp_path: Path) -> None:
    place, store = Place(tmp_path), DiskStore(tmp_path / "store")
    image = put_image(store, "shell", [layer_bytes(busybox_entries())], cmd=("sh",), user="0:0", workdir="/app")
    environment = {**os.environ, "WHERRY_STORE": str(store.root), "WHERRY_CACHE": str(tmp_path / "cache")}
    here = place.run("local", LocalBackend({**environment, "WHERRY_JOBS": str(tmp_path / "jobs")}))
    assert here[0][:3] == (JobState.SUCCEEDED, 0, {"product": 5.0})
    assert here[0][3] == b"from the project:\n1 times 5 is 5\n"
    assert [state for state, *_ in here] == [JobState.SUCCEEDED] * 4 + [JobState.FAILED] * 4 + [JobState.SUCCEEDED] * 4
    with private_folder("slurm") as folder, run_slurm(folder / "slurm") as slurm:
        places = {name: environment[name] for name in ("WHERRY_STORE", "WHERRY_CACHE")}
        backend = SlurmBackend({**slurm.environment, **places})
        assert place.run("slurm", backend, image=str(image.digest), engine="bubblewrap") == here
    with private_folder("ray") as folder, run_ray(folder) as cluster:
        ray = RayBackend(cluster.environment, python=cluster.python)
        try:
            assert place.run("ray", ray) == here
        finally:
            ray.down()
