"""What is shown of a sweep while it runs and when it has ended."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.run.sweeps import make_state
from wherry.cli.sweep_report import print_results, print_status, render_live, tell_price
from wherry.errors import StoreError
from wherry.model.job import JobState, Output
from wherry.model.sweep import Beat, Running, SweepCounts, SweepSpec, TaskDone
from wherry.run.port import Capacity
from wherry.run.sweep_status import SweepStatus
from wherry.run.sweep_table import make_table, write_parquet


@pytest.fixture
def spec(tmp_path: Path) -> SweepSpec:
    return make_state(tmp_path, "true", tasks=40, price=2.0).read_spec()


def make_status(running: int = 0) -> SweepStatus:
    in_hand = tuple(Running(task=task, attempt=0, seconds=float(task)) for task in range(running))
    beat = Beat(worker="w", host="n1", number=1, slots=2, spent=1800.0, running=in_hand)
    failed = TaskDone(task=39, attempt=0, state=JobState.FAILED, exit_code=3, worker="w", note="because")
    counts = SweepCounts(total=40, running=running, succeeded=2, failed=1)
    return SweepStatus(counts=counts, workers=(beat,), alive=frozenset(("w",)), failures=(failed,), spent=1800.0, cancelled=False)


def test_what_a_person_watches(spec: SweepSpec) -> None:
    lines = render_live(spec, make_status(running=12))
    assert lines[0] == "3 of 40 done, 12 running, 1 failed, 1.00 so far"
    assert lines[1] == "  task 11  11 s  n1  i=11"
    assert lines[-1] == "  … and 2 more"
    assert len(lines) == 12


def test_status(spec: SweepSpec, capsys: pytest.CaptureFixture[str]) -> None:
    print_status(spec, make_status(), False)
    told = capsys.readouterr().out
    assert "waiting    37\n" in told
    assert "cost       1.00\n" in told
    assert told.endswith("task 39 (i=39) failed, exit code 3: because\n")
    print_status(spec, make_status(), True)
    assert json.loads(capsys.readouterr().out)["counts"]["waiting"] == 37


def test_what_it_costs_to_leave_it_standing(spec: SweepSpec, tmp_path: Path) -> None:
    assert tell_price(spec.sweep, Capacity(workers=3, slots=1), 7200) == "at most 12.00"
    free = make_state(tmp_path, "true").read_spec().sweep
    assert "unknown" in tell_price(free, Capacity(workers=3, slots=1), 7200)


def test_results(spec: SweepSpec, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow.parquet")
    outputs = (Output(path="m", size=1, sha256=""), Output(path="n", size=1, sha256=""))
    done = TaskDone(
        task=1,
        attempt=0,
        state=JobState.SUCCEEDED,
        exit_code=0,
        worker="w",
        seconds=1.5,
        metrics={"loss": 0.123456, "i": 2.0},
        outputs=outputs,
    )
    table = make_table(spec, {1: done})
    print_results(table)
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].split() == ["TASK", "I", "STATE", "SECONDS", "LOSS", "METRIC.I", "OUTPUTS"]
    assert rows[2].split() == ["1", "1", "succeeded", "1.5", "0.12346", "2", "m", "n"]
    assert rows[3].split() == ["2", "2", "waiting"]
    write_parquet(table, tmp_path / "t.parquet")
    read = pyarrow.read_table(tmp_path / "t.parquet")
    assert read.column_names == list(table.columns)
    assert read["loss"].to_pylist()[:2] == [None, 0.123456]
    with pytest.raises(StoreError):
        write_parquet(table, tmp_path / "none/t.parquet")
