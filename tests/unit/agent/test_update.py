"""Updates from a parcel to a container that runs: kept, taken back, begun again, refused."""

from __future__ import annotations

import random
import shutil
import zlib
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.simulators.devices import HEALTH, Device, Operator, TinyImage, as_source, make_model_image
from tests.simulators.engine import SimulatedEngine
from wherry.agent.preparation import BaseUnusable
from wherry.agent.processes import run_apart
from wherry.agent.settings import UpdateSettings
from wherry.agent.update import Outcome, TakenBack
from wherry.errors import DeviceError, EngineError, FormatError, TrustError, WherryError
from wherry.store.posix import hold_lock

WEIGHTS = random.Random(1).randbytes(3000)
RETRAINED = WEIGHTS[:1000] + b"other" + WEIGHTS[1005:]
ONE, TWO = make_model_image(WEIGHTS), make_model_image(RETRAINED)
THREE = make_model_image(RETRAINED, code=b"print('three')\n" * 40)


@pytest.fixture(scope="module")
def operator() -> Operator:
    """Released image one, then two."""
    operator = Operator()
    operator.release(1, ONE)
    return operator


@pytest.fixture(scope="module")
def parcels(operator: Operator) -> dict[str, bytes]:
    """Made once: the order in which they were signed is that of their names."""
    made = {"1 full": operator.cut(ONE, None)}
    operator.release(2, TWO)
    made |= {"2 full": operator.cut(TWO, None), "2": operator.cut(TWO, ONE), "2 again": operator.cut(TWO, TWO)}
    operator.release(3, THREE)
    made["3"] = operator.cut(THREE, TWO)
    operator.release(4, TWO)
    made["4 back"] = operator.cut(TWO, THREE)
    return made


@pytest.fixture
def device(tmp_path: Path, operator: Operator, parcels: dict[str, bytes]) -> Device:
    """Runs release 1."""
    device = Device.simulated(tmp_path, operator)
    assert device.agent().apply(as_source(parcels["1 full"])) is Outcome.UPDATED
    assert device.running == ONE.image_id
    return device


def engine_of(device: Device) -> SimulatedEngine:
    assert isinstance(device.engine, SimulatedEngine)
    return device.engine


def runs(device: Device, image: TinyImage, release: int) -> None:
    state = device.agent().read_state()
    assert device.running == image.image_id
    assert state.current is not None
    assert (state.current.manifest, state.current.release) == (image.digest, release)
    assert state.pending is None
    assert not list((device.folder / "state/spool").glob("*"))


def test_an_update(device: Device, parcels: dict[str, bytes]) -> None:
    assert len(parcels["2"]) < len(parcels["2 full"]) / 3
    assert device.agent().apply(as_source(parcels["2"])) is Outcome.UPDATED
    runs(device, TWO, 2)
    assert device.agent().read_state().former is not None
    assert device.agent().apply(as_source(parcels["2 again"])) is Outcome.SAME
    assert device.agent().apply(as_source(parcels["3"])) is Outcome.UPDATED
    runs(device, THREE, 3)
    # The one before the former is forgotten, in the engine too.
    assert len(list((device.folder / "engine/images").iterdir())) == 2
    assert len(list((device.folder / "state/images").iterdir())) == 2


def test_in_processes_of_their_own(device: Device, parcels: dict[str, bytes]) -> None:
    device.apart = run_apart
    assert device.agent().apply(as_source(parcels["2"])) is Outcome.UPDATED
    runs(device, TWO, 2)
    with pytest.raises(FormatError, match="damaged parcel"):
        device.agent().apply(as_source(parcels["3"][:-1]))


def test_a_full_parcel_does_not_rebuild_what_is_here(device: Device, parcels: dict[str, bytes]) -> None:
    assert device.agent().apply(as_source(parcels["2 full"])) is Outcome.UPDATED
    runs(device, TWO, 2)


