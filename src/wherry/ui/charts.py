"""Courses of metrics as drawings: geometry only, in the units of the drawing. The template puts it out as SVG.

A line is told by its dashes and its number as well as by its colour. Beside each drawing stands the same in words and as a table.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from wherry.formats.metric_series import Point
from wherry.model.sweep import Value, render_value

WIDTH, HEIGHT = 440, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 12, 10, 26
_TICKS = 6
_MOST_TICKS = 8
_FEW = 40  # points of a line that are marked one by one
_ROWS = 50  # of the table
_WIDE = 100  # the greatest value over the least: from here on by logarithms
_LABEL = 10  # letters of a choice


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    at: float
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One job's course. `path` is SVG's; `dots` are places and what stands there."""

    label: str
    path: str
    dots: tuple[tuple[float, float, str], ...]
    first: float
    last: float
    lowest: float
    highest: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """`rows` are steps with the value of each line there, None where it has none."""

    name: str
    lines: tuple[Line, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    rows: tuple[tuple[float, tuple[float | None, ...]], ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = HEIGHT - _BOTTOM


def draw_chart(name: str, courses: Sequence[tuple[str, Sequence[Point]]]) -> Chart | None:
    """One metric of one or several jobs; None if there is nothing to draw."""
    points = [point for _, course in courses for point in course]
    if not points:
        return None
    across = _Axis([x for x, _ in points], _LEFT, WIDTH - _RIGHT)
    up = _Axis([y for _, y in points], HEIGHT - _BOTTOM, _TOP)
    return Chart(
        name=name,
        lines=tuple(_draw_line(label, course, across, up) for label, course in courses),
        across=tuple(across.list_ticks()),
        up=tuple(up.list_ticks()),
        rows=_list_rows([dict(course) for _, course in courses]),
    )


def scatter_values(name: str, points: Sequence[tuple[Value, float, str]]) -> Chart | None:
    """A metric against a parameter: its value, the metric's, and words for each task; None if there is nothing to draw."""
    if not points:
        return None
    across = _choose_axis([value for value, _, _ in points], _LEFT, WIDTH - _RIGHT)
    up = _Axis([y for _, y, _ in points], HEIGHT - _BOTTOM, _TOP)
    dots = tuple((across.place(value), up.place(y), f"{y:.5g} ({words})") for value, y, words in points)
    values = [y for _, y, _ in points]
    line = Line(
        label=name,
        path="",
        dots=dots,
        first=values[0],
        last=values[-1],
        lowest=min(values),
        highest=max(values),
        count=len(values),
    )
    return Chart(name=name, lines=(line,), across=tuple(across.list_ticks()), up=tuple(up.list_ticks()), rows=())


def _choose_axis(values: Sequence[Value], start: int, end: int) -> _Axis | _LogAxis | _ChoiceAxis:
    """Numbers over orders of magnitude by their logarithms; what is no number in the order it came."""
    numbers = [float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < len(values) or not all(map(math.isfinite, numbers)):
        return _ChoiceAxis(values, start, end)
    if min(numbers) > 0 and max(numbers) / min(numbers) >= _WIDE:
        return _LogAxis(numbers, start, end)
    return _Axis(numbers, start, end)


class _LogAxis:
    def __init__(self, values: Sequence[float], start: int, end: int) -> None:
        self._low, self._high = math.log10(min(values)), math.log10(max(values))
        self._even = _Axis((self._low, self._high), start, end)

    def place(self, value: Value) -> float:
        return self._even.place(math.log10(float(value)))

    def list_ticks(self) -> Iterator[Tick]:
        powers = range(math.ceil(self._low), math.floor(self._high) + 1)
        for power in powers[:: len(powers) // _MOST_TICKS + 1]:
            yield Tick(at=self._even.place(power), label=f"{10.0**power:g}")


class _ChoiceAxis:
    """Each value has a place of its own."""

    def __init__(self, values: Sequence[Value], start: int, end: int) -> None:
        self._places = {value: number for number, value in enumerate(dict.fromkeys(values))}
        self._even = _Axis((-0.5, len(self._places) - 0.5), start, end)

    def place(self, value: Value) -> float:
        return self._even.place(self._places[value])

    def list_ticks(self) -> Iterator[Tick]:
        for value, number in list(self._places.items())[:: len(self._places) // _MOST_TICKS + 1]:
            yield Tick(at=self._even.place(number), label=render_value(value)[:_LABEL])


class _Axis:
    """Values to places, from `start` to `end`. An axis of one value has that in its middle."""

    def __init__(self, values: Sequence[float], start: int, end: int) -> None:
        self._start, self._end = start, end
        self._low, self._high = min(values), max(values)
        # Halves, for the whole may be more than a float holds.
        self._span = self._high / 2 - self._low / 2
        if self._span == 0:
            room, most = abs(self._low) / 2 or 0.5, sys.float_info.max
            self._low, self._high = max(self._low - room, -most), min(self._high + room, most)
            self._span = self._high / 2 - self._low / 2

    def place(self, value: Value) -> float:
        share = (float(value) / 2 - self._low / 2) / self._span
        return round(self._start + share * (self._end - self._start), 1)

    def list_ticks(self) -> Iterator[Tick]:
        step = _round_step(self._span / _TICKS * 2)
        if not math.isfinite(step) or step <= 0:
            return
        for number in range(math.ceil(self._low / step), math.floor(self._high / step) + 1):
            value = number * step
            yield Tick(at=self.place(value), label=f"{value:.10g}" if abs(value) < 1e5 else f"{value:.3g}")


def _round_step(least: float) -> float:
    """1, 2 or 5 times a power of ten, at least so much."""
    power = 10.0 ** math.floor(math.log10(least)) if 0 < least < math.inf else 0.0
    return next((power * factor for factor in (1, 2, 5, 10) if power * factor >= least), 0.0)


def _draw_line(label: str, course: Sequence[Point], across: _Axis, up: _Axis) -> Line:
    places = [(across.place(x), up.place(y)) for x, y in course]
    values = [y for _, y in course] or [math.nan]
    dots = zip(places, course, strict=True) if len(course) <= _FEW else ()
    return Line(
        label=label,
        path="M" + "L".join(f"{x:g} {y:g}" for x, y in places) if places else "",
        dots=tuple((x, y, f"{step:g}: {value:.5g}") for (x, y), (step, value) in dots),
        first=values[0],
        last=values[-1],
        lowest=min(values),
        highest=max(values),
        count=len(course),
    )


def _list_rows(tables: Sequence[dict[float, float]]) -> tuple[tuple[float, tuple[float | None, ...]], ...]:
    """At most so many rows, evenly chosen, the first and the last step among them."""
    steps = sorted({step for table in tables for step in table})
    if len(steps) > _ROWS:
        steps = [steps[round(number * (len(steps) - 1) / (_ROWS - 1))] for number in range(_ROWS)]
    return tuple((step, tuple(table.get(step) for table in tables)) for step in steps)
