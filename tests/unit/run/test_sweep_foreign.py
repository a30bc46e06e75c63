"""Tasks that a backend runs by itself: leased, settled and committed by a driver that may be another one each time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.unit.run.sweeps import make_state
from wherry.model.job import Job, JobState, TaskEnd
from wherry.model.sweep import Grain, SweepSpec
from wherry.run.port import BackendInfo, Capacity, Prepared, Resource, TaskLogs
from wherry.run.sweep_foreign import ForeignTasks
from wherry.run.sweep_state import SweepState

OK, RUNNING = TaskEnd(state=JobState.SUCCEEDED, exit_code=0, ended=5.0), TaskEnd(state=JobState.RUNNING)


class OtherPeoplesMachines:
    """A backend that runs tasks by itself; tests say how they end."""

    grain = Grain.TASKS

    def __init__(self) -> None:
        self.tasks: dict[str, dict[int, TaskEnd]] = {}
        self.calls: list[str] = []

    def probe(self) -> BackendInfo:
        return BackendInfo(usable=True)

    def up(self) -> Prepared:
        return Prepared()

    def submit(self, job: Job, indices: Sequence[int]) -> None:
        assert not job.worker
        self.calls.append("submit")
        self.tasks.setdefault(job.id, {}).update(dict.fromkeys(indices, RUNNING))

    def poll(self, job: Job) -> dict[int, TaskEnd]:
        self.calls.append("poll")
        return dict(self.tasks.get(job.id, {}))

    def logs(self, job: Job, index: int) -> TaskLogs:
        raise NotImplementedError

    def cancel(self, job: Job, grace: float) -> None:
        self.tasks = {}

    def down(self) -> None:
        pass

    def measure(self, spec: SweepSpec) -> Capacity:
        return Capacity(workers=2, slots=1)

    def list_resources(self) -> tuple[Resource, ...]:
        return ()

    def release(self, resource: Resource) -> None:
        pass

    def end(self, task: int, end: TaskEnd, attempt: int = 0) -> None:
        self.tasks["trial-1.r" if attempt == 0 else f"trial-1.r.{attempt}"][task] = end


class Harbour:
    def __init__(self, root: Path, tasks: int = 3, **more: object) -> None:
        self.state: SweepState = make_state(root, "true", tasks=tasks, **more)  # type: ignore[arg-type]
        self.backend = OtherPeoplesMachines()
        self.root = root
        self.now = 0.0
        self.name = "trial-1.r"

    def job_of(self, attempt: int) -> Job:
        name = f"{self.name}.{attempt}" if attempt else self.name
        return Job(id=name, root=str(self.root), folder=str(self.root), command=("x",), attempt=attempt)

    def driver(self, name: str | None = None) -> ForeignTasks:
        self.name = name or self.name
        tasks = ForeignTasks(self.state, self.state.read_spec(), self.backend, self.job_of, clock=lambda: self.now)
        tasks.begin()
        return tasks

    def ends(self) -> dict[int, tuple[str, int]]:
        return {task: (done.state.value, done.attempt) for task, done in sorted(self.state.read_ends().items())}


def test_all_are_submitted_in_one_call_and_committed_as_they_end(tmp_path: Path) -> None:
    harbour = Harbour(tmp_path, tasks=1000)
    driver = harbour.driver()
    assert harbour.backend.calls.count("submit") == 1
    harbour.backend.calls.clear()
    for task in range(0, 1000, 2):
        harbour.backend.end(task, OK)
    assert driver.advance(2)
    assert harbour.backend.calls == ["poll"]
    assert len(harbour.ends()) == 500
    for task in range(1, 1000, 2):
        harbour.backend.end(task, OK)
    assert not driver.advance(2)
    assert set(harbour.ends().values()) == {("succeeded", 0)}
    beat = harbour.state.read_beat("trial-1.r")
    assert beat is not None
    assert (beat.done, beat.over) == (1000, True)


def test_what_the_backend_sent_is_told(tmp_path: Path) -> None:
    harbour = Harbour(tmp_path, tasks=1)
    driver = harbour.driver()
    harbour.state.put_file(0, 0, "metrics", b'{"metric": "loss", "value": 0.5}\n{"metric": "bad", "value": NaN}\n')
    harbour.state.put_file(0, 0, "outputs/a b/m", b"model")
    harbour.backend.end(0, OK)
    driver.advance(1)
    done = harbour.state.read_done(0)
    assert done is not None
    assert (done.metrics, [(output.path, output.size) for output in done.outputs]) == ({"loss": 0.5}, [("a b/m", 5)])


def test_another_driver_goes_on_with_what_runs(tmp_path: Path) -> None:
    harbour = Harbour(tmp_path)
    harbour.driver()
    harbour.backend.end(1, OK)
    harbour.backend.calls.clear()
    other = harbour.driver()
    assert "submit" not in harbour.backend.calls
    assert other.advance(1)
    assert harbour.ends() == {1: ("succeeded", 0)}


def test_one_that_was_leased_and_never_submitted_is_submitted(tmp_path: Path) -> None:
    harbour = Harbour(tmp_path)
    harbour.driver()
    del harbour.backend.tasks["trial-1.r"][2]  # the driver was killed in between
    harbour.driver()
    assert set(harbour.backend.tasks["trial-1.r"]) == {0, 1, 2}


def test_the_next_round_takes_over_and_a_late_end_counts_once(tmp_path: Path) -> None:
    harbour = Harbour(tmp_path, tasks=1)
    first = harbour.driver()
    second = harbour.driver("trial-1.s")
    assert set(harbour.backend.tasks) == {"trial-1.r", "trial-1.s.1"}
    harbour.backend.tasks["trial-1.s.1"][0] = OK
    assert not second.advance(1)
    harbour.name = "trial-1.r"
    harbour.backend.end(0, TaskEnd(state=JobState.FAILED, exit_code=1))
    first.advance(1)
    assert harbour.ends() == {0: ("succeeded", 1)}


def test_75_is_asked_for_again_after_a_while(tmp_path: Path) -> None:
    harbour = Harbour(tmp_path, tasks=1)
    driver = harbour.driver()
    harbour.backend.end(0, TaskEnd(state=JobState.FAILED, exit_code=75))
    assert driver.advance(1)
    assert "trial-1.r.1" not in harbour.backend.tasks
    harbour.now += 60
    assert driver.advance(1)
    harbour.backend.end(0, TaskEnd(state=JobState.FAILED, exit_code=3), attempt=1)
    assert not driver.advance(1)
    assert harbour.ends() == {0: ("failed", 1)}


def test_machines_that_are_taken_away(tmp_path: Path) -> None:
    harbour = Harbour(tmp_path, tasks=1)
    driver = harbour.driver()
    for attempt in range(4):
        harbour.backend.end(0, TaskEnd(state=JobState.LOST), attempt)
        driver.advance(1)
    assert harbour.ends() == {0: ("lost", 3)}


def test_a_cancelled_task_has_no_end(tmp_path: Path) -> None:
    harbour = Harbour(tmp_path, tasks=1)
    driver = harbour.driver()
    harbour.backend.end(0, TaskEnd(state=JobState.CANCELLED))
    assert not driver.advance(1)
    assert harbour.ends() == {}
