"""Polls and downloads over links that break and servers that lie: nothing is fetched twice, nothing is believed."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.simulators.certificates import Certificates, make_certificates
from tests.simulators.link import LinkSimulator
from tests.simulators.web import WebSimulator
from wherry.agent.exchange import Patience
from wherry.agent.ledger import Ledger, Rules
from wherry.agent.link import Link, News, Poll
from wherry.agent.metered_socket import Tls
from wherry.agent.partial_file import BLOCK, PartialFile
from wherry.errors import BudgetError, DeviceError, TransferError, TrustError
from wherry.model.digest import Digest
from wherry.model.platform import Platform
from wherry.model.release import locate_parcel

NAME = locate_parcel(Platform("linux", "amd64"), Digest.of(b"base"))
PATH = f"/channel/{NAME}"
SMALL = random.Random(1).randbytes(850)
LARGE = random.Random(2).randbytes(6 * BLOCK + 777)
QUICK = Patience(connect=5, stall=0.5, block=5, attempts=3, first_wait=0.25)
LIMIT = 10**7
CONNECTION = 5_000  # bytes at the socket that a connection costs at most, with one request


@dataclass
class Device:
    """A device behind a link. `slept` are the pauses it made."""

    web: WebSimulator
    link: LinkSimulator
    tls: Tls
    folder: Path
    rules: Rules = field(default_factory=Rules)
    patience: Patience = QUICK
    slept: list[float] = field(default_factory=list)

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.folder / "ledger", self.rules, time.time)

    @property
    def channel(self) -> str:
        return f"{self.web.scheme}://127.0.0.1:{self.link.port}/channel"

    def fetch(self, known: str = "", limit: int = LIMIT, name: str = NAME) -> Poll:
        """One session, as of a process of its own."""
        partial = PartialFile(self.folder / "parcel")
        try:
            with self.ledger.open_session("poll") as session:
                link = Link(self.channel, session, self.tls, patience=self.patience, pause=self.slept.append)
                with link:
                    return link.fetch(name, partial, known=known, limit=limit)
        finally:
            partial.close()

    @property
    def got(self) -> bytes:
        partial = PartialFile(self.folder / "parcel")
        try:
            return partial.read(0, LIMIT)
        finally:
            partial.close()

    @property
    def statuses(self) -> list[int]:
        return [seen.status for seen in self.web.seen]


@contextmanager
def make_device(folder: Path, certificates: Certificates | None, body: bytes, **context: Any) -> Iterator[Device]:
    tls = certificates.server_context(**context) if certificates else None
    with WebSimulator({PATH: body}, tls=tls) as web, LinkSimulator(web.address) as link:
        yield Device(web=web, link=link, tls=Tls(certificates.root if certificates else None), folder=folder)


@pytest.fixture
def device(tmp_path: Path, certificates: Certificates) -> Iterator[Device]:
    with make_device(tmp_path, certificates, LARGE) as device:
        yield device


@pytest.fixture
def small(device: Device) -> Device:
    device.web.files[PATH] = SMALL
    return device


# -- polls


def test_a_small_parcel_is_there_with_the_poll(small: Device) -> None:
    poll = small.fetch()
    assert (poll.news, small.got) == (News.COMPLETE, SMALL)
    assert small.statuses == [206]
    assert small.web.seen[0].headers.keys() == {"host", "user-agent", "range"}


def test_nothing_new_is_one_answer_without_body(small: Device) -> None:
    known = small.fetch().validator
    PartialFile(small.folder / "parcel").discard()
    assert small.fetch(known) == Poll(news=News.UNCHANGED, validator=known)
    assert small.statuses == [206, 304]
    assert small.got == b""


def test_a_date_serves_where_there_is_no_strong_etag(small: Device) -> None:
    small.web.manners.etag = "weak"
    known = small.fetch().validator
    assert known == small.web.changed
    PartialFile(small.folder / "parcel").discard()
    assert small.fetch(known).news is News.UNCHANGED


@pytest.mark.parametrize("status", [403, 404, 410])
def test_no_parcel_from_this_base(small: Device, status: int) -> None:
    small.web.manners.status = status
    assert small.fetch().news is News.MISSING
    assert small.link.connections == 1


def test_one_connection_serves_a_poll_and_what_it_leads_to(device: Device) -> None:
    device.web.manners.status = 404
    with device.ledger.open_session("poll") as session, Link(device.channel, session, device.tls, patience=QUICK) as link:
        partial = PartialFile(device.folder / "parcel")
        assert link.fetch(NAME, partial, limit=LIMIT).news is News.MISSING
        device.web.manners.status = 0
        assert link.fetch(NAME, partial, limit=LIMIT).news is News.COMPLETE
        partial.close()
    assert device.link.connections == 1
    assert device.statuses == [404, 206, 206]


def test_the_next_session_has_a_short_handshake(small: Device) -> None:
    known = small.fetch().validator
    PartialFile(small.folder / "parcel").discard()
    small.link.reset_counts()
    small.fetch(known)
    assert small.link.total < 1_900


def test_a_server_that_closes_after_each_answer(device: Device) -> None:
    device.web.manners.keep = False
    assert device.fetch().news is News.COMPLETE
    assert device.got == LARGE
    assert device.link.connections == 2


def test_a_complete_parcel_asks_nothing(device: Device) -> None:
    device.fetch()
    asked = len(device.web.seen)
    assert device.fetch().news is News.COMPLETE
    assert len(device.web.seen) == asked


def test_another_parcel_forgets_what_is_here(device: Device) -> None:
    device.fetch()
    device.web.files["/channel/other"] = SMALL
    device.fetch(name="other")
    assert device.got == SMALL


# -- links that break


@pytest.mark.parametrize("blocks", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("offset", [-4_000, 0, 9_000])
def test_a_link_cut_after_every_nth_block_fetches_no_more_than_one_twice(device: Device, blocks: int, offset: int) -> None:
    device.link.weather.cut_after = blocks * BLOCK + offset
    assert device.fetch().news is News.COMPLETE
    assert device.got == LARGE
    again = device.link.connections - 1
    assert device.link.total <= len(LARGE) + CONNECTION + again * (CONNECTION + BLOCK)  # of a cut record nothing can be kept


def test_each_restart_fetches_one_block_twice_at_most(device: Device) -> None:
    device.link.weather.cut_after = 3 * BLOCK
    device.patience = Patience(connect=5, stall=0.5, block=5, attempts=1)
    restarts = 0
    while restarts < 20:
        try:
            device.fetch()
            break
        except TransferError:
            restarts += 1
            forget_what_was_not_safe(device.folder / "parcel")
    assert device.got == LARGE
    assert 2 <= restarts < 20
    assert device.link.total <= len(LARGE) + CONNECTION + restarts * (CONNECTION + 2 * BLOCK)  # a block, and a cut record


def forget_what_was_not_safe(path: Path) -> None:
    """As if the process had been killed instead of having had its end: the last short block is not there."""
    partial = PartialFile(path)
    short, partial_done = partial.done % BLOCK, partial.done
    partial.close()
    if short:
        with path.open("r+b") as file:
            file.seek(partial_done - short)
            file.write(bytes(short))


def test_a_link_that_brings_nothing_is_given_up(device: Device) -> None:
    device.link.weather.cut_after = 100
    with pytest.raises(TransferError, match="3 times in a row"):
        device.fetch()
    assert device.slept == [0.25, 1.0]
    device.link.weather.down = True
    with pytest.raises(TransferError, match="3 times in a row"):
        device.fetch()


def test_a_stall_is_cut_short_and_gone_on_with(device: Device) -> None:
    device.link.weather.stall_after = 3 * BLOCK
    device.link.weather.stalls = 1
    assert device.fetch().news is News.COMPLETE
    assert device.got == LARGE
    assert device.link.total <= len(LARGE) + 2 * CONNECTION + BLOCK


def test_a_corrupted_byte_is_seen_by_tls_and_fetched_again(device: Device) -> None:
    device.link.weather.corrupt_at = 50_000
    device.link.weather.corruptions = 1
    assert device.fetch().news is News.COMPLETE
    assert device.got == LARGE
    assert device.ledger.read_month().received <= len(LARGE) + 2 * CONNECTION + 2 * BLOCK  # the record, and what came with it


def test_a_slow_link_is_no_fault(device: Device) -> None:
    device.link.weather.rate = 200_000
    assert device.fetch().news is News.COMPLETE
    assert device.slept == []


def test_a_server_that_drips_is_given_up(device: Device) -> None:
    device.link.weather.rate = 1_200
    device.patience = Patience(connect=5, stall=2, block=0.2, attempts=1)
    with pytest.raises(TransferError, match="does not answer in time"):
        device.fetch()


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


# -- the ledger


def test_the_ledger_counts_what_the_link_counts(device: Device) -> None:
    device.link.weather.cut_after, device.link.weather.cuts = 2 * BLOCK, 2
    device.fetch()
    month = device.ledger.read_month()
    assert month.sent == device.link.up
    assert month.received <= device.link.down <= month.received + 2 * BLOCK  # what a cut takes on the last yards
    assert month.wire > month.sent + month.received


def test_an_update_beyond_the_budget_is_not_begun_and_kept_for_later(device: Device) -> None:
    device.rules = Rules(budget=60_000)
    with pytest.raises(BudgetError, match="of the month's 60000 billed bytes"):
        device.fetch()
    assert device.link.down < BLOCK + CONNECTION
    assert device.got == LARGE[:BLOCK]
    device.rules = Rules(budget=160_000)
    device.fetch()
    assert device.got == LARGE
    assert device.web.seen[-1].range == f"bytes={BLOCK}-"
    assert device.ledger.read_month().billed <= 160_000


def test_a_server_without_ranges_does_not_spend_the_budget(device: Device) -> None:
    device.web.files[PATH] = bytes(3_000_000)
    device.web.manners.ranges = False
    device.rules = Rules(budget=100_000)
    with pytest.raises(BudgetError):
        device.fetch()
    assert device.ledger.read_month().billed < 40_000


def test_retries_on_a_bad_link_end_with_the_budget(device: Device) -> None:
    device.link.weather.cut_after = 3_000
    device.patience = Patience(connect=5, stall=0.5, block=5, attempts=1_000)
    device.rules = Rules(budget=50_000)
    with pytest.raises(BudgetError):
        device.fetch()
    assert device.ledger.read_month().billed <= 55_000


def test_the_smallest_parcel_with_a_full_handshake_and_on_a_kept_connection(tmp_path: Path) -> None:
    """Two RSA certificates, two session tickets: what common servers send."""
    rsa = make_certificates(tmp_path / "rsa", "rsa")
    with make_device(tmp_path, rsa, SMALL) as device:
        partial = PartialFile(device.folder / "parcel")
        with device.ledger.open_session("poll") as session, Link(device.channel, session, device.tls) as link:
            link.fetch(NAME, partial, limit=LIMIT)
            whole = session.sent + session.received
            partial.discard()
            link.fetch(NAME, partial, limit=LIMIT)
            kept = session.sent + session.received - whole
        partial.discard()
    assert whole <= 4_500
    assert kept <= 1_600
