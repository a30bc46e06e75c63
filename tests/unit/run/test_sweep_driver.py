"""A sweep's driver: with workers that are processes of this machine, killed wherever it writes, and carried on by another."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tests.unit.run.backend_contract import stands_still, wait_until
from tests.unit.run.sweeps import make_state
from wherry.errors import BudgetError, JobError
from wherry.model.job import Job, TaskEnd
from wherry.model.sweep import Beat, SweepCounts
from wherry.run.backends.local import LocalBackend
from wherry.run.port import Capacity
from wherry.run.sweep_driver import Post, SweepDriver, plan_round
from wherry.run.sweep_state import SweepState, list_tags
from wherry.run.sweep_status import SweepStatus
from wherry.run.sweep_watch import StopSign
from wherry.run.tasks import start_task, task_folder
from wherry.run.variables import name_worker
from wherry.store.objects_folder import FolderObjects
from wherry.store.posix import fork_process, wait_for_process
from wherry.sweep_worker import main

NAME = f"trial-{os.urandom(4).hex()}"  # its processes are ended by it, and other tests have others


class ForkingBackend(LocalBackend):
    """Workers are the same, but forked: Python need not start anew for each."""

    def __init__(self, env: dict[str, str]) -> None:
        super().__init__(env)
        self.own = env

    def submit(self, job: Job, indices: Sequence[int]) -> None:
        for index in indices:
            work = partial(self._work, job, index)
            start_task(task_folder(job.folder, index), work, lambda: None, seconds=job.limits.seconds, stdin=False)

    def _work(self, job: Job, index: int) -> int:
        os.environ.update({**self.own, **name_worker(job, index)})
        return main(job.command)


class Office:
    """A machine's driver: with a home of its own, so that another one knows nothing but the store."""

    def __init__(self, store: Path, home: Path) -> None:
        self.state = SweepState(FolderObjects(store), NAME)
        self.env = {**os.environ, "WHERRY_JOBS": str(home / "jobs")}
        self.folder = home / "jobs/sweeps"
        self.stop = StopSign()
        self.said: list[str] = []
        self.backend: LocalBackend = ForkingBackend(self.env)

    def drive(self, look: Callable[[SweepStatus], None] = lambda _status: None, keep: float | None = None) -> SweepStatus:
        post = Post(owner="me", host="here", folder=self.folder, command=(), env={}, keep=keep)
        driver = SweepDriver(self.state, self.state.read_spec(), self.backend, post, self.stop, self.said.append, look)
        return driver.drive()


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path / "store", tmp_path / "home")


def begin(tmp_path: Path, script: str, tasks: int = 3, **more: object) -> SweepState:
    return make_state(tmp_path, script, tasks, FolderObjects(tmp_path / "store"), name=NAME, **more)


def test_a_sweep_is_carried_to_its_end(office: Office, tmp_path: Path) -> None:
    begin(tmp_path, "exit {i}")
    seen: list[SweepCounts] = []
    status = office.drive(lambda now: seen.append(now.counts))
    assert status.counts == SweepCounts(total=3, succeeded=1, failed=2)
    assert [(done.task, done.exit_code) for done in sorted(status.failures, key=lambda done: done.task)] == [(1, 1), (2, 2)]
    assert seen[0] == SweepCounts(total=3)
    assert office.backend.list_resources() == ()
    assert list_tags(office.state.store) == ()
    assert len(office.state.read_rounds()) == 1


def test_nothing_is_asked_for_when_all_is_done(office: Office, tmp_path: Path) -> None:
    begin(tmp_path, "true")
    office.drive()
    office.drive()
    assert len(office.state.read_rounds()) == 1


def test_nobody_is_asked_for_when_the_last_tasks_end_while_the_backend_is_asked(office: Office, tmp_path: Path) -> None:
    class SlowBackend(ForkingBackend):
        def poll(self, job: Job) -> dict[int, TaskEnd]:
            assert wait_until(lambda: all(end.state.is_final for end in super(SlowBackend, self).poll(job).values()))
            return super().poll(job)

    begin(tmp_path, "true")
    office.backend = SlowBackend(office.env)
    assert office.drive().counts.succeeded == 3
    assert len(office.state.read_rounds()) == 1


def test_its_end_is_the_workers_end(office: Office, tmp_path: Path) -> None:
    begin(tmp_path, f"echo >> {tmp_path}/up; sleep 100", tasks=2)

    def look(status: SweepStatus) -> None:
        if status.counts.running:
            office.stop.give()

    status = office.drive(look)
    assert (status.counts.done, status.counts.running, status.counts.waiting) == (0, 0, 2)
    assert office.backend.list_resources() == ()
    assert list_tags(office.state.store) == ()


def test_an_error_gives_everything_back_too(office: Office, tmp_path: Path) -> None:
    begin(tmp_path, "sleep 100", tasks=2)

    def look(status: SweepStatus) -> None:
        if status.counts.running:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        office.drive(look)
    assert office.backend.list_resources() == ()
    assert list_tags(office.state.store) == ()


def test_a_worker_that_is_killed_is_asked_for_again(office: Office, tmp_path: Path) -> None:
    begin(tmp_path, f"test {{i}} = 0 && echo $PPID > {tmp_path}/worker && while ! test -e {tmp_path}/go; do sleep 0.02; done; true")
    killed: list[int] = []

    def look(status: SweepStatus) -> None:
        if status.counts.running and not killed and (tmp_path / "worker").exists() and (tmp_path / "worker").read_text():
            killed.append(int((tmp_path / "worker").read_text()))
            os.kill(killed[0], signal.SIGKILL)
            (tmp_path / "go").touch()

    assert office.drive(look).counts.succeeded == 3
    held = office.state.read_lease(0)
    assert held is not None
    assert (held[0].attempt, held[0].lost) == (1, 1)
    assert len(office.state.read_rounds()) == 2


