"""Polls and downloads over links that break: nothing is fetched twice, everything is counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulators.certificates import Certificates, make_certificates
from tests.unit.agent.link_devices import CONNECTION, LARGE, LIMIT, NAME, PATH, QUICK, SMALL, Device, make_device
from wherry.agent.exchange import Patience
from wherry.agent.ledger import Rules
from wherry.agent.link import Link, News, Poll
from wherry.agent.partial_file import BLOCK, PartialFile
from wherry.errors import BudgetError, TransferError


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