def test_a_sick_release_is_taken_back(device: Device, parcels: dict[str, bytes]) -> None:
    engine_of(device).sick.add(TWO.image_id)
    with pytest.raises(TakenBack, match="health command ended with 1"):
        device.agent().apply(as_source(parcels["2"]))
    runs(device, ONE, 1)
    with pytest.raises(TakenBack, match="taken back before"):
        device.agent().apply(as_source(parcels["2"]))
    engine_of(device).sick.clear()
    assert device.agent().apply(as_source(parcels["2"]), again=True) is Outcome.UPDATED
    runs(device, TWO, 2)


def test_a_release_that_cannot_be_started_is_taken_back(device: Device, parcels: dict[str, bytes]) -> None:
    engine_of(device).broken.add(TWO.image_id)
    with pytest.raises(TakenBack, match="no such program"):
        device.agent().apply(as_source(parcels["2"]))
    runs(device, ONE, 1)


def test_the_first_one_may_be_sick_too(tmp_path: Path, operator: Operator, parcels: dict[str, bytes]) -> None:
    device = Device.simulated(tmp_path, operator)
    engine_of(device).sick.add(ONE.image_id)
    with pytest.raises(TakenBack):
        device.agent().apply(as_source(parcels["1 full"]))
    assert device.running is None
    assert device.agent().read_state().current is None


def test_an_operator_who_wants_the_former_release_back(device: Device, parcels: dict[str, bytes]) -> None:
    for name in ("2", "3", "4 back"):
        device.agent().apply(as_source(parcels[name]))
    runs(device, TWO, 4)


def test_an_older_release_is_refused(device: Device, parcels: dict[str, bytes]) -> None:
    device.agent().apply(as_source(parcels["2"]))
    device.agent().apply(as_source(parcels["3"]))
    for name in ("2 full", "1 full"):
        with pytest.raises(TrustError):
            device.agent().apply(as_source(parcels[name]))
    runs(device, THREE, 3)


def test_rollback(device: Device, parcels: dict[str, bytes]) -> None:
    with pytest.raises(DeviceError, match="no former image"):
        device.agent().roll_back()
    device.agent().apply(as_source(parcels["2"]))
    assert device.agent().roll_back() is Outcome.UPDATED
    runs(device, ONE, 1)
    with pytest.raises(TakenBack, match="rolled back by the operator"):
        device.agent().apply(as_source(parcels["2"]))
    assert device.agent().roll_back() is Outcome.UPDATED  # and forward again
    runs(device, TWO, 2)


def test_a_parcel_for_another_base(device: Device, parcels: dict[str, bytes]) -> None:
    with pytest.raises(DeviceError, match="another image"):
        device.agent().apply(as_source(parcels["3"]))
    runs(device, ONE, 1)


def test_an_altered_base_is_named(device: Device, parcels: dict[str, bytes]) -> None:
    (layer,) = (device.folder / "engine/layers").glob("*/app/model.bin")
    layer.write_bytes(layer.read_bytes()[::-1])
    with pytest.raises(BaseUnusable) as caught:
        device.agent().apply(as_source(parcels["2"]))
    assert caught.value.where == "app/model.bin"
    runs_still(device, ONE)
    assert device.agent().apply(as_source(parcels["2 full"])) is Outcome.UPDATED


def runs_still(device: Device, image: TinyImage) -> None:
    assert device.running == image.image_id
    assert device.agent().read_state().pending is None


def test_a_base_that_is_gone(device: Device, parcels: dict[str, bytes]) -> None:
    for path in (device.folder / "engine/images").iterdir():
        path.unlink()
    with pytest.raises(BaseUnusable):
        device.agent().apply(as_source(parcels["2"]))
    assert device.agent().apply(as_source(parcels["2 full"])) is Outcome.UPDATED
    runs(device, TWO, 2)


def test_the_engine_stops_in_the_middle(device: Device, parcels: dict[str, bytes]) -> None:
    engine = engine_of(device)
    calls: list[str] = []

    def stop(what: str) -> None:
        calls.append(what)
        if len(calls) == limit:
            engine.down = True
            raise EngineError("gone")

    engine._before = stop  # type: ignore[method-assign]
    for limit in range(1, 40):
        calls.clear()
        try:
            device.agent().apply(as_source(parcels["2"]))
        except TakenBack:
            raise AssertionError("an engine that stops is no sick release") from None
        except WherryError:
            pass
        finished = not engine.down
        engine.down, limit = False, -1
        device.agent().recover()
        assert device.running in (ONE.image_id, TWO.image_id)
        if finished:
            break
    runs(device, TWO, 2)