def test_what_a_killed_worker_left_running_is_ended(office: Office, tmp_path: Path) -> None:
    script = (
        f"test -e {tmp_path}/worker && exit; echo $PPID > {tmp_path}/worker; while :; do echo >> {tmp_path}/beat; sleep 0.02; done"
    )
    begin(tmp_path, script, tasks=1)
    killed: list[int] = []

    def look(status: SweepStatus) -> None:
        if not killed and (tmp_path / "beat").exists():
            killed.append(int((tmp_path / "worker").read_text()))
            os.kill(killed[0], signal.SIGKILL)

    assert office.drive(look).counts.succeeded == 1
    assert stands_still(tmp_path / "beat")


def test_workers_that_do_nothing_are_not_asked_for_for_ever(office: Office, tmp_path: Path) -> None:
    begin(tmp_path, "true")

    class Broken(ForkingBackend):
        def submit(self, job: Job, indices: Sequence[int]) -> None:
            trouble = Beat(worker=job.id, number=1, slots=1, spent=0.0, over=True, trouble="the image is missing")
            office.state.write_beat(trouble)

    office.backend = Broken(office.env)
    with pytest.raises(JobError, match="the image is missing"):
        office.drive()
    assert len(office.state.read_rounds()) == 3
    assert list_tags(office.state.store) == ()


def test_cancelled_from_elsewhere(office: Office, tmp_path: Path) -> None:
    begin(tmp_path, "sleep 100", tasks=2)

    def look(status: SweepStatus) -> None:
        if status.counts.running:
            SweepState(FolderObjects(tmp_path / "store"), NAME).cancel()

    assert office.drive(look).cancelled
    assert office.backend.list_resources() == ()


def test_what_it_may_cost(office: Office, tmp_path: Path) -> None:
    state = begin(tmp_path, "sleep 100", tasks=1, price=3600.0, max_cost=1.0)
    post = Post(owner="me", host="here", folder=tmp_path, command=(), env={})
    planned = plan_round(state.read_spec(), Capacity(workers=2, slots=1), post, 1000.0)
    assert planned.expires == 1000.5
    with pytest.raises(BudgetError, match=r"may cost 1\.00"):
        office.drive()
    assert office.backend.list_resources() == ()


def test_what_is_kept_is_given_to_the_backend_as_its_deadline(tmp_path: Path) -> None:
    state = begin(tmp_path, "true", deadline=60.0)
    post = Post(owner="me", host="here", folder=tmp_path, command=(), env={}, keep=5000.0)
    assert plan_round(state.read_spec(), Capacity(workers=1, slots=1), post, 1000.0).expires == 5000.0


POINTS = (
    *("before tags/", "after tags/", "before rounds/", "after rounds/", "before submit", "after submit"),
    *("before workers/", "before leases/", "after leases/", "before stdout", "after outputs/"),
    *("before _DONE/", "after _DONE/", "before ends/", "after ends/", "before delete tags/", "after delete tags/"),
)


def arm(point: str, marker: Path) -> None:
    """Have this process, or one that it forks, killed once at that point."""
    when, _, where = point.partition(" ")

    def hook(owner: type, name: str, words: str, number: int) -> None:
        original = getattr(owner, name)

        def call(*arguments: object) -> object:
            text = f"{words}{arguments[number] if number else ''}"
            hit = where in text and ("delete" in where) == ("delete" in words)
            if hit and when == "before":
                die()
            done = original(*arguments)
            if hit and when == "after":
                die()
            return done

        setattr(owner, name, call)

    def die() -> None:
        with suppress(FileExistsError):
            marker.touch(exist_ok=False)
            os.kill(os.getpid(), signal.SIGKILL)

    for name in ("put", "put_if_absent", "put_if_match"):
        hook(FolderObjects, name, "", 1)
    hook(FolderObjects, "delete", "delete ", 1)
    hook(ForkingBackend, "submit", "submit", 0)


@pytest.mark.parametrize("point", POINTS)
def test_whoever_is_killed_there_is_carried_on_elsewhere(point: str, office: Office, tmp_path: Path) -> None:
    """The driver, or a worker; what follows is another machine's driver, which has the store alone."""
    script = f'echo out; echo {{i}} > "$WHERRY_OUTPUTS/m"; echo {{i}} >> {tmp_path}/ran'
    state = begin(tmp_path, script, tasks=4)
    child = fork_process()
    if child == 0:
        arm(point, tmp_path / "killed")
        try:
            office.drive()
        finally:
            os._exit(0)
    wait_for_process(child)
    assert (tmp_path / "killed").exists()
    other = Office(tmp_path / "store", tmp_path / "elsewhere")
    assert other.drive().counts.succeeded == 4
    ran = (tmp_path / "ran").read_text().split()
    assert set(ran) == {"0", "1", "2", "3"}
    assert len(ran) <= 4 + 2 * 2  # what the killed one had in hand: two that ran, two not yet committed; nothing that was finished
    for task, done in state.read_ends().items():
        held = state.store.get(state.attempt_key(task, done.attempt, "outputs/m"))
        assert held is not None
        assert held.data == b"%d\n" % task
    for one in office.backend.list_resources():
        office.backend.release(one)  # what `sweep gc` does on the machine of the killed one
    assert office.backend.list_resources() == ()
    assert list_tags(other.state.store) == ()
