"""The course of a job's metrics, for drawing: few points that keep the extremes, whatever their number was.

Points come one by one and may come for days. When a series has twice as many as are wanted, each four neighbours become two: the
lowest and the highest of them, in their order. So a spike stays, and memory is bounded; of more than `MOST_SERIES` metrics only the
first have a course. Values that are no numbers have no place
in a drawing and are left out here; `JobMetrics` has the last value as it was told.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from wherry.formats.job_metrics import JobMetrics, take_in

MOST_POINTS = 400
MOST_SERIES = 200
Point = tuple[float, float]  # step, value


class MetricCourse:
    """Takes in lines of a metrics file; tells what they say in all, and the points of each metric in the order they came."""

    def __init__(self) -> None:
        self.metrics = JobMetrics()
        self._points: dict[str, list[Point]] = {}

    def take(self, lines: Iterable[bytes]) -> None:
        for line in lines:
            told = take_in(self.metrics, line)
            if told is None or not math.isfinite(told.value):
                continue
            step = self.metrics.counts[told.name] if told.step is None else told.step
            if told.name not in self._points and len(self._points) >= MOST_SERIES:
                continue
            points = self._points.setdefault(told.name, [])
            points.append((float(step), told.value))
            if len(points) >= 2 * MOST_POINTS:
                points[:] = _thin(points)

    def copy(self) -> MetricCourse:
        """The same as it is now, which further lines do not change."""
        other = MetricCourse()
        told = self.metrics
        other.metrics = JobMetrics(last=dict(told.last), counts=dict(told.counts), parameters=dict(told.parameters))
        other._points = {name: list(points) for name, points in self._points.items()}
        return other

    def points_of(self, name: str) -> tuple[Point, ...]:
        return tuple(self._points.get(name, ()))


def _thin(points: Sequence[Point]) -> list[Point]:
    """Half of the points, the last one among them."""
    kept: list[Point] = []
    for start in range(0, len(points), 4):
        four = range(start, min(start + 4, len(points)))
        lowest = min(four, key=lambda number: points[number][1])
        highest = max(four, key=lambda number: points[number][1])
        kept += [points[number] for number in sorted({lowest, highest})]
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]
