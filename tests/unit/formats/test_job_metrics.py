"""Lines that a job tells of itself by; anything else in the file is passed over."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from wherry.formats.job_metrics import LONGEST_LINE, Measurement, parse_line, render_metric, render_parameters, summarise


def test_what_is_rendered_is_read() -> None:
    assert parse_line(render_metric("loss é", 0.1, 3, 1.0)) == Measurement(name="loss é", value=0.1, step=3)
    assert parse_line(render_metric("loss", 1, None, 1.0)) == Measurement(name="loss", value=1.0)
    assert parse_line(render_parameters({"lr": 0.1, "kind": "forest", "odd": {1}})) == {
        "lr": "0.1",
        "kind": "forest",
        "odd": "{1}",
    }


def test_last_values_counts_and_parameters() -> None:
    lines = [render_metric("a", 1, 1, 0), render_metric("b", 5, 1, 0), render_metric("a", 2, 2, 0), render_parameters({"x": 1})]
    found = summarise([*lines, b'{"metric": "a", "val', b"\n", b"[]", b'{"metric": 1, "value": 2}'])
    assert (found.last, found.counts, found.parameters) == ({"a": 2.0, "b": 5.0}, {"a": 2, "b": 1}, {"x": "1"})


def test_what_is_no_number_stays_so() -> None:
    assert math.isnan(summarise([render_metric("loss", float("nan"), None, 0)]).last["loss"])
    for line in (b'{"metric": "a", "value": true}', b'{"metric": "a", "value": "1"}', b'{"metric": "a"}'):
        assert parse_line(line) is None
    assert parse_line(b'{"metric": "a", "value": 1' + b"0" * 400 + b"}") is None
    assert parse_line(b"[" * 100_000) is None


def test_names_are_text() -> None:
    assert parse_line(b'{"metric": "\\ud800", "value": 1}') == Measurement(name="\\ud800", value=1.0)
    assert parse_line(b'{"params": {"\\ud800": "\\udfff"}}') == {"\\ud800": "\\udfff"}


def test_a_name_that_fills_a_screen_is_none() -> None:
    names = ["x" * 200, "y" * 201]
    assert list(summarise([render_metric(name, 1, None, 0) for name in names]).last) == names[:1]


def test_a_line_without_end_is_not_read() -> None:
    line = b'{"metric": "a", "value": 1, "pad": "' + b"x" * LONGEST_LINE + b'"}'
    assert summarise([line]).last == {}


@given(st.lists(st.binary(max_size=200)))
def test_foreign_bytes_are_never_an_error(lines: list[bytes]) -> None:
    summarise(lines)
