"""Workers on a real Slurm of two nodes: what every backend of sweeps keeps, and what goes wrong with clusters."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engines.daemons import private_folder
from tests.engines.slurm_cluster import SlurmCluster, run_slurm
from tests.unit.run.backend_contract import ASLEEP, wait_until
from tests.unit.run.sweep_backend_contract import SweepBackendContract, make_spec
from wherry.errors import EngineError, JobError
from wherry.model.job import Job, JobState, Limits
from wherry.run.backends.slurm import SlurmBackend
from wherry.run.port import SweepBackend
from wherry.run.tasks import task_folder

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("slurm")]


@pytest.fixture(scope="module")
def cluster() -> Iterator[SlurmCluster]:
    with private_folder("slurm") as folder, run_slurm(folder / "slurm") as running:
        yield running


class TestSlurm(SweepBackendContract):
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return tmp_path / "sweeps"

    @pytest.fixture
    def said(self) -> list[str]:
        return []

    @pytest.fixture
    def backend(self, cluster: SlurmCluster, said: list[str]) -> Callable[[], SweepBackend]:
        return lambda: SlurmBackend(cluster.environment, say=said.append)

    def test_the_cluster_tells_what_it_has(self, backend: Callable[[], SweepBackend], tmp_path: Path) -> None:
        assert backend().probe().usable
        found = backend().measure(make_spec(tmp_path, tasks=100))
        assert (found.workers, found.slots) == (2, 16)
        found = backend().measure(make_spec(tmp_path, tasks=100, limits=Limits(cpus=5, memory=1 << 30)))
        assert (found.workers, found.slots) == (2, 1)
        with pytest.raises(JobError, match="more than a node has"):
            backend().measure(make_spec(tmp_path, limits=Limits(cpus=17)))

    def test_workers_go_to_different_nodes(
        self, backend: Callable[[], SweepBackend], worker: Callable[..., Job], tmp_path: Path
    ) -> None:
        here, job = (
            backend(),
            worker(f'echo up > "{tmp_path}/$SLURMD_NODENAME"; while [ ! -e "{tmp_path}/go" ]; do sleep 0.05; done'),
        )
        here.measure(make_spec(tmp_path, tasks=100))
        here.submit(job, range(2))
        assert wait_until(lambda: (tmp_path / "n1").exists() and (tmp_path / "n2").exists())
        (tmp_path / "go").touch()
        self.finish(here, job)

    def test_only_what_finds_programs_goes_along(self, cluster: SlurmCluster, worker: Callable[..., Job], tmp_path: Path) -> None:
        here = SlurmBackend({**cluster.environment, "AWS_SECRET_ACCESS_KEY": "s3cret"})
        job = worker(f"env > {tmp_path}/env")
        here.submit(job, (0,))
        self.finish(here, job)
        told = (tmp_path / "env").read_text()
        assert "PATH=" in told
        assert "s3cret" not in told

    def test_what_slurm_refuses_is_told_in_its_words(self, cluster: SlurmCluster, worker: Callable[..., Job]) -> None:
        here = SlurmBackend(cluster.environment, ("--partition=nowhere",))
        with pytest.raises(EngineError, match="Invalid partition"):
            here.submit(worker("true"), (0,))

    def test_a_worker_that_is_killed_is_lost_or_failed_never_running(
        self, backend: Callable[[], SweepBackend], worker: Callable[..., Job], tmp_path: Path
    ) -> None:
        job = worker(f"echo $$ > {tmp_path}/pid; {ASLEEP}")
        backend().submit(job, (0,))
        assert wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip() != "")
        os.kill(int((tmp_path / "pid").read_text()), 9)
        assert self.finish(backend(), job) == [JobState.LOST]

    def test_a_controller_that_is_killed_ends_nothing(
        self,
        cluster: SlurmCluster,
        backend: Callable[[], SweepBackend],
        said: list[str],
        worker: Callable[..., Job],
        tmp_path: Path,
    ) -> None:
        job = worker(f'echo up > {tmp_path}/up; while [ ! -e "{tmp_path}/go" ]; do sleep 0.05; done')
        here = backend()
        here.submit(job, (0,))
        assert wait_until(lambda: (tmp_path / "up").exists())
        cluster.kill_controller()
        try:
            assert self.states(here, job) == [JobState.RUNNING]
            assert "does not answer" in said[0]
            (tmp_path / "go").touch()
            assert wait_until((task_folder(job.folder, 0) / "exit-code").exists)
        finally:
            cluster.start_controller()
        assert wait_until(lambda: self.states(here, job) == [JobState.SUCCEEDED])
        here.cancel(job, 0)
        # A killed controller comes back with what it last saved: earlier workers, too, that had ended by then.
        for resource in here.list_resources():
            assert resource.round != job.id
            here.release(resource)
        assert here.list_resources() == ()
        cluster.wait_for_nodes()

    def test_drained_nodes_are_told_with_what_brings_them_back(
        self, cluster: SlurmCluster, backend: Callable[[], SweepBackend], said: list[str], worker: Callable[..., Job]
    ) -> None:
        cluster.call("scontrol", "update", "nodename=n1,n2", "state=drain", "reason=after a crash")
        try:
            with pytest.raises(EngineError, match="no node") as caught:
                backend().measure(make_spec(Path("/")))
            assert "scontrol update nodename=n[1-2] state=resume" in str(caught.value.hint)
            here, job = backend(), worker("true")
            here.submit(job, (0,))
            assert wait_until(lambda: self.states(here, job) == [JobState.RUNNING] and bool(said))
            assert "state=resume" in said[0]
            here.cancel(job, 0)
        finally:
            cluster.call("scontrol", "update", "nodename=n1,n2", "state=resume")

    def test_one_that_slurm_has_forgotten_and_that_wrote_nothing_is_lost(
        self, backend: Callable[[], SweepBackend], worker: Callable[..., Job]
    ) -> None:
        here, job = backend(), worker("true")
        here.submit(job, (0,))
        self.finish(here, job)
        (task_folder(job.folder, 0) / "exit-code").unlink()
        forgotten = Job(id=f"{job.id}-other", root=job.root, folder=job.folder, command=job.command, worker=True)
        assert self.states(here, forgotten) == [JobState.LOST]
