"""Telemetry that waits: in order, within its bound, decided once, and there again after a kill at any write."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from wherry.errors import StoreError
from wherry.formats.telemetry import parse_record
from wherry.model.scoring import Method, Reduction
from wherry.model.telemetry import Record
from wherry.score.outbox import Outbox

ALL = 1 << 30


def record(number: int, *, time: float | None = None, name: str | None = None, **reading: Any) -> Record:
    named = name if name is not None else f"r{number}"
    return Record(id=named, topic="t", time=float(number if time is None else time), reading={"v": number, **reading})


def ids(outbox: Outbox) -> list[str]:
    return [parse_record(one.body).id for one in outbox.read(0, 10_000, ALL)]


def reduction(method: Method, **more: Any) -> Reduction:
    return Reduction(topic="#", fields=("reading.v",), method=method, **more)


def fill(outbox: Outbox, numbers: range, rule: int | None = None, now: float = 0.0) -> None:
    outbox.take([(record(number), rule) for number in numbers], now)


def test_first_in_first_out_until_confirmed(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "t.sqlite", ALL)
    fill(outbox, range(5))
    first = outbox.read(0, 2, ALL)
    assert [parse_record(one.body).id for one in outbox.read(first[-1].seq, 10, ALL)] == ["r2", "r3", "r4"]
    outbox.forget(first)
    outbox.forget(first)  # a broker may confirm what came twice
    outbox.close()
    again = Outbox(tmp_path / "t.sqlite", ALL)
    assert ids(again) == ["r2", "r3", "r4"]
    assert (again.counts()["came"], again.counts()["sent"], again.waits()) == (5, 2, 3)


def test_a_message_has_a_size_but_never_nothing(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "t.sqlite", ALL)
    fill(outbox, range(9))
    one = len(outbox.read(0, 1, 0)[0].body)
    assert len(outbox.read(0, 9, 3 * one)) == 3


def test_without_a_name_of_its_own_a_record_gets_one(tmp_path: Path) -> None:
    for _ in range(2):
        outbox = Outbox(tmp_path / "t.sqlite", ALL)
        outbox.take([(record(1, name=""), None), (record(2, name=""), None)], 0.0)
        found = ids(outbox)
        outbox.close()
    assert len(set(found)) == 4
    assert len({name.partition("-")[0] for name in found}) == 1


def test_what_does_not_fit_is_the_oldest_and_is_counted(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "t.sqlite", 1000, (reduction(Method.MEAN),))
    fill(outbox, range(100))
    kept = ids(outbox)
    assert kept == [f"r{number}" for number in range(100 - len(kept), 100)]
    assert sum(len(one.body) for one in outbox.read(0, 100, ALL)) <= 1000
    assert outbox.counts()["dropped"] == 100 - len(kept) > 0
    outbox.take([(record(100, text="x" * 2000), None)], 0.0)
    assert ids(outbox) == ["r100"]
    fill(outbox, range(200, 260), rule=0)  # windows that are open are bounded, too
    assert outbox.waits() < 60


def test_a_window_is_decided_when_the_next_one_begins_or_none_comes(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "t.sqlite", ALL, (reduction(Method.MIN_MAX, window=10.0, points=2),))
    fill(outbox, range(10), rule=0, now=100.0)
    assert ids(outbox) == []
    fill(outbox, range(10, 15), rule=0, now=101.0)
    assert ids(outbox) == ["r0", "r9"]
    outbox.close_windows(110.0)
    assert ids(outbox) == ["r0", "r9"]
    outbox.close_windows(111.0)
    assert ids(outbox) == ["r0", "r9", "r10", "r14"]
    assert (outbox.counts()["reduced"], outbox.waits()) == (11, 4)
    assert outbox.counts()["saved_bytes"] > 0


def test_a_reading_that_comes_twice_counts_once(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "t.sqlite", ALL, (reduction(Method.MEAN, window=10.0),))
    for _ in range(2):
        fill(outbox, range(3), rule=0)
    outbox.close_windows(100.0)
    (mean,) = (parse_record(one.body) for one in outbox.read(0, 9, ALL))
    assert (mean.count, mean.reading) == (3, {"v": 1})


def test_a_dead_band_and_what_is_always_sent(tmp_path: Path) -> None:
    rule = reduction(Method.DEAD_BAND, band=2.0, silence=50.0, always="reading.alarm")
    outbox = Outbox(tmp_path / "t.sqlite", ALL, (rule,))
    outbox.take([(record(value, time=time, name=f"{time}"), 0) for time, value in enumerate((10, 11, 12, 13, 12, 10))], 0.0)
    outbox.take([(record(10, time=7, name="alarm", alarm=True), 0), (record(10, time=60, name="late"), 0)], 0.0)
    outbox.take([(Record(id="odd", topic="t", time=61.0, reading="no number"), 0)], 0.0)
    assert ids(outbox) == ["0", "3", "5", "alarm", "late", "odd"]


def test_a_rule_that_is_gone_reduces_nothing(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "t.sqlite", ALL, (reduction(Method.MEAN),))
    fill(outbox, range(3), rule=0)
    outbox.close()
    for rules in ((), (reduction(Method.DEAD_BAND),)):
        again = Outbox(tmp_path / "t.sqlite", ALL, rules)
        again.close_windows(0.0)
        assert ids(again) == ["r0", "r1", "r2"]
        again.close()


@pytest.mark.parametrize("odd", [float("nan"), "\ud800", {1, 2}, "x" * (4 << 20)])
def test_what_json_cannot_say_is_counted_and_spoils_no_other(tmp_path: Path, odd: object) -> None:
    outbox = Outbox(tmp_path / "t.sqlite", ALL)
    outbox.take([(record(1), None), (record(2, odd=odd), None), (record(3), None)], 0.0)
    assert (ids(outbox), outbox.counts()) == (["r1", "r3"], {"came": 2, "failed": 1})


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="telemetry cannot wait there"):
        Outbox(tmp_path / "file" / "t.sqlite", ALL)
    (tmp_path / "t.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError):
        Outbox(tmp_path / "t.sqlite", ALL)


class Deadly(sqlite3.Connection):
    """Ends the process before its statement of a number."""

    left = 0

    def execute(self, *words: Any) -> sqlite3.Cursor:
        Deadly.left -= 1
        if Deadly.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().execute(*words)


def live(path: Path, moment: int, connect: Any) -> None:
    """Take ten records, two at a time, tell of each pair that was taken, confirm two; killed at the statement `moment`."""
    sqlite3.connect = lambda *words, **more: connect(*words, **more, factory=Deadly)  # type: ignore[assignment]
    outbox = Outbox(path, ALL, (reduction(Method.MIN_MAX, window=4.0, points=100),))
    Deadly.left = moment
    with (path.parent / "taken").open("a") as taken:
        for start in range(0, 10, 2):
            outbox.take([(record(number), None if number < 4 else 0) for number in (start, start + 1)], 0.0)
            print(start, file=taken, flush=True)
    outbox.forget(outbox.read(0, 2, ALL))
    print("forgotten", file=(path.parent / "taken").open("a"), flush=True)


def test_killed_before_any_statement_it_has_what_it_took(tmp_path: Path) -> None:
    for moment in range(1, 200, 3):
        folder = tmp_path / str(moment)
        folder.mkdir()
        child = os.fork()
        if child == 0:
            try:
                live(folder / "t.sqlite", moment, sqlite3.connect)
            finally:
                os._exit(0)
        killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
        told = (folder / "taken").read_text().split()
        outbox = Outbox(folder / "t.sqlite", ALL, ())
        outbox.close_windows(1e9)
        found = ids(outbox)
        taken = [f"r{int(start) + more}" for start in told if start.isdigit() for more in (0, 1)]
        missing = [name for name in taken if name not in found]
        assert missing in ([], ["r0", "r1"]), moment  # those may be confirmed already
        assert len(found) == len(set(found))
        assert not missing or len(taken) == 10
        outbox.close()
        if not killed:
            assert moment > 30
            assert told[-1] == "forgotten"
            return
    raise AssertionError("it never came to an end")


def test_the_sent_values_are_whole_after_a_restart(tmp_path: Path) -> None:
    for time, value in enumerate((1, 2, 5)):
        outbox = Outbox(tmp_path / "t.sqlite", ALL, (reduction(Method.DEAD_BAND, band=2.0),))
        outbox.take([(record(value, time=time, name=f"{time}"), 0)], 0.0)
        found = ids(outbox)
        outbox.close()
    assert found == ["0", "2"]
    with sqlite3.connect(tmp_path / "t.sqlite") as db:
        assert json.loads(db.execute("SELECT fields FROM sent").fetchone()[0]) == {"reading.v": 5.0}
    db.close()
