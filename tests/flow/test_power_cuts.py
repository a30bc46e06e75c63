"""The power fails at every moment of an update, and the disk keeps what it likes of what was not synced: the device still works.

One whole update is recorded; from each moment the states are made that a file system may show, and an agent is started on each:
the former or the new image runs, and the update can be done.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.simulators.devices import Device, Operator, as_source, make_model_image
from tests.simulators.engine import SimulatedEngine
from tests.simulators.power import PowerRecorder, Tree, lay_out
from wherry.agent.update import Outcome, TakenBack
from wherry.errors import WherryError

WEIGHTS = random.Random(3).randbytes(2000)
ZERO, ONE = make_model_image(b"none"), make_model_image(WEIGHTS)
TWO = make_model_image(WEIGHTS[:700] + b"trained again" + WEIGHTS[700:], code=b"print('two')\n" * 60)
LEAST = 200


@pytest.fixture(autouse=True)
def nothing_is_synced_by_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Syncing the whole machine would take long, and must not be what the order rests on."""
    monkeypatch.setattr(os, "sync", lambda: None)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder that is quick to make and to remove again."""
    place = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=place if os.access(place, os.W_OK) else tmp_path) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def operator() -> Operator:
    """Released an image that will have to go, then one, then two."""
    return Operator()


@pytest.fixture(scope="module")
def parcels(operator: Operator) -> tuple[bytes, ...]:
    operator.release(1, ZERO)
    first = operator.cut(ZERO, None)
    operator.release(2, ONE)
    second = operator.cut(ONE, ZERO)
    operator.release(3, TWO)
    return first, second, operator.cut(TWO, ONE)


def record(folder: Path, operator: Operator, parcels: tuple[bytes, ...], *, sick: bool) -> list[tuple[str, Tree, Tree]]:
    """All states of an update from image one to two: of the agent's folder, each with the engine's at that moment."""
    device = Device.simulated(folder, operator)
    for parcel in parcels[:-1]:
        device.agent().apply(as_source(parcel))
    engine = device.engine
    assert isinstance(engine, SimulatedEngine)
    if sick:
        engine.sick.add(TWO.image_id)
    recorder = PowerRecorder(folder / "state", beside=folder / "engine")
    engine._before = lambda what: recorder.note(f"engine {what}")  # type: ignore[method-assign]
    with recorder.watch(), suppress(TakenBack):
        device.agent().apply(as_source(parcels[-1]))
    recorder.note("the end")
    return list(recorder.states(random.Random(5), 24))


@pytest.mark.parametrize("sick", [False, True], ids=["well", "sick"])
def test_a_power_cut_at_any_moment(
    memory: Path, operator: Operator, parcels: tuple[bytes, ...], sick: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = record(memory / "recorded", operator, parcels, sick=sick)
    assert len(states) >= LEAST
    monkeypatch.setattr(os, "fsync", lambda _handle: None)  # from here on the power stays
    outcomes: Counter[str] = Counter()
    for number, (what, tree, engine) in enumerate(states):
        shutil.rmtree(memory / "device", ignore_errors=True)
        device = start_device(memory / "device", operator, tree, engine, sick=sick)
        outcomes[check(device, parcels[-1], f"{number}: {what}", sick=sick)] += 1
    print(len(states), dict(outcomes))


@pytest.mark.parametrize("sick", [False, True], ids=["well", "sick"])
def test_a_power_cut_while_the_former_one_is_mended(
    memory: Path, operator: Operator, parcels: tuple[bytes, ...], sick: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The power comes back in the middle of a trial, and fails again at any moment of what the agent does then."""
    trials = [state for state in record(memory / "recorded", operator, parcels, sick=sick) if _pending_of(state[1]) == "trial"]
    returns = [state for state in record(memory / "again", operator, parcels, sick=sick) if _pending_of(state[1]) == "return"]
    assert bool(returns) == sick
    states = []
    for number, (_, tree, engine) in enumerate((trials[0], trials[-1], *returns[-1:])):
        folder = memory / f"recovering-{number}"
        device = start_device(folder, operator, tree, engine, sick=sick)
        assert isinstance(device.engine, SimulatedEngine)
        recorder = PowerRecorder(folder / "state", beside=folder / "engine")
        device.engine._before = lambda what, recorder=recorder: recorder.note(f"engine {what}")  # type: ignore[method-assign, misc]
        with recorder.watch():
            device.agent().recover()
        recorder.note("the end")
        states += list(recorder.states(random.Random(6), 24))
    assert len(states) >= 30
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    for number, (what, tree, engine) in enumerate(states):
        shutil.rmtree(memory / "device", ignore_errors=True)
        device = start_device(memory / "device", operator, tree, engine, sick=sick)
        check(device, parcels[-1], f"{number}: {what}", sick=sick)


def _pending_of(tree: Tree) -> str:
    try:
        pending = json.loads(tree.get("state.json") or b"{}").get("pending")
    except ValueError:
        return ""
    return str(pending["phase"]) if pending else ""


def start_device(folder: Path, operator: Operator, tree: Tree, engine: Tree, *, sick: bool) -> Device:
    """A device on which the power has come back."""
    lay_out(tree, folder / "state")
    lay_out(engine, folder / "engine")
    device = Device.simulated(folder, operator)
    assert isinstance(device.engine, SimulatedEngine)
    device.engine.lose_power()
    if sick:
        device.engine.sick.add(TWO.image_id)
    return device


def test_an_agent_that_syncs_nothing_is_found_out(
    memory: Path, operator: Operator, parcels: tuple[bytes, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wherry.agent.state.write_atomically", lambda path, data: path.write_bytes(data))
    states = record(memory / "recorded", operator, parcels, sick=False)
    monkeypatch.undo()
    for number, (what, tree, engine) in enumerate(states):
        lay_out(tree, memory / str(number) / "state")
        lay_out(engine, memory / str(number) / "engine")
        device = Device.simulated(memory / str(number), operator)
        try:
            device.agent().recover()
            check(device, parcels[-1], what, sick=False)
        except (WherryError, AssertionError):
            return
    raise AssertionError("every state was fine")


def check(device: Device, parcel: bytes, what: str, *, sick: bool) -> str:
    device.agent().recover()
    assert device.running in ((ONE.image_id,) if sick else (ONE.image_id, TWO.image_id)), what
    found = "new" if device.running == TWO.image_id else "former"
    if sick:
        with pytest.raises(TakenBack):
            device.agent().apply(as_source(parcel))
    elif found == "former":
        assert device.agent().apply(as_source(parcel)) is Outcome.UPDATED, what
    state = device.agent().read_state()
    assert device.running == (ONE if sick else TWO).image_id, what
    assert state.pending is None, what
    return found
