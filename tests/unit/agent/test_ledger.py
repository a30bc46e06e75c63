"""The ledger: nothing that moved is forgotten, whatever happens; budgets and windows hold; clocks may be wrong."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.agent.ledger import FIRST, STEP, Ledger, OutsideWindow, Rules
from wherry.agent.windows import parse_window
from wherry.errors import BudgetError
from wherry.model.tariff import Tariff
from wherry.model.traffic import Traffic

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC).timestamp()
DAY = 86_400
FREE = Rules()
ROUNDED = Tariff(name="SIM", price_per_gb=Decimal(25), rounding=10_000)


def make_ledger(folder: Path, rules: Rules = FREE, now: float = NOON) -> Ledger:
    return Ledger(folder, rules, lambda: now)


def move(ledger: Ledger, sent: int, received: int) -> None:
    with ledger.open_session("poll") as session:
        session.count(sent, received)
        session.settle(Traffic(sent=sent, received=received, packets_out=5, packets_in=4))


def receive(ledger: Ledger, parts: list[int]) -> None:
    with ledger.open_session("poll") as session:
        for part in parts:
            session.count(0, part)


def test_what_moved_stands_in_the_month(tmp_path: Path) -> None:
    ledger = make_ledger(tmp_path)
    move(ledger, 500, 3_000)
    move(ledger, 200, 1_000)
    month = ledger.read_month()
    assert (month.name, month.sent, month.received, month.wire) == ("2026-11", 700, 4_000, 4_700 + 2 * (9 * 52 + 16))
    assert (month.sessions, month.open_sessions, month.damaged, month.left) == (2, 0, 0, None)
    assert month.amount == Decimal(month.billed) * 25 / 10**9


def test_each_session_is_rounded_as_the_tariff_says(tmp_path: Path) -> None:
    ledger = make_ledger(tmp_path, Rules(tariff=ROUNDED))
    move(ledger, 500, 3_000)
    move(ledger, 500, 12_000)
    assert ledger.read_month().billed == 30_000


def test_a_session_that_was_killed_counts_for_what_was_written_down_ahead(tmp_path: Path) -> None:
    ledger = make_ledger(tmp_path)
    context = ledger.open_session("poll")  # kept: it would end the session
    session = context.__enter__()
    assert ledger.read_month().wire == FIRST
    for _ in range(20):
        session.count(0, 16_384)
        assert ledger.read_month().wire >= session.wire
    month = ledger.read_month()
    assert month.open_sessions == 1
    assert session.wire <= month.wire <= session.wire + STEP


def test_an_update_that_exceeds_the_budget_is_not_begun(tmp_path: Path) -> None:
    ledger = make_ledger(tmp_path, Rules(budget=100_000, tariff=ROUNDED))
    move(ledger, 500, 58_000)
    with ledger.open_session("poll") as session:
        session.ensure_room(40_000)
        with pytest.raises(BudgetError, match="needs 40001 bytes more, and of the month's 100000 billed bytes 40000 ") as caught:
            session.ensure_room(40_001)
    assert "raise the budget" in str(caught.value)


def test_nothing_left_is_no_session(tmp_path: Path) -> None:
    ledger = make_ledger(tmp_path, Rules(budget=60_000, tariff=ROUNDED))
    move(ledger, 500, 55_000)
    with pytest.raises(BudgetError), ledger.open_session("poll"):
        raise AssertionError("not reached")
    assert ledger.read_month().left == 0
    assert make_ledger(tmp_path, ledger.rules, NOON + 15 * DAY).read_month().left == 60_000


def test_a_transfer_that_outgrows_the_budget_is_stopped(tmp_path: Path) -> None:
    ledger = make_ledger(tmp_path, Rules(budget=50_000))
    with pytest.raises(BudgetError, match=r"ledger ....-..: of the month's 50000 billed bytes 0 are left"):
        receive(ledger, [1_000] * 100)
    month = ledger.read_month()
    assert 45_000 < month.received <= 51_000


def test_outside_the_window_nothing_begins_and_nothing_goes_on(tmp_path: Path) -> None:
    hour = datetime.fromtimestamp(NOON).hour
    shut = Rules(windows=(parse_window(f"{(hour + 2) % 24:02}:00-{(hour + 3) % 24:02}:00"),))
    with pytest.raises(OutsideWindow, match="no time window is open before"), make_ledger(tmp_path, shut).open_session("poll"):
        raise AssertionError("not reached")
    short = Rules(windows=(parse_window(f"{hour:02}:00-{(hour + 1) % 24:02}:00"),))
    clock = iter([NOON] * 8 + [NOON + 7200] * 99)
    with pytest.raises(OutsideWindow):
        receive(Ledger(tmp_path, short, lambda: next(clock)), [16_000] * 99)


def test_old_months_go(tmp_path: Path) -> None:
    for number in range(20):
        move(make_ledger(tmp_path, now=NOON + number * 31 * DAY), 1, 1)
    months = make_ledger(tmp_path).months()
    assert len(months) == 13
    assert months[-1] == "2028-07"


def test_a_torn_line_is_counted_and_passed_over(tmp_path: Path) -> None:
    ledger = make_ledger(tmp_path)
    move(ledger, 500, 3_000)
    file = tmp_path / "2026-11.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole + whole.splitlines()[0][:20])
    move(ledger, 500, 3_000)
    month = ledger.read_month()
    assert (month.sent, month.damaged) == (1_000, 1)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 16_384), max_size=12), st.integers(0, 30))
def test_law_no_crash_makes_the_ledger_forget(tmp_path_factory: pytest.TempPathFactory, parts: list[int], torn: int) -> None:
    """A power cut leaves what was synced and any beginning of the line being written."""
    folder = tmp_path_factory.mktemp("ledger")
    ledger = make_ledger(folder)
    context = ledger.open_session("poll")
    session = context.__enter__()
    for part in parts:  # 16 KiB is the most that arrives at once
        session.count(0, part)
    file = folder / "2026-11.jsonl"
    file.write_bytes(file.read_bytes() + file.read_bytes().splitlines()[-1][:torn])
    assert make_ledger(folder).read_month().wire >= session.wire
    context.__exit__(None, None, None)
    assert make_ledger(folder).read_month().received == sum(parts)
