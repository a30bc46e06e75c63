"""A device that ran an image before it had an agent: already its first parcel is a small one."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.simulators.devices import Device, Operator, as_source, make_image, make_model_image
from tests.simulators.engine import SimulatedEngine
from wherry.agent.update import Outcome
from wherry.engines.port import EngineImage
from wherry.engines.sparse import Delivery, load_delivery
from wherry.errors import DeviceError
from wherry.formats.oci_json import parse_config
from wherry.formats.tar import file_entry
from wherry.model.platform import Platform
from wherry.model.release import name_on_device

WEIGHTS = random.Random(6).randbytes(3000)
FOUND, NEXT = make_model_image(WEIGHTS), make_model_image(WEIGHTS[:99] + b"retrained" + WEIGHTS[99:])


@pytest.fixture
def operator() -> Operator:
    operator = Operator()
    operator.release(1, NEXT)
    return operator


@pytest.fixture
def device(tmp_path: Path, operator: Operator) -> Device:
    """Its engine has the image; nobody told the agent."""
    device = Device.simulated(tmp_path, operator)
    assert isinstance(device.engine, SimulatedEngine)
    tars = dict(zip(FOUND.diff_ids, FOUND.tars, strict=True))
    image = EngineImage(config=parse_config(FOUND.config), name=name_on_device("app", FOUND.digest))
    sizes = {diff_id: len(tar) for diff_id, tar in tars.items()}
    new = {diff_id: (lambda tar=tar: iter((tar,))) for diff_id, tar in tars.items()}
    delivery = Delivery(image=image, sizes=sizes, new=new, annotations={}, held={})  # type: ignore[arg-type]
    load_delivery(device.engine, delivery, tmp_path / "scratch", sparse=True)
    return device


def test_the_first_parcel_is_a_small_one(device: Device, operator: Operator) -> None:
    record = device.agent().adopt(FOUND.manifest, FOUND.config)
    assert device.running == FOUND.image_id
    assert record.target.manifest == FOUND.digest
    device.agent().recover()
    parcel = operator.cut(NEXT, FOUND)
    assert len(parcel) < 1000
    assert device.agent().apply(as_source(parcel)) is Outcome.UPDATED
    assert device.running == NEXT.image_id
    assert device.agent().roll_back() is Outcome.UPDATED
    state = device.agent().read_state()
    assert state.current is not None
    assert (state.current.release, device.running) == (0, FOUND.image_id)


def test_what_is_refused(device: Device) -> None:
    agent = device.agent()
    with pytest.raises(DeviceError, match="not the one"):
        agent.adopt(FOUND.manifest, NEXT.config)
    with pytest.raises(DeviceError, match="has no image"):
        agent.adopt(NEXT.manifest, NEXT.config)
    other = make_image([file_entry("a", b"a")], platform=Platform("linux", "arm64"))
    with pytest.raises(DeviceError, match="linux/arm64"):
        agent.adopt(other.manifest, other.config)
    assert device.running is None
    agent.adopt(FOUND.manifest, FOUND.config)
    with pytest.raises(DeviceError, match="already"):
        agent.adopt(FOUND.manifest, FOUND.config)
