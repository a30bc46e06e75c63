"""Workers on a real Ray of two nodes: what every backend of sweeps keeps, and what goes wrong with clusters."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import require_tool
from tests.engines.daemons import private_folder
from tests.engines.images import busybox_entries, layer_bytes, put_image
from tests.engines.ray_cluster import RayCluster, run_ray
from tests.unit.run.backend_contract import ASLEEP, wait_until
from tests.unit.run.sweep_backend_contract import SweepBackendContract, make_spec
from wherry.errors import EngineError, JobError
from wherry.model.job import Job, JobState, Limits
from wherry.model.sweep import Axis, Parameters, Sweep, SweepSpec
from wherry.run.backends.local import LocalBackend
from wherry.run.backends.ray import RayBackend
from wherry.run.port import SweepBackend
from wherry.run.sweep_driver import Post, SweepDriver
from wherry.run.sweep_state import SweepState, list_sweeps, list_tags
from wherry.run.sweep_status import SweepStatus
from wherry.run.sweep_watch import StopSign
from wherry.store.disk import DiskStore
from wherry.store.objects_folder import FolderObjects
from wherry.store.posix import fork_process, wait_for_process

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("ray")]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with private_folder("ray") as folder, run_ray(folder) as running:
        yield running


@pytest.fixture(scope="module")
def shared(cluster: RayCluster) -> Iterator[RayBackend]:
    """One connection for many tests: it takes seconds."""
    backend = RayBackend(cluster.environment, python=cluster.python)
    yield backend
    backend.down()


class TestRay(SweepBackendContract):
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return tmp_path / "sweeps"

    @pytest.fixture
    def backend(self, shared: RayBackend) -> Iterator[Callable[[], SweepBackend]]:
        yield lambda: shared
        for resource in shared.list_resources():
            shared.release(resource)
        assert shared.list_resources() == ()

    def test_the_cluster_tells_what_it_has(self, backend: Callable[[], SweepBackend], tmp_path: Path) -> None:
        assert backend().probe().usable
        found = backend().measure(make_spec(tmp_path, tasks=100))
        assert (found.workers, found.slots) == (2, 2)
        found = backend().measure(make_spec(tmp_path, tasks=100, limits=Limits(gpus="1")))
        assert (found.workers, found.slots) == (2, 1)  # both on one node
        found = backend().measure(make_spec(tmp_path, tasks=100, concurrency=1))
        assert (found.workers, found.slots) == (1, 1)
        with pytest.raises(JobError, match="more than a node has"):
            backend().measure(make_spec(tmp_path, limits=Limits(cpus=3)))

    def test_each_gpu_is_one_worker_s(
        self, backend: Callable[[], SweepBackend], worker: Callable[..., Job], tmp_path: Path
    ) -> None:
        script = f'echo "$CUDA_VISIBLE_DEVICES|$OMP_NUM_THREADS|$(env | grep -c ^RAY_)" > "{tmp_path}/$WHERRY_TASK"'
        here, job = backend(), worker(f'{script}; while [ ! -e "{tmp_path}/0" ] || [ ! -e "{tmp_path}/1" ]; do sleep 0.05; done')
        here.measure(make_spec(tmp_path, tasks=100, limits=Limits(gpus="1")))
        here.submit(job, range(2))
        assert self.finish(here, job) == [JobState.SUCCEEDED] * 2
        assert {(tmp_path / str(index)).read_text() for index in range(2)} == {"0||0\n", "1||0\n"}

    def test_what_a_worker_says_is_kept(
        self, backend: Callable[[], SweepBackend], worker: Callable[..., Job], tmp_path: Path
    ) -> None:
        here, job = backend(), worker(f'echo here; echo wrong >&2; while [ ! -e "{tmp_path}/go" ]; do sleep 0.05; done; exit 13')
        other = worker("", command=("/nowhere/python", "-m", "wherry.sweep_worker"))
        here.submit(job, (0,))
        here.submit(other, (0,))
        assert wait_until(lambda: here.logs(job, 0).stdout.is_file() and here.logs(job, 0).stdout.read_text() == "here\n")
        (tmp_path / "go").touch()
        assert self.finish(here, job) == self.finish(here, other) == [JobState.FAILED]
        logs = here.logs(job, 0)
        assert (logs.stdout.read_text(), logs.stderr.read_text()) == ("here\n", "wrong\n")
        assert "/nowhere/python: No such file" in here.logs(other, 0).stderr.read_text()

    def test_one_that_waits_for_its_place_is_taken_back(
        self, backend: Callable[[], SweepBackend], worker: Callable[..., Job], tmp_path: Path
    ) -> None:
        here, job = backend(), worker(f"echo up >> {tmp_path}/up; {ASLEEP}")
        here.measure(make_spec(tmp_path, tasks=100))
        here.submit(job, range(3))
        assert wait_until(lambda: (tmp_path / "up").is_file() and (tmp_path / "up").read_text() == "up\nup\n")
        assert self.states(here, job) == [JobState.RUNNING] * 3
        here.cancel(job, 5)
        assert self.states(here, job) == [JobState.CANCELLED] * 3
        assert list_left(job) == []

    @pytest.mark.parametrize("who", ["worker", "holder", "keeper"])
    def test_whoever_is_killed_nothing_is_left_running(
        self, who: str, backend: Callable[[], SweepBackend], worker: Callable[..., Job], tmp_path: Path
    ) -> None:
        """What has left the worker's group, as a task of one has."""
        deaf = "" if who == "holder" else 'trap "" TERM'  # a worker has its time to end what it began
        script = f"setsid sh -c '{deaf}\n{ASLEEP}' & echo $$ $PPID > {tmp_path}/pids; trap 'kill $!; exit' TERM; {ASLEEP}"
        here, job = backend(), worker(script)
        here.submit(job, (0,))
        assert wait_until(lambda: (tmp_path / "pids").is_file() and len((tmp_path / "pids").read_text().split()) == 2)
        if who == "keeper":
            here.release(*here.list_resources())
            assert here.poll(job) == {}
        else:
            os.kill(int((tmp_path / "pids").read_text().split()[who == "holder"]), signal.SIGKILL)
            assert self.finish(here, job) == [JobState.LOST]
        assert wait_until(lambda: list_left(job) == [])


