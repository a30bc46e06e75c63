"""Servers that do not do as they should, or lie: nothing is believed, nothing is mixed, nothing is endless."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.simulators.certificates import Certificates, make_certificates
from tests.simulators.web import WebSimulator
from tests.unit.agent.link_devices import LARGE, PATH, SMALL, Device, make_device
from wherry.agent.exchange import Patience
from wherry.agent.link import Link, News
from wherry.agent.metered_socket import Tls
from wherry.agent.partial_file import BLOCK
from wherry.errors import DeviceError, TransferError, TrustError


@pytest.fixture
def device(tmp_path: Path, certificates: Certificates) -> Iterator[Device]:
    with make_device(tmp_path, certificates, LARGE) as device:
        yield device


@pytest.fixture
def small(device: Device) -> Device:
    device.web.files[PATH] = SMALL
    return device


# -- servers that do not do as they should


def test_ranges_ignored_the_rest_is_still_found(device: Device) -> None:
    device.web.manners.ranges = False
    device.link.weather.cut_after, device.link.weather.cuts = 3 * BLOCK, 2
    assert device.fetch().news is News.COMPLETE
    assert device.got == LARGE
    assert device.statuses == [200, 200, 200]


@pytest.mark.parametrize("etag", ["strong", "none"])
def test_a_parcel_that_changes_in_the_middle_is_begun_anew(device: Device, etag: Any) -> None:
    device.web.manners.etag, device.web.manners.dates = etag, False
    stop_in_the_middle(device)
    changed = device.web.files[PATH] = bytes(reversed(LARGE))
    assert device.fetch().news is News.COMPLETE
    assert device.got == changed


def test_without_validators_the_end_of_what_is_here_comes_again(device: Device) -> None:
    device.web.manners.etag, device.web.manners.dates = "none", False
    stop_in_the_middle(device)
    done = len(device.got)
    assert device.fetch().news is News.COMPLETE
    assert device.got == LARGE
    assert device.web.seen[-1].range == f"bytes={done - 256}-"


def test_a_server_that_ignores_conditions_does_not_mix_two_parcels(device: Device) -> None:
    stop_in_the_middle(device)
    device.web.manners.conditions = False
    changed = device.web.files[PATH] = bytes(reversed(LARGE))
    assert device.fetch().news is News.COMPLETE
    assert device.got == changed


def stop_in_the_middle(device: Device) -> None:
    patience, device.patience = device.patience, Patience(connect=5, stall=0.5, block=5, attempts=1)
    device.link.weather.cut_after, device.link.weather.cuts = 3 * BLOCK, 1
    with pytest.raises(TransferError):
        device.fetch()
    device.patience = patience
    assert 0 < len(device.got) < len(LARGE)


@pytest.mark.parametrize(
    ("manner", "value", "said"),
    [
        ("shifted", 5, "contradicts itself"),
        ("total", 9, "contradicts itself|cut"),
        ("announced", 9, "contradicts itself"),
        ("announced", -9, "contradicts itself"),
        ("encoding", "gzip", "compresses"),
        ("status", 500, "the server answers 500, 3 times in a row"),
        ("status", 400, "the server answers 400"),
        ("status", 304, "contradicts itself|304"),
        ("status", 302, "the server answers 302"),
        ("headers", 70_000, "connection failed"),
    ],
)
def test_what_cannot_be_is_refused(device: Device, manner: str, value: Any, said: str) -> None:
    stop_in_the_middle(device)
    setattr(device.web.manners, manner, value)
    with pytest.raises(TransferError, match=said):
        device.fetch()


@pytest.mark.parametrize("ranges", [True, False])
def test_an_endless_parcel_ends(device: Device, ranges: bool) -> None:
    device.web.manners.ranges, device.web.manners.endless = ranges, True
    assert device.fetch().news is News.COMPLETE
    assert device.got == LARGE
    device.link.cut_all()


def test_an_answer_without_length_is_refused(device: Device) -> None:
    device.web.manners.ranges, device.web.manners.chunked, device.web.manners.endless = False, True, True
    with pytest.raises(TransferError, match="does not say how long"):
        device.fetch()


def test_a_part_in_chunks_is_taken(device: Device) -> None:
    device.web.manners.chunked = True
    assert device.fetch().news is News.COMPLETE
    assert device.got == LARGE


@pytest.mark.parametrize("ranges", [True, False])
def test_more_than_the_limit_is_not_begun(device: Device, ranges: bool) -> None:
    device.web.manners.ranges = ranges
    with pytest.raises(TransferError, match=f"said to have {len(LARGE)} bytes; 90000 are allowed"):
        device.fetch(limit=90_000)


def test_an_empty_parcel(device: Device) -> None:
    device.web.files[PATH] = b""
    with pytest.raises(TransferError, match=r"empty|416"):
        device.fetch()


def test_a_server_says_when_to_come_again(device: Device) -> None:
    device.web.manners.status, device.web.manners.retry_after = 503, "7"
    with pytest.raises(TransferError, match="the server answers 503, 3 times"):
        device.fetch()
    assert device.slept == [7.0, 7.0]


# -- redirects and trust


def test_redirects_are_followed(device: Device, certificates: Certificates) -> None:
    with WebSimulator({PATH: LARGE}, tls=certificates.server_context()) as depot:
        device.web.manners.redirect = depot.url
        assert device.fetch().news is News.COMPLETE
    assert device.got == LARGE
    assert "authorization" not in depot.seen[0].headers


def test_redirects_end(device: Device) -> None:
    device.web.manners.redirect = device.web.url
    with pytest.raises(TransferError, match="more than 3 redirects"):
        device.fetch()
    assert len(device.web.seen) == 4


@pytest.mark.parametrize(
    "target", ["ftp://a.example", "file:///etc/passwd#", "https://user:secret@a.example", "https://[", "https://a.example:9x"]
)
def test_redirects_to_what_is_no_web_address(device: Device, target: str) -> None:
    device.web.manners.redirect = target
    with pytest.raises(TransferError, match="not an http") as caught:
        device.fetch()
    assert "secret" not in str(caught.value)


def test_no_redirect_leads_away_from_tls(device: Device) -> None:
    device.web.manners.redirect = "http://127.0.0.1:1"
    with pytest.raises(TrustError, match="from https to http"):
        device.fetch()


def test_a_certificate_of_somebody_else(device: Device, tmp_path: Path) -> None:
    device.tls = Tls(make_certificates(tmp_path / "others").root)
    with pytest.raises(TrustError, match="certificate is not trusted"):
        device.fetch()
    assert device.slept == []


def test_the_systems_certificates_are_the_default(device: Device) -> None:
    device.tls = Tls()
    with pytest.raises(TrustError, match="certificate is not trusted"):
        device.fetch()


def test_certificates_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="cannot read certificates"):
        Tls(tmp_path / "none.pem")


def test_older_tls_and_newer_openssl(tmp_path: Path, certificates: Certificates) -> None:
    with make_device(tmp_path, certificates, LARGE, tls13=False) as device:
        device.tls = Tls(certificates.root, version=(3, 5))
        assert device.fetch().news is News.COMPLETE
        assert device.got == LARGE


def test_plain_http_is_counted_as_well(tmp_path: Path) -> None:
    with make_device(tmp_path, None, LARGE) as device:
        assert device.fetch().news is News.COMPLETE
        month = device.ledger.read_month()
        assert (month.sent, month.received) == (device.link.up, device.link.down)


@pytest.mark.parametrize("channel", ["a.example/channel", "ftp://a.example", "https://me:pw@a.example/", "https:///x"])
def test_what_is_no_channel(device: Device, channel: str) -> None:
    with device.ledger.open_session("poll") as session, pytest.raises(TransferError, match="not an http"):
        Link(channel, session, device.tls)
