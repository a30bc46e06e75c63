"""An agent with a channel: over TLS, and in a folder."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.simulators.certificates import Certificates
from tests.simulators.devices import Device, Operator, TinyImage, as_source, make_model_image
from tests.simulators.engine import SimulatedEngine
from tests.simulators.tuf_repository import AMD64
from tests.simulators.web import WebSimulator
from wherry.agent.preparation import BaseUnusable
from wherry.agent.processes import run_apart
from wherry.agent.settings import BudgetSettings, UpdateSettings
from wherry.agent.update import Outcome, TakenBack
from wherry.agent.windows import parse_window
from wherry.errors import DeviceError, EngineError, FormatError
from wherry.model.release import locate_parcel
from wherry.store.posix import hold_lock

WEIGHTS = random.Random(2).randbytes(3000)
ONE, TWO = make_model_image(WEIGHTS), make_model_image(WEIGHTS[:500] + b"anew" + WEIGHTS[500:])


@pytest.fixture(scope="module")
def operator() -> Operator:
    return Operator()


@pytest.fixture(scope="module")
def parcels(operator: Operator) -> dict[str, bytes]:
    """By their places in the channel, when release 1 is out (before the dot) and when release 2 is."""
    operator.release(1, ONE)
    made = {"1 full": operator.cut(ONE, None), "1 own": operator.cut(ONE, ONE)}
    operator.release(2, TWO)
    return made | {"2": operator.cut(TWO, ONE), "2 own": operator.cut(TWO, TWO), "2 full": operator.cut(TWO, None)}


def place(base: TinyImage | None) -> str:
    return f"/{locate_parcel(AMD64, base.digest if base else None)}"


@pytest.fixture
def web(certificates: Certificates, parcels: dict[str, bytes]) -> Iterator[WebSimulator]:
    files = {place(None): parcels["2 full"], place(ONE): parcels["2"], place(TWO): parcels["2 own"]}
    with WebSimulator(files, tls=certificates.server_context()) as web:
        yield web


@pytest.fixture
def device(tmp_path: Path, operator: Operator, parcels: dict[str, bytes], web: WebSimulator, certificates: Certificates) -> Device:
    device = Device.simulated(tmp_path, operator)
    device.url, device.certificates = web.url, certificates.root
    device.agent().apply(as_source(parcels["1 full"]))
    return device


def test_news_are_taken_once(device: Device, web: WebSimulator) -> None:
    assert device.service().update_once() is Outcome.UPDATED
    assert device.running == TWO.image_id
    assert device.service().update_once() is Outcome.SAME  # the parcel from itself to itself
    asked = len(web.seen)
    assert device.service().update_once() is Outcome.SAME
    assert [seen.status for seen in web.seen[asked:]] == [304]


def test_in_processes_of_their_own(device: Device) -> None:
    device.apart = run_apart
    assert device.service().update_once() is Outcome.UPDATED
    assert device.running == TWO.image_id


def test_a_device_without_an_image_takes_the_full_one(tmp_path: Path, device: Device, operator: Operator) -> None:
    (tmp_path / "fresh").mkdir()
    fresh = Device.simulated(tmp_path / "fresh", operator)
    fresh.url, fresh.certificates = device.url, device.certificates
    assert fresh.service().update_once() is Outcome.UPDATED
    assert fresh.running == TWO.image_id


def test_an_altered_base_falls_back_to_the_full_one(device: Device) -> None:
    (model,) = (device.folder / "engine/layers").glob("*/app/model.bin")
    model.write_bytes(bytes(3000))
    assert device.service().update_once() is Outcome.UPDATED
    assert device.running == TWO.image_id
    assert any("(app/model.bin); the full parcel" in said for said in device.said)


def lose_images(device: Device) -> None:
    """What a thorough `prune` does to a container that stood still."""
    device.engine.discard("app", 0.0)
    for path in (device.folder / "engine/images").iterdir():
        path.unlink()


def test_images_that_somebody_removed_come_again(device: Device, web: WebSimulator) -> None:
    lose_images(device)
    assert device.service().update_once() is Outcome.UPDATED
    assert device.running == TWO.image_id
    assert [seen.path for seen in web.seen] == [place(None)]


def test_the_very_image_that_somebody_removed_comes_again(device: Device, parcels: dict[str, bytes]) -> None:
    device.service().update_once()
    lose_images(device)
    with pytest.raises(BaseUnusable):
        device.agent().apply(as_source(parcels["2 own"]))
    assert device.agent().apply(as_source(parcels["2 full"])) is Outcome.UPDATED
    assert device.running == TWO.image_id
    assert device.agent().read_state().refusals == ()


def test_a_sick_release_on_a_device_that_lost_its_images(device: Device) -> None:
    assert isinstance(device.engine, SimulatedEngine)
    device.engine.sick.add(TWO.image_id)
    lose_images(device)
    with pytest.raises(TakenBack):
        device.service().update_once()
    assert (device.running, device.agent().read_state().pending) == (None, None)


def test_images_that_somebody_removed_from_a_channel_without_news(device: Device, web: WebSimulator) -> None:
    """What the device knows of the full parcel is of the time when it had the image."""
    lose_images(device)
    assert device.service().update_once() is Outcome.UPDATED  # by the full one
    assert [device.service().update_once() for _ in range(2)] == [Outcome.SAME] * 2
    lose_images(device)
    asked = len(web.seen)
    assert device.service().update_once() is Outcome.UPDATED
    assert device.running == TWO.image_id
    assert [(seen.path, seen.status) for seen in web.seen[asked:]] == [(place(None), 206)]


def test_a_sick_full_one_is_not_fetched_again_by_who_lost_its_images(device: Device, web: WebSimulator) -> None:
    assert isinstance(device.engine, SimulatedEngine)
    device.engine.sick.add(TWO.image_id)
    lose_images(device)
    with pytest.raises(TakenBack):
        device.service().update_once()
    asked = len(web.seen)
    with pytest.raises(EngineError):
        device.service().update_once()  # nothing new, and nothing to start
    assert [seen.status for seen in web.seen[asked:]] == [304]


def test_one_image_that_somebody_removed(device: Device) -> None:
    """The former one starts, and the release was not at fault."""
    before = set((device.folder / "engine/images").iterdir())
    device.service().update_once()
    device.engine.discard("app", 0.0)
    (path,) = set((device.folder / "engine/images").iterdir()) - before
    path.unlink()
    device.agent().recover()
    assert device.running == ONE.image_id
    assert device.agent().read_state().refusals == ()
    assert device.agent().read_state().former is None


def test_a_sick_release_costs_the_link_nothing_more(device: Device, web: WebSimulator) -> None:
    assert isinstance(device.engine, SimulatedEngine)
    device.engine.sick.add(TWO.image_id)
    with pytest.raises(TakenBack):
        device.service().update_once()
    assert device.running == ONE.image_id
    asked = len(web.seen)
    assert device.service().update_once() is Outcome.SAME
    assert [seen.status for seen in web.seen[asked:]] == [304]


def test_a_damaged_parcel_is_not_fetched_again(device: Device, web: WebSimulator, parcels: dict[str, bytes]) -> None:
    web.files[place(ONE)] = parcels["2"][:-1] + b"x"
    with pytest.raises(FormatError):
        device.service().update_once()
    assert device.service().update_once() is Outcome.SAME
    web.files[place(ONE)] = parcels["2"]
    assert device.service().update_once() is Outcome.UPDATED


def test_what_came_is_kept_while_the_application_or_the_engine_is_not_ready(device: Device, web: WebSimulator) -> None:
    device.update = UpdateSettings(lock=device.folder / "busy")
    with hold_lock(device.folder / "busy", exclusive=True):
        assert device.service().update_once() is Outcome.WAITING
    asked = len(web.seen)
    assert isinstance(device.engine, SimulatedEngine)
    device.engine.down = True
    with pytest.raises(EngineError):
        device.service().update_once()
    device.engine.down = False
    assert device.service().update_once() is Outcome.UPDATED
    assert len(web.seen) == asked


def test_a_channel_in_a_folder(device: Device, parcels: dict[str, bytes]) -> None:
    channel = device.folder / "channel"
    for base, parcel in ((None, parcels["2 full"]), (ONE, parcels["2"]), (TWO, parcels["2 own"])):
        path = channel / place(base).lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(parcel)
    device.url = f"file://{channel}"
    assert [device.service().update_once() for _ in range(2)] == [Outcome.UPDATED, Outcome.SAME]
    device.url = str(device.folder / "none")
    with pytest.raises(DeviceError, match="no parcel"):
        device.service().update_once()


class Ticks(threading.Event):
    """Ends the service after so many looks; what happens at a look is the test's."""

    def __init__(self, device: Device, looks: list[str]) -> None:
        super().__init__()
        self._device, self._looks = device, looks

    def wait(self, timeout: float | None = None) -> bool:
        if not self._looks:
            return True
        if self._looks.pop(0) == "power":
            assert isinstance(self._device.engine, SimulatedEngine)
            self._device.engine.lose_power()
        return False


