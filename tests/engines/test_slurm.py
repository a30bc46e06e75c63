"""Workers on a real Slurm of two nodes: what every backend of sweeps keeps, and what goes wrong with clusters."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import require_tool
from tests.engines.daemons import private_folder
from tests.engines.images import busybox_entries, layer_bytes, put_image
from tests.engines.slurm_cluster import SlurmCluster, run_slurm
from tests.engines.slurm_sweeps import WORKER, Yard
from tests.unit.engines.cluster_stand_ins import StandIn
from tests.unit.run.backend_contract import ASLEEP, stands_still, wait_until
from tests.unit.run.sweep_backend_contract import SweepBackendContract, make_spec
from wherry.errors import EngineError, JobError
from wherry.model.job import Job, JobState, Limits
from wherry.run.backends.slurm import SlurmBackend
from wherry.run.port import SweepBackend
from wherry.run.sweep_status import SweepStatus
from wherry.run.tasks import task_folder
from wherry.store.disk import DiskStore
from wherry.sweeps import Sweeps

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


@pytest.fixture
def yard(cluster: SlurmCluster, tmp_path: Path) -> Yard:
    cluster.wait_for_nodes()  # those that were drained need a moment
    return Yard(cluster, tmp_path)


NUMBER = 'begin; wait; echo {i} > "$WHERRY_OUTPUTS/number"'


def numbers(tasks: int) -> list[str]:
    return [f"{task}\n" for task in range(tasks)]


def test_a_driver_that_is_killed_is_followed_by_another_one_elsewhere(yard: Yard) -> None:
    state = yard.begin(NUMBER, 4, limits=Limits(cpus=8))
    yard.drive_and_die(lambda: len(yard.list_begun()) == 4)
    yard.go()
    assert yard.drive(home="there").counts.succeeded == 4
    assert sorted(name for name, _ in yard.list_begun()) == ["0.0", "1.0", "2.0", "3.0"]
    assert yard.read_numbers() == numbers(4)
    assert state.read_tags() == ()
    assert yard.list_left() == []


def test_what_a_killed_worker_had_is_taken_over(yard: Yard) -> None:
    state = yard.begin(NUMBER, 4, limits=Limits(cpus=8))
    killed: list[int] = []

    def look(_status: SweepStatus) -> None:
        if not killed and len(begun := yard.list_begun()) == 4:
            killed.append(begun[0][1])
            os.kill(killed[0], signal.SIGKILL)
            yard.go()

    assert yard.drive(look).counts.succeeded == 4
    assert yard.read_numbers() == numbers(4)
    assert sorted(done.attempt for done in state.read_ends().values()) == [0, 0, 1, 1]
    assert yard.list_left() == []


def test_what_a_task_leaves_running_is_ended(yard: Yard, tmp_path: Path) -> None:
    beat = "while :; do echo >> $yard/beat.{i}; sleep 0.05; done"
    beaten = "while [ ! -e $yard/beat.{i} ]; do sleep 0.05; done"
    script = f"setsid sh -c 'yard=\"{tmp_path}\"; {beat}' & {beaten}; [ {{i}} = 0 ] && exit; {beat}"
    state = yard.begin(script, 2, limits=Limits(seconds=2))
    status = yard.drive()
    assert (status.counts.succeeded, status.counts.timed_out) == (1, 1)
    assert all(stands_still(tmp_path / f"beat.{task}") for task in range(2))
    assert yard.list_left() == []
    assert state.read_tags() == ()


def test_gc_leaves_nothing_running_of_a_driver_that_was_killed(cluster: SlurmCluster, yard: Yard) -> None:
    state = yard.begin(NUMBER, 4, limits=Limits(cpus=8))
    yard.drive_and_die(lambda: len(yard.list_begun()) == 4)
    sweeps = Sweeps({**cluster.environment, "WHERRY_JOBS": str(yard.place / "jobs")})
    assert sweeps.collect(None, state.store.url, dry_run=False) == (), "it may be needed"
    (found,) = sweeps.collect(state.id, state.store.url, dry_run=False)
    assert found.round.startswith(state.id)
    assert yard.list_left() == []
    assert state.read_tags() == ()
    assert sweeps.collect(state.id, state.store.url, dry_run=False) == ()


def test_a_sweep_waits_for_drained_nodes_and_goes_on(cluster: SlurmCluster, yard: Yard) -> None:
    yard.begin("true", 2, engine_args=("--hold",))
    steps: list[str] = []

    def look(_status: SweepStatus) -> None:
        jobs = cluster.call("squeue", "--noheader", "--format=%A").split()
        if not steps and jobs:
            cluster.call("scontrol", "update", "nodename=n1,n2", "state=drain", "reason=after a crash")
            cluster.call("scontrol", "release", *jobs)
            steps.append("drained")
        elif steps == ["drained"] and any("state=resume" in line for line in yard.said):
            cluster.call("scontrol", "update", "nodename=n1,n2", "state=resume")
            steps.append("resumed")

    try:
        assert yard.drive(look).counts.succeeded == 2
    finally:
        subprocess.run(["scontrol", "update", "nodename=n1,n2", "state=resume"], env=cluster.environment, check=False)
    assert steps == ["drained", "resumed"]
    assert any("scontrol update nodename=n[1-2] state=resume" in line for line in yard.said)


def test_a_node_without_the_image_says_so_and_the_other_does_its_tasks(cluster: SlurmCluster, yard: Yard) -> None:
    require_tool("bwrap")
    store = DiskStore(yard.place / "images")
    put_image(store, "tiny", [layer_bytes(busybox_entries())], cmd=("sh",), user="0:0", workdir="/app")
    state = yard.begin(
        'echo {i} > "$WHERRY_OUTPUTS/number"',
        4,
        limits=Limits(cpus=8),
        engine="bubblewrap",
        image=str(store.resolve("tiny").digest),
    )
    images = f'export WHERRY_CACHE="{yard.place}/cache" WHERRY_STORE="{store.root}"'
    lacks = f'[ "$SLURMD_NODENAME" = n2 ] || export WHERRY_STORE="{yard.place}/nothing"'
    status = yard.drive(command=("sh", "-c", f'{images}; {lacks}; exec "$@"', "sh", *WORKER))
    assert status.counts.succeeded == 4
    assert yard.read_numbers() == numbers(4)
    assert any("tiny" in (beat.trouble or "") or "no image" in (beat.trouble or "") for beat in state.read_beats())
    assert yard.list_left() == []


def test_tasks_in_whichever_engine_the_nodes_have_from_one_file_of_the_image(yard: Yard) -> None:
    require_tool("tar2sqfs")
    apptainer = StandIn(yard.place / "bin", "apptainer")
    (apptainer.folder / "tar2sqfs").unlink()  # the real one is wanted
    store = DiskStore(yard.place / "images")
    put_image(store, "tiny", [layer_bytes(busybox_entries())], cmd=("sh",), user="0:0", workdir="/app")
    image = str(store.resolve("tiny").digest)
    yard.begin('echo {i} > "$WHERRY_OUTPUTS/number"', 4, limits=Limits(cpus=8), engine="any", image=image)
    place = f'export WHERRY_CACHE="{yard.place}/cache" WHERRY_STORE="{store.root}" PATH="{apptainer.folder}:$PATH"'
    assert yard.drive(command=("sh", "-c", f'{place}; exec "$@"', "sh", *WORKER)).counts.succeeded == 4
    assert yard.read_numbers() == numbers(4)
    (file,) = (yard.place / "cache/root-files").glob("*.sif")
    files = {word for call in apptainer.calls() for word in call["argv"] if word.endswith(".sif")}
    assert files == {str(file)}


@pytest.mark.parametrize(
    ("words", "said"),
    [("--partition=nowhere", "nvalid partition"), ("--gres=gpu:1", "nvalid generic resource"), ("--lucky", "unrecognized option")],
)
def test_words_that_slurm_refuses_leave_nothing(yard: Yard, words: str, said: str) -> None:
    state = yard.begin("true", 2, engine_args=(words,))
    with pytest.raises(EngineError, match=said):
        yard.drive()
    assert state.read_tags() == ()
    assert yard.list_left() == []
