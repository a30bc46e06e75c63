"""What every backend of sweeps keeps, besides what `BackendContract` asks of jobs: a class below it says how workers get there.

A worker here is a small script of the shell's, for a backend starts what it is given and knows nothing of tasks.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.run.backend_contract import ASLEEP, stands_still, wait_until
from wherry.model.job import Job, JobState, Limits
from wherry.model.sweep import Axis, Parameters, Sweep, SweepSpec
from wherry.run.port import SweepBackend


def make_spec(root: Path, tasks: int = 8, **more: object) -> SweepSpec:
    """A sweep of so many tasks."""
    parameters = Parameters(axes=(Axis(name="number", values=tuple(range(tasks))),))
    sweep = Sweep(name="trial", command=("sh", "-c", "true"), parameters=parameters, **more)  # type: ignore[arg-type]
    return SweepSpec(id="trial-1", sweep=sweep, target="here", backend="local", root=str(root), owner="me", created=0.0)


class SweepBackendContract:
    """A subclass gives `backend`, a fixture that makes a backend of the same place anew with each call, and `folder`, where its
    workers' folders lie."""

    @pytest.fixture
    def worker(self, folder: Path, tmp_path: Path) -> Callable[..., Job]:
        def make(script: str, **more: object) -> Job:
            sweep = f"trial-{os.urandom(3).hex()}"
            name = f"{sweep}.{os.urandom(3).hex()}"
            (folder / name).mkdir(parents=True)
            labels = (("wherry-sweep", sweep), ("wherry-round", name))
            values = {"id": name, "root": str(tmp_path), "folder": str(folder / name), "command": ("/bin/sh", "-c", script)}
            return Job(**{**values, "worker": True, "labels": labels, **more})  # type: ignore[arg-type]

        return make

    def states(self, backend: SweepBackend, job: Job) -> list[JobState]:
        return [end.state for end in backend.poll(job).values()]

    def finish(self, backend: SweepBackend, job: Job) -> list[JobState]:
        assert wait_until(lambda: all(state.is_final for state in self.states(backend, job))), "no end"
        return self.states(backend, job)

    def test_it_measures_without_making(self, backend: Callable[[], SweepBackend], tmp_path: Path) -> None:
        found = backend().measure(make_spec(tmp_path, tasks=3))
        assert found.workers >= 1
        assert 1 <= found.slots <= 3
        assert backend().list_resources() == ()

    def test_each_worker_knows_which_it_is(
        self, backend: Callable[[], SweepBackend], worker: Callable[..., Job], tmp_path: Path
    ) -> None:
        here, job = backend(), worker(f'echo $WHERRY_JOB $MINE > "{tmp_path}/$WHERRY_TASK"', env=(("MINE", "a b"),))
        here.up()
        here.submit(job, range(3))
        assert self.finish(here, job) == [JobState.SUCCEEDED] * 3
        assert {(tmp_path / str(index)).read_text() for index in range(3)} == {f"{job.id} a b\n"}

    def test_what_nobody_knows(self, backend: Callable[[], SweepBackend], worker: Callable[..., Job]) -> None:
        job = worker("true")
        assert backend().poll(job) == {}
        backend().cancel(job, 0)

    def test_anybody_may_poll_and_cancel(
        self, backend: Callable[[], SweepBackend], worker: Callable[..., Job], tmp_path: Path
    ) -> None:
        job = worker(f'trap "echo bye > {tmp_path}/bye; exit 143" TERM; echo up > {tmp_path}/up; {ASLEEP}')
        backend().submit(job, (0,))
        assert wait_until(lambda: (tmp_path / "up").exists())
        assert self.states(backend(), job) == [JobState.RUNNING]
        backend().cancel(job, 30)
        assert self.finish(backend(), job) != [JobState.SUCCEEDED]
        assert (tmp_path / "bye").exists()

    def test_the_deadline_is_the_backend_s_own(
        self, backend: Callable[[], SweepBackend], worker: Callable[..., Job], tmp_path: Path
    ) -> None:
        job = worker(f"while :; do echo >> {tmp_path}/beat; sleep 0.05; done", limits=Limits(seconds=1))
        backend().submit(job, (0,))
        assert self.finish(backend(), job) == [JobState.TIMED_OUT]
        assert stands_still(tmp_path / "beat")

    def test_orphans_are_found_by_their_labels_and_released(
        self, backend: Callable[[], SweepBackend], worker: Callable[..., Job], tmp_path: Path
    ) -> None:
        job = worker(f"while :; do echo >> {tmp_path}/beat; sleep 0.05; done")
        backend().submit(job, (0,))
        assert wait_until(lambda: (tmp_path / "beat").exists())
        found = backend().list_resources()
        assert {resource.round for resource in found} == {job.id}
        for resource in found:
            backend().release(resource)
            backend().release(resource)
        assert backend().list_resources() == ()
        assert stands_still(tmp_path / "beat")