def test_the_service_polls_at_its_time_and_has_the_container_running(device: Device, web: WebSimulator) -> None:
    device.service().run(Ticks(device, ["poll", "power", "look"]))
    assert device.running == TWO.image_id
    asked = len(web.seen)
    device.service().run(Ticks(device, ["look", "power", "look"]))  # a restart is no reason for a poll
    assert device.running == TWO.image_id
    assert len(web.seen) == asked


def test_the_service_goes_on_when_the_link_is_down(device: Device, web: WebSimulator) -> None:
    web.manners.status = 404
    device.service().run(Ticks(device, ["poll", "power", "look"]))
    assert device.running == ONE.image_id


def pauses(device: Device, failures: int) -> list[float]:
    service = device.service()
    return [round(service._pause(number) / 60) for number in range(failures)]


def test_each_failure_doubles_the_pause(device: Device) -> None:
    assert pauses(device, 10) == [1440, 15, 30, 60, 120, 240, 480, 960, 1440, 1440]
    assert pauses(device, 2000)[-1] == 1440


def test_a_device_that_is_outside_of_its_windows_polls_when_one_opens(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a daily poll that once fell outside would do so every day."""
    soon = datetime.now().astimezone() + timedelta(hours=2)
    budget = BudgetSettings(windows=(parse_window(f"{soon:%H:%M}-{soon + timedelta(minutes=30):%H:%M}"),))
    monkeypatch.setattr(Device, "settings", replace(device.settings, budget=budget))
    assert 110 <= pauses(device, 1)[0] <= 120
    with pytest.raises(DeviceError, match="no time window is open"):
        device.service().update_once()


def test_a_clock_at_1970_verifies_by_the_signed_time(device: Device) -> None:
    device.clock.moment -= timedelta(days=20_000)
    assert device.service().update_once() is Outcome.UPDATED
    assert int((device.folder / "state/time").read_text()) > 1_700_000_000
