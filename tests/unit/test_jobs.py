"""Jobs and their records: what is kept, who ends what, and that nothing runs for ever."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.run.backend_contract import wait_until
from tests.unit.run.test_local_backend import make_environment
from wherry.errors import EngineError, JobError, StoreError
from wherry.jobs import Jobs, JobWish, list_differences, list_outputs, target_of
from wherry.model.job import BackendKind, DataFolder, JobRecord, JobState, Limits, Target
from wherry.run.backends.local import LocalBackend
from wherry.run.records import record_values

LOCAL = Target(name="local", backend=BackendKind.LOCAL, limits=Limits(cpus=1, seconds=300))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Jobs({**os.environ, "WHERRY_JOBS": str(tmp_path / "jobs"), "TOKEN": "hidden"})


@pytest.fixture
def begin(jobs: Jobs, root: Path, tmp_path: Path) -> Callable[..., JobRecord]:
    prefix = tmp_path / "env"

    def open_backend(then: Callable[[], None]) -> LocalBackend:
        return LocalBackend(os.environ, lambda: (prefix, make_environment(prefix)), then=then)

    def start(script: str, **more: object) -> JobRecord:
        values = {"root": root, "name": "anomaly", "target": LOCAL, "command": ("sh", "-c", script, "--lr", "0.1"), **more}
        return jobs.begin(JobWish(**values), open_backend)  # type: ignore[arg-type]

    return start


def finish(jobs: Jobs, record: JobRecord) -> JobRecord:
    """Wait for the job's own supervisor to write its end."""
    assert wait_until(lambda: jobs.records.find(record.id).state.is_final)
    return jobs.records.find(record.id)


def test_the_record_is_written_by_the_job_s_own_supervisor(jobs: Jobs, root: Path, begin: Callable[..., JobRecord]) -> None:
    (root / "data").mkdir()
    script = 'mkdir "$WHERRY_OUTPUTS/a"; printf x > "$WHERRY_OUTPUTS/a/m"; exit 4'
    begun = begin(script, env=(("A", "1"), ("TOKEN", "hidden")), passed=frozenset({"TOKEN"}), limits=Limits(cpus=2))
    found = finish(jobs, begun)
    assert (found.state, found.exit_code) == (JobState.FAILED, 4)
    assert [(output.path, output.size) for output in found.outputs] == [("a/m", 1)]
    assert found.outputs[0].sha256 == "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    assert (found.parameters, found.env, found.data) == ({"lr": "0.1"}, {"A": "1", "TOKEN": None}, ("data:ro",))
    assert (found.limits["cpus"], found.limits["seconds"]) == (2, 300)
    assert found.ended is not None
    assert begun.started <= found.ended
    assert replace(found, state=begun.state, exit_code=None, ended=None, outputs=()) == begun


def test_a_lost_job_says_so_when_somebody_looks(jobs: Jobs, begin: Callable[..., JobRecord]) -> None:
    record = begin("while :; do sleep 0.05; done")
    begun = jobs.place / record.id / "tasks/0/begun.json"
    assert wait_until(begun.exists)
    assert jobs.list(None, None)[0].state is JobState.RUNNING
    os.kill(json.loads(begun.read_bytes())["pid"], signal.SIGKILL)
    assert wait_until(lambda: jobs.list(None, None)[0].state is JobState.LOST)
    jobs.remove(jobs.find(record.id))
    with pytest.raises(StoreError, match="no job"):
        jobs.find(record.id)


def test_a_folder_that_is_gone_is_a_lost_job(jobs: Jobs, begin: Callable[..., JobRecord]) -> None:
    record = finish(jobs, begin("true"))
    jobs.records.remove(record.id)
    jobs.records.add(replace(record, state=JobState.RUNNING, ended=None, exit_code=None, outputs=()))
    shutil.rmtree(jobs.place / record.id)
    assert jobs.find(record.id).state is JobState.LOST
    jobs.remove(jobs.find(record.id))


