"""A Slurm whose controller is killed and comes back, with what it last saved: a cluster of its own for each test, for such a one
starts earlier workers again and drains the nodes where they run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.daemons import private_folder
from tests.engines.slurm_cluster import SlurmCluster, run_slurm
from tests.engines.slurm_sweeps import Yard
from tests.unit.run.backend_contract import wait_until
from wherry.model.job import Job, JobState, Limits
from wherry.run.backends.slurm import SlurmBackend
from wherry.run.sweep_status import SweepStatus
from wherry.run.tasks import task_folder
from wherry.sweeps import Sweeps

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("slurm")]
LABELS = (("wherry-sweep", "trial-1"), ("wherry-round", "trial-1.aa"))


@pytest.fixture
def cluster() -> Iterator[SlurmCluster]:
    with private_folder("slurm") as folder, run_slurm(folder / "slurm") as running:
        yield running


def states(backend: SlurmBackend, job: Job) -> list[JobState]:
    return [end.state for end in backend.poll(job).values()]


def test_a_controller_that_is_killed_ends_nothing(cluster: SlurmCluster, tmp_path: Path) -> None:
    said: list[str] = []
    here = SlurmBackend(cluster.environment, say=said.append)
    script = f'echo up > {tmp_path}/up; while [ ! -e "{tmp_path}/go" ]; do sleep 0.05; done'
    command = ("/bin/sh", "-c", script)
    job = Job(id="trial-1.aa", root=str(tmp_path), folder=str(tmp_path / "job"), command=command, worker=True, labels=LABELS)
    (tmp_path / "job").mkdir()
    here.submit(job, (0,))
    assert wait_until(lambda: (tmp_path / "up").exists())
    cluster.kill_controller()
    try:
        assert states(here, job) == [JobState.RUNNING]
        assert "does not answer" in said[0]
        (tmp_path / "go").touch()
        assert wait_until((task_folder(job.folder, 0) / "exit-code").exists)
    finally:
        cluster.start_controller()
    assert wait_until(lambda: states(here, job) == [JobState.SUCCEEDED])
    here.cancel(job, 0)
    assert here.list_resources() == ()


def test_a_controller_that_is_killed_and_comes_back_commits_nothing_twice(cluster: SlurmCluster, tmp_path: Path) -> None:
    yard = Yard(cluster, tmp_path)
    script = 'begin; if [ {i} -lt 4 ]; then wait; else wait back; fi; echo {i} > "$WHERRY_OUTPUTS/number"'
    state = yard.begin(script, 6, limits=Limits(cpus=8))
    steps: list[str] = []

    def look(status: SweepStatus) -> None:
        if not steps and len(yard.list_begun()) == 4:
            steps.append("killed")
            cluster.kill_controller()
            yard.go()
        elif steps == ["killed"] and status.counts.done == 4 and any("does not answer" in line for line in yard.said):
            steps.append("started")
            cluster.start_controller()
            yard.go("back")

    try:
        status = yard.drive(look)
    finally:
        if steps == ["killed"]:
            cluster.start_controller()
    assert status.counts.succeeded == 6
    assert yard.read_numbers() == [f"{task}\n" for task in range(6)]
    dones = state.read_ends()
    # It comes back with what it last saved, and may run workers again that had ended by then.
    sweeps = Sweeps({**cluster.environment, "WHERRY_JOBS": str(yard.place / "jobs")})
    sweeps.collect(None, state.store.url, dry_run=False)
    assert wait_until(lambda: yard.list_left() == [])
    assert (state.read_ends(), yard.read_numbers()) == (dones, [f"{task}\n" for task in range(6)])
