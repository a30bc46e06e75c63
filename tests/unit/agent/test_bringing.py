"""An agent that brings images and starts no container: IoT Edge, or another that runs them, does."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from tests.simulators.devices import Device, Operator, as_source, make_model_image
from tests.simulators.engine import SimulatedEngine
from wherry.agent.settings import ContainerSettings, read_settings
from wherry.agent.update import Outcome
from wherry.engines.port import EngineImage
from wherry.errors import EngineError
from wherry.formats.oci_json import parse_config
from wherry.model.release import name_on_device

WEIGHTS = random.Random(1).randbytes(3000)
IMAGES = tuple(make_model_image(WEIGHTS[:1000] + bytes([number]) + WEIGHTS[1001:]) for number in range(4))


@pytest.fixture(scope="module")
def operator() -> Operator:
    return Operator()


@pytest.fixture(scope="module")
def parcels(operator: Operator) -> tuple[bytes, ...]:
    """To each image from the one before."""
    made = []
    for number, image in enumerate(IMAGES):
        operator.release(number + 1, image)
        made.append(operator.cut(image, IMAGES[number - 1] if number else None))
    return tuple(made)


@pytest.fixture
def device(tmp_path: Path, operator: Operator, parcels: tuple[bytes, ...]) -> Device:
    return replace(Device.simulated(tmp_path, operator), container=ContainerSettings(name="images", start=False))


def has(device: Device, number: int) -> bool:
    image = IMAGES[number]
    return device.engine.has(EngineImage(config=parse_config(image.config), name=name_on_device("images", image.digest)))


def test_images_come_and_go_and_no_container_is_touched(device: Device, parcels: tuple[bytes, ...]) -> None:
    for number, parcel in enumerate(parcels):
        assert device.agent().apply(as_source(parcel)) is Outcome.UPDATED
        assert device.agent().is_running()
        assert [has(device, each) for each in range(4)] == [number - 1 <= each <= number for each in range(4)]
    assert list((device.folder / "engine/containers").iterdir()) == []
    assert device.agent().roll_back() is Outcome.UPDATED
    state = device.agent().read_state()
    assert state.current is not None
    assert state.current.manifest == IMAGES[2].digest


def test_an_image_that_is_still_used_is_removed_later(
    device: Device, parcels: tuple[bytes, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever runs containers may be slow to change over."""

    def refuse(_engine: SimulatedEngine, image: EngineImage) -> None:
        raise EngineError(f"a container uses {image.name}")

    for parcel in parcels[:2]:
        device.agent().apply(as_source(parcel))
    with monkeypatch.context() as busy:
        busy.setattr(SimulatedEngine, "remove_image", refuse)
        assert device.agent().apply(as_source(parcels[2])) is Outcome.UPDATED
        assert any("stays for now" in line for line in device.said)
    assert has(device, 0)
    assert device.agent().apply(as_source(parcels[3])) is Outcome.UPDATED
    assert not has(device, 0)
    assert not has(device, 1)


def test_an_image_that_somebody_removed(device: Device, parcels: tuple[bytes, ...]) -> None:
    for parcel in parcels[:2]:
        device.agent().apply(as_source(parcel))
    gone = EngineImage(config=parse_config(IMAGES[1].config), name=name_on_device("images", IMAGES[1].digest))
    device.engine.remove_image(gone)
    assert not device.agent().is_running()
    device.agent().recover()
    state = device.agent().read_state()
    assert state.current is not None
    assert state.current.manifest == IMAGES[0].digest, "the former one is here, and parcels start from it"


def test_how_it_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text('[container]\nname = "images"\nstart = false\n')
    assert read_settings(tmp_path / "agent.toml").container == ContainerSettings(name="images", start=False)