def list_left(job: Job) -> list[int]:
    """Processes of a job's workers that run."""
    return list_marked(f"WHERRY_JOB={job.id}")


def list_marked(mark: str) -> list[int]:
    found = []
    for place in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark.encode() in place.read_bytes().split(b"\0"):
                found.append(int(place.parent.name))
    return found


class Office:
    """A machine's driver of sweeps on the cluster."""

    def __init__(self, cluster: RayCluster, place: Path, home: str) -> None:
        store = FolderObjects(place / "store")
        self.state = SweepState(store, *list_sweeps(store))
        self.backend: SweepBackend = RayBackend(cluster.environment, python=cluster.python)
        self.folder = place / home
        self.said: list[str] = []

    def driver(self, look: Callable[[SweepStatus], None] = lambda _status: None) -> SweepDriver:
        command = (sys.executable, "-m", "wherry.sweep_worker")
        post = Post(owner="me", host="here", folder=self.folder, command=command, env={})
        return SweepDriver(self.state, self.state.read_spec(), self.backend, post, StopSign(), self.said.append, look)

    def close(self) -> None:
        """Whatever a driver left is somebody else's now."""
        self.backend.down()


@pytest.fixture
def office(cluster: RayCluster, tmp_path: Path) -> Iterator[Callable[[str], Office]]:
    opened: list[Office] = []

    def make(home: str) -> Office:
        opened.append(Office(cluster, tmp_path, home))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


# A task that is there from its beginning, and goes on when it is told to.
WAITING = 'echo $WHERRY_ATTEMPT $$ >> "$0/begun"; while [ ! -e "$0/go" ]; do sleep 0.05; done; echo {i} > "$WHERRY_OUTPUTS/number"'


def begin(place: Path, script: str, tasks: int, **more: str) -> SweepState:
    """A sweep whose name is its own on this machine: processes are found, and ended, by it."""
    command = ("sh", "-c", script.replace("$0", str(place)))
    parameters = Parameters(axes=(Axis(name="i", values=tuple(range(tasks))),))
    sweep = Sweep(name="trial", command=command, parameters=parameters)
    values = {"target": "there", "backend": "ray", "root": str(place), "owner": "me", "created": 0.0, "beat": 0.05, **more}
    spec = SweepSpec(id=f"trial-{os.urandom(3).hex()}", sweep=sweep, **values)  # type: ignore[arg-type]
    state = SweepState(FolderObjects(place / "store"), spec.id)
    assert state.create(spec)
    return state


def list_begun(place: Path) -> dict[str, int]:
    """Attempts that were begun, and their processes."""
    begun = place / "begun"
    lines = begun.read_text().splitlines() if begun.exists() else []
    return {line.split()[0]: int(line.split()[1]) for line in lines if len(line.split()) == 2}


def read_numbers(state: SweepState, tasks: int) -> list[bytes]:
    ends = state.read_ends()
    found = [state.store.get(state.attempt_key(task, ends[task].attempt, "outputs/number")) for task in range(tasks)]
    return [held.data for held in found if held is not None]


def test_containers_give_the_same_as_on_this_machine(cluster: RayCluster, tmp_path: Path) -> None:
    require_tool("bwrap")
    store = DiskStore(tmp_path / "images")
    put_image(store, "bare", [layer_bytes(busybox_entries())], cmd=("sh",), user="0:0", workdir="/app")
    env = {**cluster.environment, "WHERRY_STORE": str(store.root), "WHERRY_CACHE": str(tmp_path / "cache")}
    kept = []
    for name, backend in (("here", LocalBackend({**os.environ, **env})), ("there", RayBackend(env, python=cluster.python))):
        (tmp_path / name).mkdir()
        script = "echo task {i}; ls / >&2; echo {i}{i} > $WHERRY_OUTPUTS/number"
        state = begin(tmp_path / name, script, 4, image=str(store.resolve("bare").digest), engine="bubblewrap")
        office = Office(cluster, tmp_path / name, "home")
        office.backend = backend
        assert office.driver().drive().counts.succeeded == 4, office.said
        keys = [state.attempt_key(task, 0, path) for task in range(4) for path in ("stdout", "stderr", "outputs/number")]
        kept.append([held.data for key in keys if (held := state.store.get(key))])
    assert len(kept[0]) == 12
    assert kept[0] == kept[1]


