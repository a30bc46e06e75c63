"""The pages of sweeps: all of them, one as a grid of tasks, one task; a store that does not answer keeps no page waiting."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.run.backend_contract import wait_until
from tests.unit.run.sweeps import NAME, Crew, make_state
from tests.unit.ui.conftest import PLACE, World
from wherry.errors import TransferError
from wherry.model.sweep import Axis, Draw, Parameters
from wherry.run.sweep_state import SweepState
from wherry.store.objects_folder import FolderObjects
from wherry.ui.pages.sweeps import make_bill

SCRIPT = """echo "task {i} says </pre><script>alert(1)</script>"
echo '{{"metric": "loss", "value": {i}.5}}' >> "$WHERRY_METRICS"; echo x > "$WHERRY_OUTPUTS/<b>"; [ {i} != 2 ] || exit 3"""


@pytest.fixture
def state(world: World, tmp_path: Path) -> SweepState:
    """A sweep of three tasks that nobody works on yet."""
    return add_sweep(world, tmp_path, price=3600.0, max_cost=9.0)


def add_sweep(world: World, root: Path, **more: object) -> SweepState:
    place = world.desk.sweeps.place
    place.mkdir(parents=True, exist_ok=True)
    store = FolderObjects(place / "state")
    state = make_state(root, SCRIPT, store=store, **more)
    (place / f"{state.id}.address").write_text(store.url)
    return state


def cells(page: str) -> list[str]:
    return re.findall(r'class="cell ([a-z-]+)"', page)


def test_no_sweeps_say_how_to_make_one(world: World) -> None:
    assert "wherry sweep NAME" in world.read("sweeps")
    world.read("sweeps/none", status=400)


def test_a_grid_of_tasks_and_what_they_found(world: World, state: SweepState, tmp_path: Path) -> None:
    page = world.read(f"sweeps/{NAME}")
    assert cells(page) == ["waiting"] * 3
    assert "Cancel this sweep" in page
    Crew(state, tmp_path).work(slots=1)
    assert wait_until(lambda: cells(world.read(f"sweeps/{NAME}")) == ["succeeded", "succeeded", "failed"])
    page = world.read(f"sweeps/{NAME}")
    assert "3 of 3 done" in page
    assert "Cancel this sweep" not in page
    assert 'aria-label="loss by i: 3 tasks, between 0.5 and 2.5.' in page
    assert re.findall(r'id="result-(\d)"', page) == ["0", "1", "2"]
    assert re.findall(r'id="result-(\d)"', world.read(f"sweeps/{NAME}?metric=loss&order=falling")) == ["2", "1", "0"]
    assert "at most 9.00" in page
    assert "3 of 3 done" in world.read("sweeps")


def test_a_task_of_a_sweep(world: World, state: SweepState, tmp_path: Path) -> None:
    assert "It comes when the attempt has ended" in world.read(f"sweeps/{NAME}/tasks/2")
    Crew(state, tmp_path).work()
    page = world.read(f"sweeps/{NAME}/tasks/2")
    for text in ("failed", "<dt>loss</dt><dd><b>2.5", "<dt>Exit code</dt><dd>3", "task 2 says &lt;/pre&gt;", "&lt;b&gt;"):
        assert text in page, text
    assert page.count("<script") == 1
    answer = world.browser.get(f"/p/sweeps/{NAME}/tasks/2/outputs/%3Cb%3E")
    assert (answer.content, answer.headers["content-type"]) == (b"x\n", "application/octet-stream")
    assert world.browser.get(f"/p/sweeps/{NAME}/tasks/2/stdout").text.startswith("task 2 says")
    for path in ("tasks/2/metrics", "tasks/2/..%2F..%2Fspec", "tasks/2/outputs/none"):
        world.read(f"sweeps/{NAME}/{path}", status=404)
    for task in ("3", "-1", "x", "9" * 30):
        world.read(f"sweeps/{NAME}/tasks/{task}", status=400)


def test_a_sweep_is_cancelled(world: World, state: SweepState) -> None:
    assert world.browser.post(f"/p/sweeps/{NAME}/cancel").status_code == 403
    answer = world.browser.post(f"/p/sweeps/{NAME}/cancel", headers={"origin": PLACE})
    assert answer.headers["location"] == f"/p/sweeps/{NAME}"
    assert state.is_cancelled()
    assert wait_until(lambda: f"wherry sweep resume {NAME}" in world.read(f"sweeps/{NAME}"))


def test_two_parameters_make_a_table(world: World, tmp_path: Path) -> None:
    axes = (Axis(name="lr", values=(0.1, 0.01)), Axis(name="depth", values=(2, 4, 8)))
    state = make_parametric(world, tmp_path, Parameters(axes=axes))
    page = world.read(f"sweeps/{state.id}")
    assert "Tasks by lr and depth" in page
    assert len(cells(page)) == 6
    assert re.findall(r'<th scope="row">([^<]+)</th>', page) == ["0.1", "0.01"]


def test_draws_make_no_table(world: World, tmp_path: Path) -> None:
    state = make_parametric(world, tmp_path, Parameters(draws=(Draw(name="lr", low=0.1),), count=5000))
    page = world.read(f"sweeps/{state.id}")
    assert len(cells(page)) == 2000
    assert "The first 2000 of 5000" in page


def make_parametric(world: World, root: Path, parameters: Parameters) -> SweepState:
    state = add_sweep(world, root)
    spec = state.read_spec()
    other = replace(spec, id="other-1", sweep=replace(spec.sweep, parameters=parameters, command=("true",)))
    made = SweepState(state.store, other.id)
    assert made.create(other)
    (world.desk.sweeps.place / f"{made.id}.address").write_text(state.store.url)
    return made


def test_a_store_that_does_not_answer_keeps_nobody_waiting(
    world: World, state: SweepState, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = threading.Event()
    list_keys = FolderObjects.list

    def hang(store: FolderObjects, prefix: str) -> object:
        answer.wait(60)
        if prefix.endswith("workers/"):
            raise TransferError("the store does not answer")
        return list_keys(store, prefix)

    monkeypatch.setattr(FolderObjects, "list", hang)
    assert "reading …" in world.read("sweeps")
    assert "Reading its state" in world.read(f"sweeps/{NAME}")
    answer.set()
    assert wait_until(lambda: "the store does not answer" in world.read("sweeps"))
    assert "the store does not answer" in world.read(f"sweeps/{NAME}")
    monkeypatch.undo()
    assert wait_until(lambda: cells(world.read(f"sweeps/{NAME}")) == ["waiting"] * 3)


def test_what_it_will_have_cost(world: World, state: SweepState, tmp_path: Path) -> None:
    spec = state.read_spec()
    Crew(state, tmp_path).work(indices=[0])
    (view,) = world.desk.sweep_readings.look([state], 10.0)
    assert view.status is not None
    bill = make_bill(spec, view.status)
    assert bill.cost == pytest.approx(bill.seconds)  # at 3600 an hour
    assert bill.seconds_expected == pytest.approx(3 * bill.seconds)
    assert bill.cost_expected == pytest.approx(min(9.0, 3 * bill.seconds))
