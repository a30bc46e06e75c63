"""The power fails at every moment of an update, and the disk keeps what it likes of what was not synced: the device still works.

One whole update is recorded; from each moment the states are made that a file system may show, and an agent is started on each:
the former or the new image runs, and the update can be done.
"""

from __future__ import annotations

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
        folder = memory / "device"
        shutil.rmtree(folder, ignore_errors=True)
        lay_out(tree, folder / "state")
        lay_out(engine, folder / "engine")
        device = Device.simulated(folder, operator)
        assert isinstance(device.engine, SimulatedEngine)
        device.engine.lose_power()
        if sick:
            device.engine.sick.add(TWO.image_id)
        outcomes[check(device, parcels[-1], f"{number}: {what}", sick=sick)] += 1
    print(len(states), dict(outcomes))


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
