"""Telemetry that was taken is in the tables once, killed wherever: between statements of the spool, and around a file's name."""

from __future__ import annotations

import os
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest

from tests.unit.score.test_outbox import Deadly
from wherry.collect.spool import Spool
from wherry.collect.tables import write_parts
from wherry.errors import StoreError
from wherry.model.telemetry import Message, Record

DAY = 86400.0


def message(device: str, *numbers: int, **counts: int) -> Message:
    records = tuple(Record(id=f"r{n}", topic="t", time=n * DAY / 4, reading={"v": n}, result={"hot": n > 3}) for n in numbers)
    return Message(device=device, records=records, counts=counts)


def write(spool: Spool, root: Path, most: int = 100) -> tuple[int, int]:
    (root / "scratch").mkdir(exist_ok=True)
    spool.begin_batch(most)
    return write_parts(spool, root / "tables", root / "scratch")


def read(root: Path) -> list[dict[str, Any]]:
    rows = ds.dataset(root / "tables", partitioning="hive").to_table().to_pylist() if (root / "tables").is_dir() else []
    return sorted(rows, key=lambda row: (row["device"], row["id"]))


def test_by_day_and_device_each_record_once(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s.sqlite", 30)
    assert spool.take(message("a", 1, 2, 3)) == 3
    assert spool.take(message("a", 3, 4)) == 1
    assert spool.take(message("b", 1)) == 1
    assert write(spool, tmp_path) == (3, 5)
    assert spool.take(message("a", 1, 2, 3, 4)) == 0
    assert write(spool, tmp_path) == (0, 0)
    rows = read(tmp_path)
    assert [(row["device"], row["id"], row["date"][8:]) for row in rows] == [
        ("a", "r1", "01"), ("a", "r2", "01"), ("a", "r3", "01"), ("a", "r4", "02"), ("b", "r1", "01"),
    ]  # fmt: skip
    assert [row["reading.v"] for row in rows] == [1.0, 2.0, 3.0, 4.0, 1.0]
    assert rows[3]["time"].isoformat() == "1970-01-02T00:00:00+00:00"
    assert (rows[3]["result.hot"], rows[3]["count"], rows[3]["rest"]) == (True, 1, None)


def test_a_batch_is_bounded_and_columns_stay(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s.sqlite", 30)
    spool.take(message("a", 1, 2, 3))
    assert write(spool, tmp_path, most=2) == (1, 2)
    assert spool.waits() == 1
    spool.take(Message(device="a", records=(Record(id="odd", topic="t", time=0.0, reading={"v": "text"}),)))
    assert write(spool, tmp_path) == (1, 2)
    assert {row["id"]: row["rest"] for row in read(tmp_path)} == {
        "r1": None,
        "r2": None,
        "r3": None,
        "odd": '{"reading.v": "text"}',
    }


def test_what_devices_lost_is_kept(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s.sqlite", 30)
    for told in (3, 5, 4):
        spool.take(message("a", dropped=told))
    assert spool.lost() == {"a": {"dropped": 5}}


def test_a_spool_that_begins_anew_replaces_no_file(tmp_path: Path) -> None:
    for name in ("one", "two"):
        spool = Spool(tmp_path / f"{name}.sqlite", 30)
        spool.take(message("a", 1))
        write(spool, tmp_path)
        spool.close()
    assert len(list((tmp_path / "tables").rglob("*.parquet"))) == 2


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        Spool(tmp_path / "file" / "s.sqlite", 30)


def live(root: Path, moment: int, connect: Any) -> None:
    """Take two messages and lay them out; killed at the statement or the rename of that number."""
    sqlite3.connect = lambda *words, **more: connect(*words, **more, factory=Deadly)  # type: ignore[assignment]
    replace = Path.replace

    def rename(path: Path, target: Path) -> Path:
        for after in (False, True):
            Deadly.left -= 1
            if Deadly.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            if not after:
                replace(path, target)
        return target

    Path.replace = rename  # type: ignore[method-assign, assignment]
    spool = Spool(root / "s.sqlite", 30)
    Deadly.left = moment
    for number, told in enumerate((message("a", 1, 2, 5), message("b", 2, 3))):
        spool.take(told)
        (root / f"taken-{number}").touch()
        write(spool, root)


def test_killed_anywhere_each_record_is_in_one_file_once(tmp_path: Path) -> None:
    import pyarrow.parquet  # noqa: F401 - once, and not in every child

    everything = {"taken-0": [("a", "r1"), ("a", "r2"), ("a", "r5")], "taken-1": [("b", "r2"), ("b", "r3")]}
    for moment in range(1, 200, 3):
        root = tmp_path / str(moment)
        root.mkdir()
        child = os.fork()
        if child == 0:
            try:
                live(root, moment, sqlite3.connect)
            finally:
                os._exit(0)
        killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
        spool = Spool(root / "s.sqlite", 30)
        write(spool, root)
        found = [(row["device"], row["id"]) for row in read(root)]
        for name, records in everything.items():
            assert not (root / name).exists() or set(records) <= set(found), moment
        for told in (message("a", 1, 2, 5), message("b", 2, 3)):  # what was not confirmed comes again, and what was may
            spool.take(told)
        write(spool, root)
        spool.close()
        assert [(row["device"], row["id"]) for row in read(root)] == [pair for pairs in everything.values() for pair in pairs], (
            moment
        )
        if not killed:
            assert moment > 30
            return
    raise AssertionError("it never came to an end")
