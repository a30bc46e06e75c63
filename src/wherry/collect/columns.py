"""A record's values as the columns of a table. Pure: which columns there are is decided once and told to whoever comes later.

``{"reading": {"a": {"b": 1}}}`` has the column ``reading.a.b``. A column has the kind of the first value that was seen in it:
numbers, flags or texts. What does not fit stays whole, as JSON, in the column ``rest``: a value of another kind, a list, what is
nested deeply, a whole number that no float holds, and all that is beyond a bounded number of columns.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

from wherry.model.telemetry import Record

MOST_COLUMNS = 400
REST = "rest"
_DEEPEST = 5
_LONGEST_NAME = 200


class ColumnKind(Enum):
    NUMBER = "number"
    FLAG = "flag"
    TEXT = "text"


def learn_columns(known: dict[str, ColumnKind], record: Record) -> dict[str, ColumnKind]:
    """The columns that this record adds to those that are known."""
    found: dict[str, ColumnKind] = {}
    for name, value in _flatten(record):
        kind = _kind_of(value)
        if kind is not None and name not in known and len(known) + len(found) < MOST_COLUMNS:
            found.setdefault(name, kind)
    return found


def lay_out(known: Mapping[str, ColumnKind], record: Record) -> dict[str, Any]:
    """A row: values by column, those that are nothing left out."""
    row: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for name, value in _flatten(record):
        if value is None:
            continue
        if known.get(name) is not None and _kind_of(value) is known[name] and name not in row:
            row[name] = float(value) if known[name] is ColumnKind.NUMBER else value
        else:
            rest[name] = value
    if rest:
        row[REST] = json.dumps(rest, ensure_ascii=False)
    return row


def _flatten(record: Record) -> Iterator[tuple[str, Any]]:
    for name, value in (("reading", record.reading), ("result", record.result)):
        yield from _walk(name, value, 1)


def _walk(path: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict) or not value or depth > _DEEPEST:
        yield path, value
        return
    odd = {name: inner for name, inner in value.items() if not name or "." in name or len(path) + len(name) > _LONGEST_NAME}
    if odd:
        yield path, odd
    for name, inner in value.items():
        if name not in odd:
            yield from _walk(f"{path}.{name}", inner, depth + 1)


def _kind_of(value: Any) -> ColumnKind | None:
    """None for what no column holds."""
    if isinstance(value, bool):
        return ColumnKind.FLAG
    if isinstance(value, str):
        return ColumnKind.TEXT
    if isinstance(value, float):
        return ColumnKind.NUMBER
    return ColumnKind.NUMBER if isinstance(value, int) and abs(value) <= 1 << 53 else None
