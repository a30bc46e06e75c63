"""What polls and parcels weigh on the wire: at the socket, TLS included, and at the interface of a network namespace.

The server is the tests' simulator: TLS 1.3, two RSA certificates, two session tickets, the headers of a common web server.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.simulators.certificates import make_certificates
from tests.simulators.namespace import open_namespace
from tests.simulators.web import WebSimulator

from bench.harness import NotMeasured, run_process

ROOT = Path(__file__).resolve().parents[1]
POLLS = 30
_SELF = 600  # bytes of the parcel from a release to itself; a poll that brings nothing does not move it
_PATH = f"parcels/linux-amd64/{'ab' * 32}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """Bytes at the socket, both ways: with a full handshake, and of the same again on the connection."""

    whole: int
    kept: int


def weigh_parcel(python: Path, work: Path, parcel: bytes) -> Wire:
    """Let a device of the installed wherry at `python` fetch it twice on one connection."""
    with _may_fail():
        certificates = make_certificates(work / "certificates", "rsa")
        with WebSimulator({f"/channel/{_PATH}": parcel}, tls=certificates.server_context()) as web:
            words = ["-m", "tests.simulators.poller", f"{web.url}/channel", certificates.root, work / "device", _PATH]
            said = json.loads(run_process([python, *words, "--times", "2", "--kept"], cwd=ROOT).output)
    (_, whole), (_, kept) = said["times"]
    return Wire(whole=whole, kept=kept)


def weigh_idle_month(python: Path, work: Path) -> tuple[int, int]:
    """Daily polls that bring nothing, each with a full handshake: IP bytes at the interface, and what the ledger says."""
    with _may_fail(), open_namespace() as space:
        certificates = make_certificates(work / "certificates", "rsa", [f"IP:{space.host}"])
        parcel = bytes(_SELF)
        with WebSimulator({f"/channel/{_PATH}": parcel}, tls=certificates.server_context(), host=space.host) as web:
            words = ["-m", "tests.simulators.poller", f"{web.url}/channel", certificates.root, work / "device", _PATH]
            before = space.traffic()
            done = space.run([python, *words, "--times", str(POLLS), "--known", web.etag_of(parcel)])
            moved = space.traffic() - before
    said = json.loads(done.stdout)
    if {news for news, _ in said["times"]} != {"UNCHANGED"}:
        raise NotMeasured("a poll brought something")
    return moved.bytes, said["wire"]


@contextmanager
def _may_fail() -> Iterator[None]:
    """The simulators say in pytest's way what is missing here."""
    try:
        yield
    except (pytest.skip.Exception, pytest.fail.Exception, AssertionError) as error:
        raise NotMeasured(str(error)) from error
