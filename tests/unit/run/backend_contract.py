"""What every backend keeps: one suite, with a class for each backend below it that says how jobs get there.

Commands are in the shell's language, which a bare machine and a tiny image both have. Nothing waits for a fixed time.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from wherry.model.job import DataFolder, Job, JobState, Limits, TaskEnd
from wherry.run.port import Backend
from wherry.run.tasks import task_folder

ASLEEP = "while :; do sleep 0.05; done"


def wait_until(happens: Callable[[], bool], patience: float = 60) -> bool:
    end = time.monotonic() + patience
    while not happens():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


class BackendContract:
    """A subclass gives `backend`, a fixture that makes a backend ready to take jobs, anew with each call."""

    project_is_read_only = True

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        folder = tmp_path / "project"
        (folder / "data").mkdir(parents=True)
        (folder / "data/given").write_text("seen\n")
        (folder / "train.txt").write_text("mine\n")
        return folder

    @pytest.fixture
    def job(self, tmp_path: Path, root: Path) -> Callable[..., Job]:
        def make(script: str, **more: object) -> Job:
            folder = tmp_path / f"job-{os.urandom(3).hex()}"
            (folder / "outputs").mkdir(parents=True)
            (folder / "metrics").mkdir()
            values = {"id": folder.name, "root": str(root), "folder": str(folder), "command": ("sh", "-c", script), **more}
            return Job(**values)  # type: ignore[arg-type]

        return make

    def finish(self, backend: Backend, job: Job, indices: tuple[int, ...] = (0,)) -> dict[int, TaskEnd]:
        assert wait_until(lambda: all(end.state.is_final for end in backend.poll(job).values())), "no end"
        ends = backend.poll(job)
        assert tuple(ends) == indices
        return ends

    def run(self, backend: Backend, job: Job) -> TaskEnd:
        backend.submit(job, (0,))
        return self.finish(backend, job)[0]

    def told(self, backend: Backend, job: Job) -> str:
        return backend.logs(job, 0).stdout.read_text()

    def test_it_is_usable(self, backend: Callable[[], Backend]) -> None:
        assert backend().probe().usable
        backend().up()
        backend().down()

    def test_streams_and_exit_code(self, backend: Callable[[], Backend], job: Callable[..., Job]) -> None:
        here, one = backend(), job("echo out; echo err >&2; exit 7")
        end = self.run(here, one)
        assert (end.state, end.exit_code) == (JobState.FAILED, 7)
        assert end.ended is not None
        assert self.told(here, one) == "out\n"
        assert "err\n" in here.logs(one, 0).stderr.read_text()

    def test_success(self, backend: Callable[[], Backend], job: Callable[..., Job]) -> None:
        assert self.run(backend(), job("true")).state is JobState.SUCCEEDED

    def test_words_stay_words(self, backend: Callable[[], Backend], job: Callable[..., Job]) -> None:
        here, one = backend(), job("", command=("sh", "-c", 'for word; do echo "[$word]"; done', "sh", "--lr", "0.1 x", "*", "é"))
        self.run(here, one)
        assert self.told(here, one) == "[--lr]\n[0.1 x]\n[*]\n[é]\n"

    def test_variables_and_the_project(self, backend: Callable[[], Backend], job: Callable[..., Job]) -> None:
        script = "cat train.txt data/given; echo $MINE $WHERRY_JOB $WHERRY_TASK $PYTHONNOUSERSITE"
        here, one = backend(), job(script, env=(("MINE", "a  b"),), data=(DataFolder(path="data"),))
        assert self.run(here, one).exit_code == 0
        assert self.told(here, one) == f"mine\nseen\na b {one.id} 0 1\n"

    def test_outputs_and_metrics_are_ours(self, backend: Callable[[], Backend], job: Callable[..., Job]) -> None:
        here, one = backend(), job('echo model > "$WHERRY_OUTPUTS/m"; echo "{}" >> "$WHERRY_METRICS"')
        assert self.run(here, one).exit_code == 0, here.logs(one, 0).stderr.read_text()
        written = [Path(one.folder, "outputs/m"), Path(one.folder, "metrics/0.jsonl")]
        assert [path.read_text() for path in written] == ["model\n", "{}\n"]
        assert {path.stat().st_uid for path in written} == {os.geteuid()}

    def test_what_may_be_written_of_the_project(self, backend: Callable[[], Backend], job: Callable[..., Job], root: Path) -> None:
        (root / "scratch").mkdir()
        data = (DataFolder(path="data"), DataFolder(path="scratch", writable=True))
        self.run(backend(), job("echo x > made; echo x > data/made; echo x > scratch/made", data=data))
        made = {str(path.relative_to(root)) for path in root.rglob("made")}
        assert made == ({"scratch/made"} if self.project_is_read_only else {"made", "data/made", "scratch/made"})

    def test_a_program_that_is_not_there(self, backend: Callable[[], Backend], job: Callable[..., Job]) -> None:
        end = self.run(backend(), job("", command=("no-such-program",)))
        assert (end.state, end.exit_code) == (JobState.FAILED, 127)

    def test_tasks_know_their_index(self, backend: Callable[[], Backend], job: Callable[..., Job]) -> None:
        here, one = backend(), job("echo task $WHERRY_TASK; exit $WHERRY_TASK")
        here.submit(one, (0, 2, 5))
        ends = self.finish(here, one, (0, 2, 5))
        assert [end.exit_code for end in ends.values()] == [0, 2, 5]
        assert here.logs(one, 5).stdout.read_text() == "task 5\n"

    def begin(self, backend: Backend, job: Job) -> None:
        backend.submit(job, (0,))
        assert wait_until(lambda: "up" in self.told(backend, job) if backend.logs(job, 0).stdout.exists() else False)

    def test_a_running_one_is_seen_and_read_by_others(self, backend: Callable[[], Backend], job: Callable[..., Job]) -> None:
        one, other = job(f"echo up; {ASLEEP}"), backend()
        self.begin(backend(), one)
        assert other.poll(one) == {0: TaskEnd(state=JobState.RUNNING)}
        assert self.told(other, one) == "up\n"
        other.cancel(one, 10)
        assert other.poll(one)[0].state is JobState.CANCELLED

    def test_cancelling_is_orderly(self, backend: Callable[[], Backend], job: Callable[..., Job]) -> None:
        here, one = backend(), job(f'trap "echo bye; exit 0" TERM; echo up; {ASLEEP}')
        self.begin(here, one)
        here.cancel(one, 30)
        assert self.finish(here, one)[0].state is JobState.CANCELLED
        assert self.told(here, one) == "up\nbye\n"

    def test_one_that_does_not_listen_is_ended(self, backend: Callable[[], Backend], job: Callable[..., Job], root: Path) -> None:
        (root / "scratch").mkdir()
        script = 'trap "" TERM INT; echo up; while :; do echo >> scratch/beat; sleep 0.05; done'
        here, one = backend(), job(script, data=(DataFolder(path="scratch", writable=True),))
        self.begin(here, one)
        here.cancel(one, 0.2)
        assert self.finish(here, one)[0].state is JobState.CANCELLED
        assert stands_still(root / "scratch/beat")

    def test_cancelling_at_once_ends_in_order_too(self, backend: Callable[[], Backend], job: Callable[..., Job]) -> None:
        here, one = backend(), job(ASLEEP)
        here.submit(one, (0,))
        here.cancel(one, 5)
        assert self.finish(here, one)[0].state is JobState.CANCELLED

    def test_cancelling_what_has_ended(self, backend: Callable[[], Backend], job: Callable[..., Job]) -> None:
        here, one = backend(), job("exit 3")
        self.run(here, one)
        here.cancel(one, 0)
        assert here.poll(one)[0].exit_code == 3

    def test_a_limit_of_time(self, backend: Callable[[], Backend], job: Callable[..., Job]) -> None:
        here, one = backend(), job(f"echo up; {ASLEEP}", limits=Limits(seconds=2))
        end = self.run(here, one)
        assert (end.state, end.exit_code) == (JobState.TIMED_OUT, 124)

    def test_a_killed_supervisor_is_a_lost_task(self, backend: Callable[[], Backend], job: Callable[..., Job], root: Path) -> None:
        (root / "scratch").mkdir()
        script = "echo up; while :; do echo >> scratch/beat; sleep 0.05; done"
        here, one = backend(), job(script, data=(DataFolder(path="scratch", writable=True),))
        self.begin(here, one)
        os.kill(json.loads((task_folder(one.folder, 0) / "begun.json").read_bytes())["pid"], signal.SIGKILL)
        assert self.finish(here, one)[0].state is JobState.LOST
        here.cancel(one, 0)
        assert stands_still(root / "scratch/beat")
        assert here.poll(one)[0].state is JobState.LOST


def stands_still(path: Path) -> bool:
    """Whether nobody writes to the file any more, seen over many of the writer's turns."""

    def rested() -> bool:
        before = path.stat().st_size
        time.sleep(0.5)
        return path.stat().st_size == before

    return wait_until(rested, 20)