def test_a_trial_that_is_interrupted_again_and_again(device: Device, parcels: dict[str, bytes]) -> None:
    class PowerCut(BaseException):
        pass

    def cut(_seconds: float) -> None:
        engine_of(device).lose_power()
        raise PowerCut

    device.clock.sleep = cut  # type: ignore[method-assign]
    with pytest.raises(PowerCut):
        device.agent().apply(as_source(parcels["2"]))
    for _ in range(2):
        with pytest.raises(PowerCut):
            device.agent().recover()
    device.agent().recover()  # enough of it
    assert device.running == ONE.image_id
    state = device.agent().read_state()
    assert state.pending is None
    assert "interrupted 3 times" in state.refusals[0].reason


def test_the_application_holds_the_update_lock(device: Device, parcels: dict[str, bytes], tmp_path: Path) -> None:
    device.update = UpdateSettings(lock=tmp_path / "busy")
    with hold_lock(tmp_path / "busy", exclusive=True):
        assert device.agent().apply(as_source(parcels["2"]), patience=3) is Outcome.WAITING
        assert device.running == ONE.image_id
        assert device.clock.passed >= 3
    assert device.agent().apply(as_source(parcels["2"])) is Outcome.UPDATED
    runs(device, TWO, 2)


def test_two_agents(device: Device, parcels: dict[str, bytes]) -> None:
    with hold_lock(device.folder / "state/lock", exclusive=True), pytest.raises(DeviceError, match="another agent"):
        device.agent().apply(as_source(parcels["2"]))


def test_an_expired_timestamp_is_taken_within_the_device_s_age(device: Device, parcels: dict[str, bytes]) -> None:
    device.clock.moment += timedelta(days=20)
    with pytest.raises(TrustError):
        device.agent().apply(as_source(parcels["2"]))
    device.max_age = timedelta(days=30)
    assert device.agent().apply(as_source(parcels["2"])) is Outcome.UPDATED
    assert any("expired" in said for said in device.said)


def test_the_device_s_own_health_check_counts(device: Device, parcels: dict[str, bytes]) -> None:
    device.update = UpdateSettings(health=replace(HEALTH, command=(), log="never said"))
    with pytest.raises(TakenBack, match="never said"):
        device.agent().apply(as_source(parcels["2"]))


def flip(parcel: bytes, bit: int) -> bytes:
    at = bit // 8
    return parcel[:at] + bytes((parcel[at] ^ 1 << bit % 8,)) + parcel[at + 1 :]


def test_damaged_parcels_change_nothing(device: Device, parcels: dict[str, bytes]) -> None:
    parcel = parcels["2"]
    before = snapshot(device.folder)
    damaged = [flip(parcel, bit) for bit in random.Random(8).sample(range(8 * len(parcel)), 1000)]
    damaged += [parcel[: size * len(parcel) // 200] for size in range(200)]
    for bad in damaged:
        with pytest.raises(WherryError):
            device.agent().apply(as_source(bad))
    assert snapshot(device.folder) == before


def test_altered_parcels_are_not_believed(device: Device, parcels: dict[str, bytes]) -> None:
    """Bits flipped by somebody who knows the checksum: they are found out, or what they make is what was signed all the same."""
    parcel, refused = parcels["2"][:-4], 0
    shutil.copytree(device.folder, device.folder.with_name("kept"))
    for bit in random.Random(9).sample(range(8 * len(parcel)), 150):
        altered = flip(parcel, bit)
        try:
            device.agent().apply(as_source(altered + zlib.crc32(altered).to_bytes(4, "little")))
        except WherryError:
            refused += 1
            runs_still(device, ONE)
        else:
            runs(device, TWO, 2)
            shutil.rmtree(device.folder)
            shutil.copytree(device.folder.with_name("kept"), device.folder)
    # A snapshot is not looked at again when an attempt before has proved one of its number.
    assert refused > 120
    assert device.agent().apply(as_source(parcels["2"])) is Outcome.UPDATED


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
