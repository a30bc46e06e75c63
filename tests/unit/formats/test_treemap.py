"""Boxes of a treemap: areas in proportion, all of the room, nothing twice, and no slivers where that can be helped."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.formats.treemap import lay_out

SIDES = st.floats(min_value=1, max_value=2000)


@given(st.lists(st.integers(min_value=0, max_value=10**12), max_size=40), SIDES, SIDES)
def test_areas_are_in_proportion_and_fill_the_room(weights: list[int], width: float, height: float) -> None:
    weights.sort(reverse=True)
    boxes = lay_out(weights, width, height)
    assert len(boxes) == len(weights)
    whole = sum(weights)
    for box, weight in zip(boxes, weights, strict=True):
        expected = weight * width * height / whole if whole else 0
        assert box.width * box.height == pytest.approx(expected, rel=1e-6, abs=1e-6 * width * height)
        assert box.left >= -1e-6
        assert box.top >= -1e-6
        assert box.left + box.width <= width * (1 + 1e-6)
        assert box.top + box.height <= height * (1 + 1e-6)


@given(st.lists(st.integers(min_value=1, max_value=1000), min_size=2, max_size=15))
def test_no_two_boxes_overlap(weights: list[int]) -> None:
    boxes = lay_out(sorted(weights, reverse=True), 100, 60)
    for number, one in enumerate(boxes):
        for other in boxes[number + 1 :]:
            wide = min(one.left + one.width, other.left + other.width) - max(one.left, other.left)
            high = min(one.top + one.height, other.top + other.height) - max(one.top, other.top)
            assert wide < 1e-6 or high < 1e-6


def test_the_example_of_the_paper() -> None:
    """Bruls, Huizing and van Wijk: 6, 6, 4, 3, 2, 2, 1 in 6 by 4."""
    boxes = lay_out([6, 6, 4, 3, 2, 2, 1], 6, 4)
    assert [(round(box.width, 2), round(box.height, 2)) for box in boxes[:4]] == [(3, 2), (3, 2), (1.71, 2.33), (1.29, 2.33)]
    assert max(max(box.width / box.height, box.height / box.width) for box in boxes) < 3


@pytest.mark.parametrize(("weights", "width"), [([], 10.0), ([0, 0], 10.0), ([1, 2], 0.0)])
def test_of_nothing_there_is_nothing(weights: list[int], width: float) -> None:
    assert all(box.width * box.height == 0 for box in lay_out(weights, width, 10))
