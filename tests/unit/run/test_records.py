"""Records of jobs: kept, found, finished once; fifty processes at a time; damage."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import pytest

from wherry.errors import StoreError, UsageError
from wherry.model.job import JobRecord, JobState, Output, TaskEnd
from wherry.run.records import JobFilter, SqliteRecords, parse_record, render_record

DONE = TaskEnd(state=JobState.SUCCEEDED, exit_code=0, ended=20.0)


def make_record(name: str = "a1", started: float = 10.0, project: str = "/p") -> JobRecord:
    return JobRecord(
        id=name,
        project=project,
        name="anomaly",
        target="local",
        backend="local",
        command=("python", "train.py", "--lr", "0.1 é"),
        parameters={"lr": "0.1"},
        env={"SECRET": None, "MODE": "x"},
        limits={"cpus": 2},
        platform="linux/amd64",
        host="deck",
        started=started,
    )


@pytest.fixture
def records(tmp_path: Path) -> SqliteRecords:
    return SqliteRecords(tmp_path / "jobs" / "jobs.sqlite")


def test_what_is_kept_comes_back(records: SqliteRecords) -> None:
    records.add(make_record())
    assert records.find("a1") == make_record()
    ended = replace(make_record(), state=JobState.FAILED, exit_code=3, outputs=(Output(path="m", size=1, sha256="0" * 64),))
    assert parse_record(render_record(ended)) == ended


def test_a_job_ends_once(records: SqliteRecords) -> None:
    records.add(make_record())
    assert records.finish("a1", DONE, (Output(path="m", size=1, sha256="0" * 64),))
    assert not records.finish("a1", TaskEnd(state=JobState.LOST), ())
    found = records.find("a1")
    assert (found.state, found.exit_code, found.ended, len(found.outputs)) == (JobState.SUCCEEDED, 0, 20.0, 1)
    assert not records.finish("b2", DONE, ())


def test_lists(records: SqliteRecords) -> None:
    for number in range(5):
        records.add(make_record(f"a{number}", started=number, project=f"/p{number % 2}"))
    records.finish("a4", DONE, ())
    assert [record.id for record in records.read()] == ["a4", "a3", "a2", "a1", "a0"]
    assert [record.id for record in records.read(project="/p0", most=2)] == ["a4", "a2"]
    assert [record.id for record in records.read(project="/p0", running=True)] == ["a2", "a0"]
    records.remove("a3")
    records.remove("a3")
    assert [record.id for record in records.read(most=2)] == ["a4", "a2"]


def test_pages_of_what_is_wanted(records: SqliteRecords) -> None:
    for number in range(6):
        target = "local" if number < 4 else "big'; --"
        records.add(replace(make_record(f"a{number}", started=number, project=f"/p{number % 2}"), target=target))
    records.finish("a0", DONE, ())

    def page(skip: int, most: int, **wanted: object) -> tuple[list[str], int]:
        found, count = records.read_page(JobFilter(**wanted), skip=skip, most=most)  # type: ignore[arg-type]
        return [record.id for record in found], count

    assert page(0, 4) == (["a5", "a4", "a3", "a2"], 6)
    assert page(4, 4) == (["a1", "a0"], 6)
    assert page(9, 4) == ([], 6)
    assert page(0, 9, project="/p0", state=JobState.RUNNING) == (["a4", "a2"], 2)
    assert page(0, 9, target="big'; --") == (["a5", "a4"], 2)
    assert records.list_choices() == (("/p0", "/p1"), ("big'; --", "local"))


@pytest.mark.parametrize("document", ["", "{", "[]", "null", '{"state": "running"}', '{"state": "gone", "outputs": []}'])
def test_a_damaged_record_says_so(document: str) -> None:
    with pytest.raises(StoreError, match="damaged"):
        parse_record(document)


def test_finding_by_the_beginning_of_an_id(records: SqliteRecords) -> None:
    for name in ("abc1", "abc2", "abc", "b"):
        records.add(make_record(name))
    assert (records.find("abc").id, records.find("abc2").id, records.find("b").id) == ("abc", "abc2", "b")
    with pytest.raises(StoreError, match="several jobs: abc, abc1, abc2"):
        records.find("ab")
    with pytest.raises(StoreError, match="no job 'x'"):
        records.find("x")
    for text in ("", "%", "a b", "'"):
        with pytest.raises(UsageError):
            records.find(text)


def write_many(path: Path, number: int, count: int) -> None:
    records = SqliteRecords(path)
    for turn in range(count):
        name = f"w{number}x{turn}"
        records.add(make_record(name, started=turn))
        records.finish(name, DONE, ())


def test_fifty_processes_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=write_many, args=(path, number, 4)) for number in range(50)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 50
    found = SqliteRecords(path).read()
    assert len({record.id for record in found}) == 200
    assert {record.state for record in found} == {JobState.SUCCEEDED}


def test_a_killed_writer_leaves_whole_records(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    fork = multiprocessing.get_context("fork")
    for number in range(4):
        writer = fork.Process(target=write_many, args=(path, number, 10_000))
        writer.start()
        before = 0
        while before < 20 * (number + 1) and writer.is_alive():
            time.sleep(0.01)
            before = len(SqliteRecords(path).read())
        os.kill(writer.pid or 0, signal.SIGKILL)
        writer.join()
        assert len(SqliteRecords(path).read()) >= before
    SqliteRecords(path).add(make_record("after"))
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "jobs.sqlite").write_bytes(b"no database, but long enough to be looked at" * 40)
    with pytest.raises(StoreError, match="cannot be used") as caught:
        SqliteRecords(tmp_path / "jobs.sqlite").read()
    assert "move the file away" in (caught.value.hint or "")


def test_a_machine_that_gives_no_file_is_not_called_a_damaged_one(tmp_path: Path) -> None:
    (tmp_path / "jobs.sqlite").mkdir()
    with pytest.raises(StoreError, match="unable to open") as caught:
        SqliteRecords(tmp_path / "jobs.sqlite").read()
    assert "move the file away" not in (caught.value.hint or "")


def test_a_list_of_a_newer_wherry(records: SqliteRecords, tmp_path: Path) -> None:
    records.add(make_record())
    database = sqlite3.connect(tmp_path / "jobs/jobs.sqlite")
    database.execute("PRAGMA user_version = 2")
    database.close()
    with pytest.raises(StoreError, match="newer wherry"):
        records.read()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"[Nn]ot a directory|File exists"):
        SqliteRecords(tmp_path / "file" / "jobs.sqlite").read()
