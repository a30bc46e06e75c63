"""A sweep's state, as others may have left it: what is nobody's is passed over, what is damaged is named."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.unit.run.sweeps import make_state
from wherry.errors import FormatError
from wherry.formats.sweep_json import render_document
from wherry.model.job import JobState
from wherry.model.sweep import TaskDone
from wherry.run.sweep_state import SweepState
from wherry.run.sweep_status import StatusReader


def done(task: int) -> TaskDone:
    return TaskDone(task=task, attempt=0, state=JobState.SUCCEEDED, worker="w")


@pytest.fixture
def state(tmp_path_factory: pytest.TempPathFactory) -> SweepState:
    return make_state(tmp_path_factory.getbasetemp(), "true")


def succeeded(state: SweepState) -> int:
    return StatusReader(state, state.read_spec(), 1.0).read().counts.succeeded


@pytest.mark.parametrize("place", ["00000/5000", "00000/x", "xyz", "00000/999", "99999/001", "99999999999999999999"])
def test_what_is_no_task_s_is_passed_over(state: SweepState, place: str) -> None:
    state.commit(done(1))
    state.store.put(f"sweeps/{state.id}/_DONE/{place}", b"")
    assert succeeded(state) == 1


@pytest.mark.parametrize("ends", [[done(10**9)], [done(1), done(3)]])
def test_copies_of_other_sweeps_ends_are_passed_over(state: SweepState, ends: Iterable[TaskDone]) -> None:
    state.commit(done(1))
    state.write_ends("w", 1, ends)
    assert succeeded(state) == 1


def test_an_end_in_another_task_s_place_is_damaged(state: SweepState) -> None:
    state.store.put(f"sweeps/{state.id}/_DONE/00000/001", render_document(done(2)))
    with pytest.raises(FormatError, match="_DONE/00000/001: damaged: it is task 2's"):
        succeeded(state)
    with pytest.raises(FormatError, match="damaged"):
        state.read_done(1)
