"""Polls of a device: parcels from its base or full ones, nothing fetched twice, restarts in between."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulators.certificates import Certificates
from tests.simulators.web import WebSimulator
from wherry.agent.exchange import Patience
from wherry.agent.ledger import Rules
from wherry.agent.polling import Channel, Poller
from wherry.errors import BudgetError, TransferError
from wherry.model.digest import Digest
from wherry.model.platform import Platform
from wherry.model.release import locate_parcel

PLATFORM = Platform("linux", "arm64")
BASE = Digest.of(b"release 1")
OWN, FULL = (f"/fleet/{locate_parcel(PLATFORM, base)}" for base in (BASE, None))
PARCEL = random.Random(1).randbytes(40_000)


class Device:
    """Polls with a new process's eyes each time."""

    def __init__(self, web: WebSimulator, certificates: Certificates, state: Path) -> None:
        self.web, self.state, self.rules = web, state, Rules()
        self._channel = Channel(url=f"{web.url}/fleet/", platform=PLATFORM, certificates=certificates.root)

    @property
    def poller(self) -> Poller:
        patience = Patience(connect=5, stall=5, block=5, attempts=1)
        return Poller(self._channel, self.state, self.rules, time.time, patience)

    def poll(self, base: Digest | None = BASE) -> bytes | None:
        with self.poller.poll(base) as source:
            return None if source is None else source.read(0, source.size)

    @property
    def statuses(self) -> list[int]:
        return [seen.status for seen in self.web.seen]


@pytest.fixture
def device(tmp_path: Path, certificates: Certificates) -> Iterator[Device]:
    with WebSimulator({OWN: PARCEL, FULL: PARCEL * 2}, tls=certificates.server_context()) as web:
        yield Device(web, certificates, tmp_path)


def test_a_parcel_is_there_until_it_is_settled_and_then_known(device: Device) -> None:
    assert device.poll() == PARCEL
    asked = len(device.web.seen)
    assert device.poll() == PARCEL
    assert len(device.web.seen) == asked
    device.poller.settle()
    assert device.poll() is None
    assert device.statuses[asked:] == [304]


def test_no_parcel_from_this_base_means_the_full_one(device: Device) -> None:
    del device.web.files[OWN]
    assert device.poll() == PARCEL * 2
    assert device.statuses == [404, 206, 206]
    device.poller.settle()
    assert device.poll() is None


def test_a_device_that_has_nothing_asks_for_the_full_one(device: Device) -> None:
    assert device.poll(None) == PARCEL * 2
    assert {seen.path for seen in device.web.seen} == {FULL}


def test_a_channel_that_has_nothing(device: Device) -> None:
    device.web.files.clear()
    assert device.poll() is None
    assert device.statuses == [404, 404]


def test_a_new_release_is_news_after_one_that_was_settled(device: Device) -> None:
    device.poll()
    device.poller.settle()
    device.web.files[OWN] = PARCEL[::-1]
    assert device.poll() == PARCEL[::-1]


def test_what_is_here_of_another_base_is_not_given(device: Device) -> None:
    device.poll()
    other = Digest.of(b"release 2")
    device.web.files[f"/fleet/{locate_parcel(PLATFORM, other)}"] = b"other"
    assert device.poll(other) == b"other"


def test_the_budget_holds_and_what_came_stays(device: Device) -> None:
    device.rules = Rules(budget=30_000)
    with pytest.raises(BudgetError):
        device.poll()
    device.rules = Rules(budget=90_000)
    assert device.poll() == PARCEL
    assert device.web.seen[-1].range == "bytes=16384-"


def test_a_full_parcel_that_was_begun_is_gone_on_with(device: Device) -> None:
    del device.web.files[OWN]
    device.rules = Rules(budget=30_000)
    with pytest.raises(BudgetError):
        device.poll()
    device.rules = Rules()
    assert device.poll() == PARCEL * 2
    assert device.web.seen[-1].range == "bytes=16384-"


def test_a_parcel_takes_half_of_the_free_disk_at_most(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6 - 70_000, 70_000))  # type: ignore[attr-defined]
    with pytest.raises(TransferError, match="40000 bytes; 35000 are allowed"):
        device.poll()


def test_what_is_known_may_be_lost(device: Device) -> None:
    device.poll()
    device.poller.settle()
    (device.state / "link" / "known.json").write_bytes(b"[]")
    assert device.poll() == PARCEL
    device.poller.settle()
    device.poller.settle()
    assert device.poll() is None


def test_a_link_that_is_down(device: Device) -> None:
    device.web.manners.status = 503
    with pytest.raises(TransferError, match="503"):
        device.poll()
