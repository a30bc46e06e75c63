"""What `wherry sweep` refuses before anything is made, and what it clears away of stores that somebody has damaged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.run.sweeps import NAME, make_state
from wherry.errors import BudgetError, UsageError
from wherry.model.job import BackendKind, Target
from wherry.model.sweep import Beat, Parameters, Round, Sweep
from wherry.run.sweep_watch import StopSign
from wherry.store.objects_folder import FolderObjects
from wherry.sweeps import Sweeps, SweepWish

LOCAL = Target(name="local", backend=BackendKind.LOCAL)
OVER = Round(sweep=NAME, id="r1", backend="local", target="local", owner="me", begun=1.0, expires=2.0, workers=1, price=None)


def test_a_bound_of_cost_that_nobody_could_keep_is_refused(tmp_path: Path) -> None:
    sweep = Sweep(name="trial", command=("true",), parameters=Parameters(), max_cost=3.0)
    sweeps = Sweeps({"WHERRY_JOBS": str(tmp_path / "jobs")})
    wish = SweepWish(root=tmp_path, sweep=sweep, target=LOCAL, state=str(tmp_path / "state"))
    with pytest.raises(UsageError, match="max-cost cannot be kept to"):
        sweeps.plan(wish)
    assert sweeps.plan(replace(wish, sweep=replace(sweep, price=0.5))).cost == 3.0
    begun = make_state(tmp_path, "true")
    with pytest.raises(UsageError, match="max-cost cannot be kept to"):
        sweeps.drive(begun, lambda _status: None, StopSign(), max_cost=3.0)


def test_another_bound_than_it_was_begun_with(tmp_path: Path) -> None:
    begun = make_state(tmp_path, "true", price=3600.0, max_cost=3.0)
    begun.write_beat(Beat(worker="w", number=1, slots=1, spent=3.0, over=True))
    sweeps = Sweeps({"WHERRY_JOBS": str(tmp_path / "jobs")})
    with pytest.raises(BudgetError, match=r"may cost 3\.00"):
        sweeps.drive(begun, lambda _status: None, StopSign())
    with pytest.raises(BudgetError, match=r"may cost 2\.00"):
        sweeps.drive(begun, lambda _status: None, StopSign(), max_cost=2.0)


def test_a_round_of_a_sweep_that_is_gone_hides_no_other(tmp_path: Path) -> None:
    store = FolderObjects(tmp_path / "state")
    make_state(tmp_path, "true", store=store).add_round(OVER)
    make_state(tmp_path, "true", store=store, name="gone-1").add_round(replace(OVER, sweep="gone-1", expires=1e12))
    store.delete("sweeps/gone-1/spec")
    said: list[str] = []
    sweeps = Sweeps({"WHERRY_JOBS": str(tmp_path / "jobs")}, said.append)
    assert sweeps.collect(None, store.url, dry_run=False) == ()
    assert store.folders("tags/") == ("gone-1",)
    assert "gone-1.r1 is not known" in said[0]


def test_whoever_drives_a_sweep_that_was_named_asks_for_nothing_more(tmp_path: Path) -> None:
    state = make_state(tmp_path, "true", store=FolderObjects(tmp_path / "state"))
    state.add_round(replace(OVER, expires=1e12))
    sweeps = Sweeps({"WHERRY_JOBS": str(tmp_path / "jobs")})
    sweeps.collect(state.id, state.store.url, dry_run=True)
    assert not state.is_cancelled()
    sweeps.collect(state.id, state.store.url, dry_run=False)
    assert state.is_cancelled()
    assert state.read_tags() == ()
