"""What polls and parcels weigh, counted at the interface of a network namespace; estimates and ledgers are held to it.

The server sends two RSA certificates and two session tickets, the most that common servers do.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.simulators.certificates import Certificates, make_certificates
from tests.simulators.namespace import Cable, Namespace, open_namespace
from tests.simulators.web import WebSimulator
from wherry.deliver import wire
from wherry.deliver.wire import plan_update
from wherry.model.digest import Digest
from wherry.model.platform import Platform
from wherry.model.release import locate_parcel

NAME = locate_parcel(Platform("linux", "amd64"), Digest.of(b"base"))
SMALL = 850  # the parcel of a retrained 825 B model


@dataclass(frozen=True)
class Harbour:
    """A server on this side of the cable, devices on the other."""

    space: Namespace
    certificates: Certificates
    folder: Path

    def poll(self, size: int, *, known: bool = False, times: int = 1) -> tuple[Cable, dict[str, Any]]:
        """What passed the cable, and what the device's ledger says."""
        body = random.Random(size).randbytes(size)
        with WebSimulator({f"/c/{NAME}": body}, tls=self.certificates.server_context(), host=self.space.host) as web:
            words = [f"{web.url}/c", str(self.certificates.root), str(self.folder), NAME, "--times", str(times)]
            words += ["--known", web.etag_of(body)] if known else []
            before = self.space.traffic()
            done = self.space.run([sys.executable, "-m", "tests.simulators.poller", *words])
            return self.space.traffic() - before, json.loads(done.stdout)


@pytest.fixture(scope="module")
def space() -> Iterator[Namespace]:
    with open_namespace() as space:
        yield space


@pytest.fixture(scope="module")
def certificates(space: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"), "rsa", [f"IP:{space.host}"])


@pytest.fixture
def harbour(space: Namespace, certificates: Certificates, tmp_path: Path) -> Harbour:
    return Harbour(space, certificates, tmp_path)


def test_an_idle_month_of_daily_polls(harbour: Harbour) -> None:
    cable, said = harbour.poll(SMALL, known=True, times=30)
    assert {news for news, _ in said["times"]} == {"UNCHANGED"}
    assert cable.bytes <= 150_000
    assert said["wire"] == pytest.approx(cable.bytes, rel=0.01)
    assert plan_update(0).total * 30 == pytest.approx(cable.bytes, rel=0.1)


def test_the_smallest_parcel(harbour: Harbour) -> None:
    cable, said = harbour.poll(SMALL)
    assert [news for news, _ in said["times"]] == ["COMPLETE"]
    assert said["sent"] + said["received"] <= 4_510
    assert said["wire"] == pytest.approx(cable.bytes, rel=0.02)


@pytest.mark.parametrize("size", [SMALL, 5_500, 80_000, 1_000_000])
def test_estimates_are_near_what_passes_the_cable(harbour: Harbour, size: int) -> None:
    cable, said = harbour.poll(size)
    estimate = plan_update(size)
    assert estimate.socket == pytest.approx(said["sent"] + said["received"], rel=0.05)
    assert estimate.total == pytest.approx(cable.bytes, rel=0.06)


def test_what_a_pulls_estimate_takes_for_a_handshake_and_packets(harbour: Harbour) -> None:
    """`plan_pull` counts on servers without tickets; its other figures were measured with docker and podman."""
    assert plan_update(0).handshake == pytest.approx(wire.HANDSHAKE, rel=0.25)
    cable, said = harbour.poll(1_000_000)
    headers = cable.bytes - said["sent"] - said["received"]
    assert 1_000 * headers / (said["sent"] + said["received"]) == pytest.approx(wire.PACKETS_PER_MILLE, rel=0.25)
