"""How many connections a download takes, against links that are told what they are worth."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from wherry.store.pace import Pace


def settle(pace: Pace, rate: Callable[[int], float], looks: int = 40) -> list[int]:
    taken = []
    for _ in range(looks):
        pace.take(rate(pace.limit))
        taken.append(pace.limit)
    return taken


@pytest.mark.parametrize(("full_at", "most", "enough"), [(64, 16, {16}), (8, 16, {8, 16}), (1, 16, {4, 8}), (64, 1, {1})])
def test_it_takes_as_many_as_bring_more(full_at: int, most: int, enough: set[int]) -> None:
    taken = settle(Pace(most), lambda limit: 20.0 * min(limit, full_at), 100)
    assert set(taken[10:]) <= enough
    assert taken.count(min(enough)) > 80


def test_it_halves_once_for_a_trouble_and_comes_back_one_by_one() -> None:
    pace = Pace(16)
    settle(pace, float)
    assert pace.limit == 16
    for _ in range(16):
        pace.slow_down()
    assert pace.limit == 8
    taken = settle(pace, float, 60)
    assert taken[-1] == 16
    assert all(after - before <= 1 for before, after in pairwise(taken))


def test_a_store_that_takes_its_time_to_begin_says_nothing() -> None:
    pace = Pace(16)
    settle(pace, lambda _limit: 0.0)
    assert settle(pace, float, 3)[-1] == 16


def test_it_never_gives_up_the_last_one() -> None:
    pace = Pace(16)
    for _ in range(10):
        pace.take(0.0)
        pace.slow_down()
    assert pace.limit == 1
