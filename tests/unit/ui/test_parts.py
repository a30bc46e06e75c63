"""What pages are made of: text of strangers, ends of logs, courses of metrics, drawings."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wherry.formats.metric_series import MOST_POINTS, MOST_SERIES, MetricCourse
from wherry.model.sweep import Value
from wherry.store.causes import Cause
from wherry.ui.charts import HEIGHT, WIDTH, draw_chart, scatter_values
from wherry.ui.log_tail import read_tail
from wherry.ui.patches import draw_patches
from wherry.ui.readings import Readings
from wherry.ui.rendering import format_length
from wherry.ui.visible_text import make_visible, render_terminal_text


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (b"plain \xc3\xa9\n", "plain é\n"),
        (b"\x1b[1;32mgreen\x1b[0m", "green"),
        (b"\x1b]0;title\x07a\x1b]8;;http://x\x1b\\b", "ab"),
        (b"10%\r50%\r100%\nnext\r\n", "100%\nnext\n"),
        (b"a\x1b", "a\\x1b"),
        (b"\x1b]never ended", "\\x1b]never ended"),
        (b"\x00\x08\x7f", "\\x00\\x08\\x7f"),
        (b"\xff", "\ufffd"),
        ("\u202e\u2066".encode(), "\\u202e\\u2066"),
    ],
)
def test_what_a_terminal_would_have_shown(written: bytes, shown: str) -> None:
    assert render_terminal_text(written) == shown


@given(st.text(st.characters(exclude_categories=[])))
def test_law_all_that_is_shown_can_be_seen(text: str) -> None:
    shown = make_visible(text)
    shown.encode()  # there are no halves of pairs in it
    assert not set(shown) & {chr(number) for number in (*range(9), *range(11, 32), *range(127, 160), 0x202E, 0x2066, 0xD800)}


def test_the_end_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert read_tail(path, 10).size == 0
    path.write_bytes(b"first\nsecond\nthird\n")
    tail = read_tail(path, 10)
    assert (tail.text, tail.size, tail.left_out) == ("third\n", 19, 13)
    assert read_tail(path, 100).left_out == 0
    path.write_bytes(b"x" * 50)
    assert read_tail(path, 10).text == "x" * 10


def lines(*values: float, name: str = "loss") -> list[bytes]:
    return [json.dumps({"metric": name, "value": value}).encode() for value in values]


def test_long_courses_keep_their_extremes_and_their_end() -> None:
    course = MetricCourse()
    values = [math.sin(step / 50) for step in range(20_000)]
    values[7777] = 9.0
    values[12_345] = -9.0
    course.take(lines(*values))
    points = course.points_of("loss")
    assert len(points) < 2 * MOST_POINTS
    assert (7778.0, 9.0) in points
    assert (12_346.0, -9.0) in points
    assert points[-1] == (20_000.0, values[-1])
    assert [step for step, _ in points] == sorted(step for step, _ in points)
    assert course.metrics.counts == {"loss": 20_000}


def test_no_more_courses_than_can_be_drawn() -> None:
    course = MetricCourse()
    for number in range(MOST_SERIES + 50):
        course.take(lines(1.0, name=f"m{number}"))
    assert course.points_of(f"m{MOST_SERIES - 1}") == ((1.0, 1.0),)
    assert course.points_of(f"m{MOST_SERIES}") == ()
    assert len(course.metrics.last) == MOST_SERIES + 50


def test_what_is_no_number_has_no_place() -> None:
    course = MetricCourse()
    course.take([*lines(1.0, math.nan, math.inf, 2.0), b"{", b'{"params": {"a": 1}}'])
    assert course.points_of("loss") == ((1.0, 1.0), (4.0, 2.0))
    assert course.points_of("none") == ()
    assert course.metrics.parameters == {"a": "1"}


def test_readings_go_on_where_they_ended(tmp_path: Path) -> None:
    path, readings = tmp_path / "m", Readings()
    assert readings.look(path).metrics.last == {}
    path.write_bytes(b"\n".join(lines(1.0, 2.0)))  # the second line is not ended yet
    first = readings.look(path)
    assert first.points_of("loss") == ((1.0, 1.0),)
    with path.open("ab") as file:
        file.write(b"\n" + lines(3.0)[0] + b"\n")
    assert readings.look(path).points_of("loss") == ((1.0, 1.0), (2.0, 2.0), (3.0, 3.0))
    assert first.points_of("loss") == ((1.0, 1.0),)  # what a page is made of stays as it is
    assert first.metrics.counts == {"loss": 1}
    path.write_bytes(b"")  # another file in its place
    assert readings.look(path).points_of("loss") == ()
    path.unlink()
    assert readings.look(path).metrics.last == {}
    os.mkfifo(path)  # whoever opened it would wait for ever
    assert readings.look(path).metrics.last == {}
    for number in range(100):
        readings.look(tmp_path / str(number))
    assert len(readings._known) == 64


NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=60), min_size=1, max_size=3))
@example([[(-1.5e308, 1.7e308)]])
@example([[(5e-324, -1.7e308), (1e-323, 1.7e308)]])
def test_law_a_drawing_stays_in_its_frame(courses: list[list[tuple[float, float]]]) -> None:
    chart = draw_chart("m", [(str(number), course) for number, course in enumerate(courses)])
    if not any(courses):
        assert chart is None
        return
    assert chart is not None
    for line in chart.lines:
        numbers = [float(word) for part in line.path.removeprefix("M").split("L") for word in part.split()]
        assert all(0 <= x <= WIDTH for x in numbers[::2])
        assert all(0 <= y <= HEIGHT for y in numbers[1::2])
    assert len(chart.rows) <= 50
    assert len(chart.up) + len(chart.across) < 30


VALUES = st.one_of(NUMBERS, st.integers(), st.booleans(), st.text())


@given(st.lists(st.tuples(VALUES, NUMBERS, st.just("task")), max_size=60))
@example([(5e-324, 1.0, ""), (1.7e308, 2.0, "")])
def test_law_so_do_parameters_against_a_metric(points: list[tuple[Value, float, str]]) -> None:
    chart = scatter_values("p", points)
    assert (chart is None) == (not points)
    if chart is not None:
        (line,) = chart.lines
        assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y, _ in line.dots)
        assert len(line.dots) == len(points)
        assert len(chart.up) + len(chart.across) < 30


def test_orders_of_magnitude_and_choices_have_their_axes() -> None:
    rates = scatter_values("lr", [(0.001, 1.0, ""), (0.01, 2.0, ""), (1, 3.0, "")])
    kinds = scatter_values("kind", [("a", 1.0, ""), (True, 2.0, ""), ("a", 3.0, "")])
    assert rates is not None
    assert kinds is not None
    assert [tick.label for tick in rates.across] == ["0.001", "0.01", "0.1", "1"]
    places = [x for x, _, _ in rates.lines[0].dots]
    assert abs((places[1] - places[0]) * 2 - (places[2] - places[1])) < 0.3
    assert [tick.label for tick in kinds.across] == ["a", "true"]


def test_ticks_are_round_and_rows_are_whole() -> None:
    chart = draw_chart("m", [("a", [(0.0, 0.13), (10.0, 0.87)]), ("b", [(5.0, 0.5)])])
    assert chart is not None
    assert [tick.label for tick in chart.up] == ["0.2", "0.4", "0.6", "0.8"]
    assert [tick.label for tick in chart.across] == ["0", "2", "4", "6", "8", "10"]
    assert chart.rows == ((0.0, (0.13, None)), (5.0, (None, 0.5)), (10.0, (0.87, None)))
    for extreme in (0.0, sys.float_info.max, -sys.float_info.max, 5e-324):
        assert draw_chart("m", [("a", [(0.0, extreme)])]) is not None


def test_lengths_of_time() -> None:
    assert [format_length(seconds) for seconds in (0.04, 59.9, 61, 90_061)] == ["0.0 s", "59.9 s", "0:01:01", "25:01:01"]


def test_patches_are_as_large_as_what_they_stand_for() -> None:
    tree = (
        Cause(
            name="scipy 1.17", size=600, children=(Cause(name="numpy 2.4", size=300), Cause(name="six", size=0, counted_above=True))
        ),
        Cause(name="base", size=98, children=(Cause(name="libc6", size=None),)),
        Cause(name="code", size=1),
        Cause(name="model", size=1),
    )
    patches = draw_patches(tree)
    assert [(patch.name, patch.size) for patch in patches] == [
        ("scipy 1.17", 600),
        ("numpy 2.4", 300),
        ("base", 98),
        ("2 smaller ones", 2),
    ]
    for patch in patches:
        assert abs(patch.width * patch.height / (WIDTH * HEIGHT) - patch.size / 1000) < 1e-9
    assert (patches[0].label, patches[0].roomy, patches[-1].label) == ("scipy 1.17", True, "")
    assert draw_patches(()) == []
