"""What a job's program calls, in a job and outside of one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import wherry
from wherry.formats.job_metrics import summarise


def test_outside_of_a_job_nothing_happens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WHERRY_METRICS", raising=False)
    monkeypatch.chdir(tmp_path)
    wherry.log_metric("loss", 0.1, step=1)
    wherry.log_params(lr=0.1)
    assert list(tmp_path.iterdir()) == []


def test_lines_of_several_processes_stay_whole(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    program = (
        "import sys, wherry\n"
        "for step in range(200): wherry.log_metric('m' + sys.argv[1], step, step=step)\n"
        "wherry.log_params({'n': 1})"
    )
    env = {**os.environ, "WHERRY_METRICS": str(path)}
    started = [subprocess.Popen([sys.executable, "-c", program, str(number)], env=env) for number in range(4)]
    assert [process.wait(60) for process in started] == [0] * 4
    found = summarise(path.read_bytes().splitlines())
    assert found.parameters == {"n": "1"}
    assert sorted(found.counts.items()) == [(f"m{number}", 200) for number in range(4)]
    assert set(found.last.values()) == {199.0}


def test_the_api_loads_next_to_nothing() -> None:
    program = "import sys, wherry; wherry.log_metric('a', 1); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"msgspec", "typer", "packaging", "sqlite3", "subprocess"} & set(loaded)
