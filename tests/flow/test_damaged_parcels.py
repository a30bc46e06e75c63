"""A parcel that was damaged or tampered with is refused, and the device is as it was: its trust, its state, its engine."""

from __future__ import annotations

import random
import shutil
import zlib
from pathlib import Path

import pytest

from tests.simulators.devices import Device, Operator, as_source, make_model_image
from wherry.agent.update import Outcome
from wherry.errors import FormatError, WherryError

WEIGHTS = random.Random(1).randbytes(3000)
ONE, TWO = make_model_image(WEIGHTS), make_model_image(WEIGHTS[:1000] + b"other" + WEIGHTS[1005:])


@pytest.fixture(scope="module")
def parcels() -> tuple[Operator, bytes, bytes]:
    """Release 1 whole, and the update to release 2."""
    operator = Operator()
    operator.release(1, ONE)
    first = operator.cut(ONE, None)
    operator.release(2, TWO)
    return operator, first, operator.cut(TWO, ONE)


@pytest.fixture
def device(tmp_path: Path, parcels: tuple[Operator, bytes, bytes]) -> Device:
    device = Device.simulated(tmp_path, parcels[0])
    assert device.agent().apply(as_source(parcels[1])) is Outcome.UPDATED
    return device


def look_at(device: Device) -> dict[str, bytes]:
    """All that the device keeps, but for what it tells of itself."""
    files = (path for path in device.folder.rglob("*") if path.is_file() and path.suffix != ".log")
    return {str(path.relative_to(device.folder)): path.read_bytes() for path in files}


def seal(data: bytes) -> bytes:
    return data + zlib.crc32(data).to_bytes(4, "little")


def flip(data: bytes, noise: random.Random, start: int = 0) -> bytes:
    at = noise.randrange(start * 8, len(data) * 8)
    changed = bytearray(data)
    changed[at // 8] ^= 1 << at % 8
    return bytes(changed)


def test_a_thousand_flipped_bits_and_two_hundred_truncations(device: Device, parcels: tuple[Operator, bytes, bytes]) -> None:
    update, noise, before = parcels[2], random.Random(7), look_at(device)
    for _ in range(1000):
        with pytest.raises(FormatError):
            device.agent().apply(as_source(flip(update, noise)))
    for size in noise.sample(range(len(update)), 200):
        with pytest.raises(FormatError):
            device.agent().apply(as_source(update[:size]))
    assert look_at(device) == before
    assert device.agent().apply(as_source(update)) is Outcome.UPDATED


def test_an_attacker_mends_the_checksum(
    device: Device, parcels: tuple[Operator, bytes, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever is taken is the very image that was signed: roots that the device has already are passed over unread."""
    update, noise, saved = parcels[2], random.Random(8), tmp_path_factory.mktemp("saved") / "device"
    shutil.copytree(device.folder, saved)
    refused, accepted = 0, list[str]()
    for _ in range(100):
        try:
            outcome = device.agent().apply(as_source(seal(flip(update[:-4], noise, start=4))))
        except WherryError:
            refused += 1
            assert device.running == ONE.image_id
        else:
            assert outcome is Outcome.UPDATED
            accepted.append(device.running)
            shutil.rmtree(device.folder)
            shutil.copytree(saved, device.folder)
    assert {*accepted} <= {TWO.image_id}
    assert refused >= 50
