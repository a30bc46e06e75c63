"""Messages of telemetry: what was written is read, and a stranger's bytes are refused in words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.errors import FormatError
from wherry.formats.telemetry import MAX_MESSAGE, parse_message, parse_record, render_message, render_record
from wherry.model.telemetry import Message, Record

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
RECORDS = st.builds(
    Record,
    id=st.text(min_size=1, max_size=20),
    topic=st.text(max_size=10),
    time=st.floats(0, 4e9),
    reading=PLAIN,
    result=PLAIN,
    count=st.integers(1, 1000),
)


@settings(max_examples=40)
@given(st.lists(RECORDS, max_size=3), st.dictionaries(st.sampled_from(["dropped", "refused"]), st.integers(1, 9)))
def test_what_was_written_is_read(records: list[Record], counts: dict[str, int]) -> None:
    message = parse_message(render_message("buoy-7", [render_record(record) for record in records], counts))
    assert message == Message(device="buoy-7", records=tuple(records), counts=counts)


def test_the_bytes_are_those_of_the_specification() -> None:
    record = Record(id="r1", topic="plant/a", time=1700000000.0, reading={"celsius": 3.5}, result={"hot": False})
    assert render_message("buoy-7", [render_record(record)], {"dropped": 2, "refused": 0}) == (
        b'{"version": 1, "device": "buoy-7", "dropped": 2, "records": [{"id":"r1","topic":"plant/a","time":1700000000.0,'
        b'"reading":{"celsius":3.5},"result":{"hot":false}}]}'
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"version": 2},
        {"device": "../up"},
        {"device": "a/b"},
        {"device": ".hidden"},
        {"device": "x" * 65},
        {"device": 7},
        {"records": {}},
        {"records": [7]},
        {"records": [{"id": "", "time": 1}]},
        {"records": [{"id": 7, "time": 1}]},
        {"records": [{"id": "x" * 201, "time": 1}]},
        {"records": [{"id": "a"}]},
        {"records": [{"id": "a", "time": True}]},
        {"records": [{"id": "a", "time": -1}]},
        {"records": [{"id": "a", "time": 1e300}]},
        {"records": [{"id": "a", "time": 1, "topic": 7}]},
        {"records": [{"id": "a", "time": 1, "count": 0}]},
    ],
)
def test_what_is_no_message_is_refused(changed: dict[str, Any]) -> None:
    sound = {"version": 1, "device": "buoy-7", "records": [{"id": "a", "time": 1}]}
    assert parse_message(json.dumps(sound).encode()).records[0].id == "a"
    with pytest.raises(FormatError):
        parse_message(json.dumps(sound | changed).encode())


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"\xff", b"[" * 200_000, b'{"version": 1', b" " * (MAX_MESSAGE + 1), b"NaN", b"9" * 5000]
)
def test_bytes_of_any_kind_are_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse_message(data)


@settings(max_examples=40)
@given(st.binary(max_size=60))
def test_no_bytes_do_any_harm(data: bytes) -> None:
    for parse in (parse_message, parse_record):
        try:
            parse(data)
        except FormatError:
            continue
