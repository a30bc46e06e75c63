"""A record as a row: nothing of it is lost, whatever came before it."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.formats.test_telemetry import PLAIN
from wherry.collect.columns import MOST_COLUMNS, REST, ColumnKind, lay_out, learn_columns
from wherry.model.telemetry import Record


def record(reading: Any, result: Any = None) -> Record:
    return Record(id="a", topic="t", time=0.0, reading=reading, result=result)


def rows(*records: Record) -> list[dict[str, Any]]:
    """Each record as it is laid out, when its own columns are known, too."""
    known: dict[str, ColumnKind] = {}
    found = []
    for one in records:
        known.update(learn_columns(known, one))
        found.append(lay_out(known, one))
    return found


def test_names_and_kinds() -> None:
    (row,) = rows(record({"a": 1, "b": {"c": "x", "d": {"e": True}}}, 0.5))
    assert row == {"reading.a": 1.0, "reading.b.c": "x", "reading.b.d.e": True, "result": 0.5}
    assert isinstance(row["reading.a"], float)


def test_what_does_not_fit_stays_whole() -> None:
    _, second = rows(record({"a": 1}), record({"a": "one", "list": [1, 2], "odd.name": 3, "great": 2**60, "empty": {}, "": 4}))
    assert set(second) == {REST}
    assert json.loads(second[REST]) == {
        "reading.a": "one", "reading.list": [1, 2], "reading": {"odd.name": 3, "": 4}, "reading.great": 2**60, "reading.empty": {},
    }  # fmt: skip


def test_columns_are_bounded() -> None:
    (row,) = rows(record({f"c{number}": number for number in range(MOST_COLUMNS + 10)}))
    assert len(row) == MOST_COLUMNS + 1
    assert len(json.loads(row[REST])) == 10


@given(st.lists(st.tuples(PLAIN, PLAIN), min_size=1, max_size=4))
def test_no_value_is_lost(values: list[tuple[Any, Any]]) -> None:
    for (reading, result), row in zip(values, rows(*(record(*pair) for pair in values)), strict=True):
        leaves = sorted(map(repr, _leaves(reading) + _leaves(result)))
        rest = json.loads(row.pop(REST, "{}"))
        assert sorted(map(repr, [*_plain(row.values()), *(leaf for value in rest.values() for leaf in _leaves(value))])) == leaves


def _leaves(value: Any) -> list[Any]:
    """Scalars that are something, numbers as floats where these are exact."""
    if isinstance(value, dict):
        return [leaf for inner in value.values() for leaf in _leaves(inner)]
    if isinstance(value, list):
        return [leaf for inner in value for leaf in _leaves(inner)]
    return _plain([value])


def _plain(values: Any) -> list[Any]:
    exact = [float(one) if isinstance(one, int) and not isinstance(one, bool) and abs(one) <= 1 << 53 else one for one in values]
    return [one for one in exact if one is not None]
