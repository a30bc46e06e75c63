"""The laws of what is left away: ends and extremes stay, a band is never left unsaid, a mean is exact."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.formats.telemetry import parse_record
from wherry.model.scoring import Method, Reduction
from wherry.model.telemetry import Record
from wherry.score.outbox import Outbox
from wherry.score.reduction import choose_points, has_left_band

NUMBERS = st.floats(-1e9, 1e9) | st.integers(-20, 20).map(float)
SERIES = st.lists(NUMBERS, min_size=1, max_size=80)
GAPPY = st.lists(st.none() | NUMBERS, min_size=1, max_size=60)


def rule(method: Method, points: int = 4, band: float = 0.0) -> Reduction:
    return Reduction(topic="#", fields=("reading.v",), method=method, points=points, band=band, window=1e6)


def keep(asked: Reduction, values: list[float | None]) -> list[int]:
    return choose_points(asked, [float(number) for number in range(len(values))], {"reading.v": values})


@settings(max_examples=50)
@given(SERIES, st.integers(3, 12))
def test_lttb_keeps_both_ends_and_no_more_than_asked(values: list[float], points: int) -> None:
    kept = keep(rule(Method.LTTB, points), list(values))
    assert kept[0] == 0
    assert kept[-1] == len(values) - 1
    assert len(kept) == min(points, len(values))


@settings(max_examples=50)
@given(SERIES, st.integers(2, 12))
def test_min_max_keeps_the_extremes(values: list[float], points: int) -> None:
    kept = [values[index] for index in keep(rule(Method.MIN_MAX, points), list(values))]
    assert (min(kept), max(kept)) == (min(values), max(values))
    assert len(kept) <= max(points, 2)


@settings(max_examples=50)
@given(GAPPY, st.sampled_from([Method.LTTB, Method.MIN_MAX]))
def test_what_cannot_be_judged_is_kept(values: list[float | None], method: Method) -> None:
    kept = keep(rule(method), values)
    assert kept == sorted(set(kept))
    assert {index for index, value in enumerate(values) if value is None} <= set(kept)


@settings(max_examples=50)
@given(SERIES, st.floats(0, 1e6))
def test_what_was_sent_last_is_never_further_than_the_band(values: list[float], band: float) -> None:
    asked, last = rule(Method.DEAD_BAND, band=band), {}
    for value in values:
        if has_left_band(asked, last, {"reading.v": value}):
            last = {"reading.v": value}
        assert abs(last["reading.v"] - value) <= band


@settings(max_examples=12, deadline=None)
@given(st.lists(st.floats(-1e140, 1e140), min_size=1, max_size=12))
def test_a_mean_is_exact(values: list[float]) -> None:
    with TemporaryDirectory() as folder:
        outbox = Outbox(Path(folder) / "t.sqlite", 1 << 20, (rule(Method.MEAN),))
        outbox.take([(Record(id=str(n), topic="t", time=n, reading={"v": v}), 0) for n, v in enumerate(values)], 0.0)
        outbox.close_windows(1e6)
        (sent,) = outbox.read(0, 10, 1 << 20)
        outbox.close()
    record = parse_record(sent.body)
    assert record.reading == {"v": float(sum(map(Fraction, values)) / len(values))}
    assert (record.count, record.time) == (len(values), 0.0)
