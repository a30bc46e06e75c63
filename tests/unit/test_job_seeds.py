"""Seeds: drawn, recorded, given to the job, and the same again."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.run.backend_contract import wait_until
from tests.unit.run.test_local_backend import make_environment
from wherry.jobs import Jobs, JobWish, list_differences
from wherry.model.job import BackendKind, JobRecord, Target
from wherry.run.backends.local import LocalBackend
from wherry.run.variables import SEEDS

LOCAL = Target(name="local", backend=BackendKind.LOCAL)
SHOW = 'echo "$WHERRY_SEED $PYTHONHASHSEED"'


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Jobs({**os.environ, "WHERRY_JOBS": str(tmp_path / "jobs")})


@pytest.fixture
def run(jobs: Jobs, tmp_path: Path) -> Callable[..., tuple[JobRecord, list[str]]]:
    """Begin a job, wait for its end: its record and the words that it printed."""
    prefix, root = tmp_path / "env", tmp_path / "project"
    root.mkdir()

    def open_backend(then: Callable[[], None]) -> LocalBackend:
        surroundings = {**os.environ, "PYTHONHASHSEED": "77", "WHERRY_SEED": "77"}
        return LocalBackend(surroundings, lambda: (prefix, make_environment(prefix)), then=then)

    def start(**more: object) -> tuple[JobRecord, list[str]]:
        wish = JobWish(**{"root": root, "name": "seeds", "target": LOCAL, "command": ("sh", "-c", SHOW), **more})  # type: ignore[arg-type]
        record = jobs.begin(wish, open_backend)
        assert wait_until(lambda: jobs.records.find(record.id).state.is_final)
        words = (jobs.place / record.id / "tasks/0/stdout").read_text().split()
        return jobs.records.find(record.id), words

    return start


def test_a_new_seed_is_drawn_recorded_and_given(run: Callable[..., tuple[JobRecord, list[str]]]) -> None:
    (first, words), (second, _) = run(), run()
    assert first.seed is not None
    assert 0 <= first.seed < SEEDS
    assert words == [str(first.seed)] * 2
    assert first.seed != second.seed
    assert first.env == {}, "it is no variable that somebody set"


def test_one_that_is_asked_for_and_the_same_again(run: Callable[..., tuple[JobRecord, list[str]]]) -> None:
    former, words = run(seed=0)
    assert (former.seed, words) == (0, ["0", "0"])
    again, words = run(again=former)
    assert (again.seed, words) == (0, ["0", "0"])
    assert list_differences(former, again) == ()
    other, _ = run(again=former, seed=5)
    assert list_differences(former, other) == ("the seed: 0 then, 5 now",)


def test_a_variable_that_was_set_wins(run: Callable[..., tuple[JobRecord, list[str]]]) -> None:
    record, words = run(seed=3, env=(("PYTHONHASHSEED", "1"),))
    assert (record.seed, words) == (3, ["3", "1"])


def test_a_record_of_before_seeds_is_read_as_it_was(jobs: Jobs, run: Callable[..., tuple[JobRecord, list[str]]]) -> None:
    record, _ = run(seed=1)
    with sqlite3.connect(jobs.place / "jobs.sqlite") as database:
        (document,) = database.execute("SELECT document FROM jobs").fetchone()
        old = {key: value for key, value in json.loads(document).items() if key != "seed"}
        database.execute("UPDATE jobs SET document = ?", (json.dumps(old),))
    database.close()
    former = jobs.find(record.id)
    assert former.seed is None
    again, _ = run(again=former)
    assert list_differences(former, again) == (f"the seed: none then, {again.seed} now",)
