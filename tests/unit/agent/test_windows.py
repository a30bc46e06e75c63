"""Time windows: what is one, when it is open, when it opens next."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.agent.windows import is_open, next_opening, parse_window
from wherry.errors import DeclarationError

SATURDAY = datetime(2026, 11, 21, 12, 0)


@pytest.mark.parametrize(
    ("text", "moment", "expected"),
    [
        ("01:00-05:00", datetime(2026, 11, 21, 1, 0), True),
        ("01:00-05:00", datetime(2026, 11, 21, 5, 0), False),
        ("22:00-04:00", datetime(2026, 11, 21, 3, 59), True),
        ("22:00-04:00", datetime(2026, 11, 21, 4, 0), False),
        ("mon-fri 22:00-04:00", datetime(2026, 11, 21, 3, 0), True),  # what began on Friday
        ("mon-fri 22:00-04:00", datetime(2026, 11, 22, 3, 0), False),
        ("Sat,Sun 00:00 - 24:00", SATURDAY, True),
        ("fri-mon 00:00-24:00", SATURDAY, True),
        ("mon 00:00-24:00", SATURDAY, False),
    ],
)
def test_when_a_window_is_open(text: str, moment: datetime, expected: bool) -> None:
    assert is_open([parse_window(text)], moment) is expected


@pytest.mark.parametrize(
    "text",
    ["", "1-5", "25:00-26:00", "24:00-01:00", "01:60-02:00", "01:00-01:00", "x 01:00-02:00", "mon- 01:00-02:00", "01:00-24:01"],
)
def test_what_is_no_window(text: str) -> None:
    with pytest.raises(DeclarationError):
        parse_window(text, "agent.toml: windows[0]")


def test_no_window_is_always_open() -> None:
    assert is_open([], SATURDAY)
    assert next_opening([], SATURDAY) == SATURDAY


def test_the_next_opening_may_be_a_week_away() -> None:
    assert next_opening([parse_window("sat 08:00-09:00")], SATURDAY) == datetime(2026, 11, 28, 8, 0)
    assert next_opening([parse_window("sat 08:00-09:00"), parse_window("23:00-01:00")], SATURDAY) == datetime(2026, 11, 21, 23, 0)


DAYS = st.sampled_from(["", "mon ", "tue,thu ", "sat-tue ", "sun "])


@given(DAYS, st.integers(0, 1439), st.integers(1, 1439), st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)))
def test_law_a_window_is_open_when_it_opens_and_not_just_before(days: str, start: int, length: int, moment: datetime) -> None:
    end = (start + length) % 1440
    window = parse_window(f"{days}{start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02}")
    opens = next_opening([window], moment)
    assert window.contains(opens)
    assert moment <= opens <= moment + timedelta(days=7)
    if opens > moment:
        assert not window.contains(opens - timedelta(minutes=1))
