"""Lays out a treemap: boxes whose areas are in proportion to weights, each as square as can be. Pure.

Squarified treemaps (Bruls, Huizing, van Wijk 2000): boxes are placed in rows along the shorter side of what is left, and a row
takes the next box as long as that makes its worst box squarer. Weights that descend give the best picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A part of the picture, from its upper left corner."""

    left: float
    top: float
    width: float
    height: float


def lay_out(weights: Sequence[float], width: float, height: float) -> tuple[Box, ...]:
    """A box for each weight, in their order. None may be negative; of nothing, or within nothing, all boxes are empty."""
    whole = sum(weights)
    if whole <= 0 or width <= 0 or height <= 0:
        return tuple(Box(left=0, top=0, width=0, height=0) for _ in weights)
    areas = [weight * width * height / whole for weight in weights]
    boxes: list[Box] = []
    left = top = 0.0
    while len(boxes) < len(areas):
        room = (width - left, height - top)
        row = _take_row(areas[len(boxes) :], min(room))
        thick = sum(row) / min(room) if min(room) > 0 else 0.0
        boxes += _place_row(row, thick, left, top, upright=room[0] >= room[1])
        if room[0] >= room[1]:
            left += thick
        else:
            top += thick
    return tuple(boxes)


def _take_row(areas: Sequence[float], side: float) -> Sequence[float]:
    """As many of the areas as make a good row along a side; at least one."""
    count, worst = 1, _worst_ratio(areas[:1], side)
    while count < len(areas):
        ratio = _worst_ratio(areas[: count + 1], side)
        if ratio > worst:
            break
        count, worst = count + 1, ratio
    return areas[:count]


def _worst_ratio(row: Sequence[float], side: float) -> float:
    total, least = sum(row), min(row)
    if not least or not side:
        return float("inf")
    return max(side * side * max(row) / (total * total), total * total / (side * side * least))


def _place_row(row: Sequence[float], thick: float, left: float, top: float, *, upright: bool) -> list[Box]:
    """Side by side along the shorter side: `upright` where that is the left one."""
    placed = []
    for area in row:
        long = area / thick if thick else 0.0
        if upright:
            placed.append(Box(left=left, top=top, width=thick, height=long))
            top += long
        else:
            placed.append(Box(left=left, top=top, width=long, height=thick))
            left += long
    return placed