def test_a_sweep_s_worker_is_killed(office: Callable[[str], Office], tmp_path: Path) -> None:
    state = begin(tmp_path, WAITING, 6)
    killed: list[int] = []

    def look(status: SweepStatus) -> None:
        begun = list_begun(tmp_path)
        if len(begun) >= 4 and not killed:
            task = next(iter(begun.values()))
            killed.append(int(Path(f"/proc/{task}/stat").read_text().rpartition(")")[2].split()[1]))
            os.kill(killed[0], signal.SIGKILL)
            (tmp_path / "go").touch()

    status = office("here").driver(look).drive()
    assert status.counts.succeeded == 6
    assert read_numbers(state, 6) == [f"{task}\n".encode() for task in range(6)]
    assert any(done.attempt for done in state.read_ends().values())
    assert list_tags(state.store) == ()
    assert list_marked(f"WHERRY_JOB={state.id}") == []


def test_a_driver_that_is_killed_is_followed_by_another(office: Callable[[str], Office], tmp_path: Path) -> None:
    state = begin(tmp_path, WAITING, 4)
    killed = fork_process()
    if killed == 0:
        office("here").driver(lambda _status: os._exit(9) if len(list_begun(tmp_path)) == 4 else None).drive()
        os._exit(0)
    assert wait_for_process(killed) == 9
    other = office("there")
    (resource,) = other.backend.list_resources()
    assert resource.round.startswith(f"{state.id}.")
    assert "2 of 2 workers run, of me" in resource.detail
    (tmp_path / "go").touch()
    assert other.driver().drive().counts.succeeded == 4
    assert {done.attempt for done in state.read_ends().values()} == {0}
    assert list_tags(state.store) == ()
    assert other.backend.list_resources() == ()


def test_a_node_is_lost(cluster: RayCluster, office: Callable[[str], Office], tmp_path: Path) -> None:
    cluster.start()
    state = begin(tmp_path, WAITING, 6)

    def look(status: SweepStatus) -> None:
        if len(list_begun(tmp_path)) >= 4 and len(cluster.nodes) == 2:
            cluster.kill_node()
            (tmp_path / "go").touch()

    status = office("here").driver(look).drive()
    assert [(done, state.store.get(state.attempt_key(done.task, done.attempt, "stderr"))) for done in status.failures] == []
    assert status.counts.succeeded == 6
    assert read_numbers(state, 6) == [f"{task}\n".encode() for task in range(6)]
    assert list_marked(f"WHERRY_JOB={state.id}") == []


def test_the_head_is_lost_and_the_sweep_goes_on_at_a_new_one(
    cluster: RayCluster, office: Callable[[str], Office], tmp_path: Path
) -> None:
    cluster.start(nodes=1)
    state = begin(tmp_path, f"if [ {{i}} -ge 2 ]; then {WAITING}; else echo {{i}} > $WHERRY_OUTPUTS/number; fi", 6)

    def look(status: SweepStatus) -> None:
        if status.counts.done == 2 and cluster.nodes:
            while cluster.nodes:
                cluster.kill_node(0)

    here = office("here")
    try:
        with pytest.raises(EngineError, match="does not answer") as caught:
            here.driver(look).drive()
    finally:
        cluster.start(nodes=1)
    assert "wherry sweep resume" in str(caught.value.hint)
    assert any("wherry sweep gc" in line for line in here.said)
    assert sorted(state.list_done()) == [0, 1]
    (tmp_path / "go").touch()
    assert office("there").driver().drive().counts.succeeded == 6
    assert read_numbers(state, 6) == [f"{task}\n".encode() for task in range(6)]
    assert {state.read_ends()[task].attempt for task in range(2)} == {0}
    assert list_tags(state.store) == ()
    assert list_marked(f"WHERRY_JOB={state.id}") == []


def test_what_does_not_hear_is_ended_after_a_while() -> None:
    pytest.importorskip("ray")
    from wherry.run.backends.ray_round import end_marked

    mark = f"deaf-{os.getpid()}"
    deaf = subprocess.Popen(["sh", "-c", f'trap "" TERM; echo up; {ASLEEP}'], env={"WHERRY_HOLDER": mark}, stdout=subprocess.PIPE)
    assert deaf.stdout is not None
    assert deaf.stdout.readline() == b"up\n"
    end_marked(f"WHERRY_HOLDER={mark}", 0.2)
    assert deaf.wait() == -signal.SIGKILL
    deaf.stdout.close()