def test_an_engine_that_cannot_be_reached_keeps_no_job_running(
    jobs: Jobs, begin: Callable[..., JobRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = finish(jobs, begin("true"))
    jobs.records.remove(record.id)
    jobs.records.add(replace(record, backend="container", engine="docker", state=JobState.RUNNING, exit_code=None))
    (jobs.place / record.id / "tasks/0/end.json").unlink()

    def fail(*_: object) -> None:
        raise EngineError("no daemon")

    monkeypatch.setattr("wherry.run.backends.container.stop_task", fail)
    assert wait_until(lambda: jobs.find(record.id).state is JobState.LOST)  # its supervisor may still be about to end


def test_what_could_not_be_begun_leaves_nothing(
    jobs: Jobs, begin: Callable[..., JobRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = LocalBackend.submit

    def interrupt(*arguments: object) -> None:
        submit(*arguments)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalBackend, "submit", interrupt)
    with pytest.raises(KeyboardInterrupt):
        begin("while :; do sleep 0.05; done")
    assert jobs.list(None, None) == ()
    assert [path.name for path in jobs.place.iterdir() if path.is_dir()] == []


def test_a_running_job_is_stopped_before_it_is_removed(jobs: Jobs, begin: Callable[..., JobRecord]) -> None:
    record = begin("while :; do sleep 0.05; done")
    with pytest.raises(JobError, match="is running"):
        jobs.remove(record)
    assert jobs.cancel(record, 10).state is JobState.CANCELLED
    jobs.remove(record)


def test_a_job_of_another_machine_is_left_alone(jobs: Jobs, begin: Callable[..., JobRecord]) -> None:
    record = finish(jobs, begin("true"))
    jobs.records.remove(record.id)
    far = replace(record, host="elsewhere", state=JobState.RUNNING)
    jobs.records.add(far)
    shutil.rmtree(jobs.place / record.id)
    assert jobs.find(record.id).state is JobState.RUNNING
    with pytest.raises(JobError, match="elsewhere"):
        jobs.cancel(far, 0)


@pytest.mark.parametrize(
    ("state", "ended", "seconds"),
    [
        (JobState.RUNNING, None, 20.0),
        (JobState.SUCCEEDED, 107.0, 7.0),
        (JobState.SUCCEEDED, 40.0, 0.0),  # the clock was set back meanwhile
        (JobState.LOST, None, None),
    ],
)
def test_how_long_it_took(
    begin: Callable[..., JobRecord], jobs: Jobs, state: JobState, ended: float | None, seconds: float | None
) -> None:
    record = replace(finish(jobs, begin("true")), started=100.0, state=state, ended=ended)
    assert record.count_seconds(120.0) == seconds


def test_metrics_that_are_no_file(jobs: Jobs, begin: Callable[..., JobRecord], tmp_path: Path) -> None:
    """A container writes to that folder: it must neither stop us nor lead us to other files."""
    record = finish(jobs, begin("true"))
    place = jobs.metrics_file(record)
    (tmp_path / "elsewhere").write_bytes(b'{"metric": "secret", "value": 1}\n')
    place.symlink_to(tmp_path / "elsewhere")
    assert jobs.read_metrics(record).last == {}
    place.unlink()
    os.mkfifo(place)
    assert jobs.read_metrics(record).last == {}


def test_outputs_that_are_odd(tmp_path: Path) -> None:
    folder = tmp_path / "outputs"
    folder.mkdir()
    (folder / "b").write_text("x")
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to("/etc/passwd")
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff")).write_text("")
    assert [output.path for output in list_outputs(folder)] == ["b", "\\xff"]


def test_words_that_are_no_text(jobs: Jobs, begin: Callable[..., JobRecord]) -> None:
    words = ("sh", "-c", "true", os.fsdecode(b"--a=\xff"))
    record = finish(jobs, begin("", command=words))
    assert record.command == words
    assert record_values(record)["command"][-1] == "--a=\\udcff"


def test_what_is_not_as_it_was(jobs: Jobs, begin: Callable[..., JobRecord]) -> None:
    record = finish(jobs, begin("true"))
    assert list_differences(record, record) == ()
    other = replace(record, commit="c", lock="sha256:" + "1" * 64, host="elsewhere")
    assert [text.partition(":")[0] for text in list_differences(record, other)] == [
        "the locked packages",
        "the commit",
        "the machine",
    ]


def test_a_target_comes_back_from_a_record(jobs: Jobs, begin: Callable[..., JobRecord]) -> None:
    data = (DataFolder(path="a:b"), DataFolder(path="c", writable=True))
    target = replace(LOCAL, data=data, network="none")
    assert target_of(finish(jobs, begin("true", target=target))) == target
