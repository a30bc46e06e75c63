"""Messages of telemetry as JSON, and back (docs/spec/telemetry.md). What comes from a broker is anybody's: all of it is checked.

A record is rendered once, when it is stored; a message is put together of such bytes.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from wherry.errors import FormatError
from wherry.model.telemetry import TELEMETRY_VERSION, Message, Record

MAX_MESSAGE = 4 << 20
_DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LONGEST_ID = 200
_MOST = 1 << 53
_LATEST = 253402300799.0  # the end of the year 9999


def render_record(record: Record) -> bytes:
    """One record; what JSON cannot say is a `ValueError` or a `TypeError`."""
    value: dict[str, Any] = {"id": record.id, "topic": record.topic, "time": record.time, "reading": record.reading}
    if record.result is not None:
        value["result"] = record.result
    if record.count != 1:
        value["count"] = record.count
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def render_message(device: str, records: Sequence[bytes], counts: Mapping[str, int]) -> bytes:
    """A message of records that `render_record` gave."""
    head = json.dumps({"version": TELEMETRY_VERSION, "device": device, **{name: count for name, count in counts.items() if count}})
    return b'%s, "records": [%s]}' % (head.removesuffix("}").encode(), b",".join(records))


def parse_record(data: bytes) -> Record:
    """One record as `render_record` gave it."""
    return _parse_record(_load(data))


def parse_message(data: bytes) -> Message:
    """Read a message; anything but a whole one is a `FormatError`."""
    if len(data) > MAX_MESSAGE:
        raise FormatError(f"a message of more than {MAX_MESSAGE} bytes")
    value = _load(data)
    if not isinstance(value, dict) or value.get("version") != TELEMETRY_VERSION:
        raise FormatError("no message of telemetry, or one of another version")
    device, records = value.pop("device", None), value.pop("records", None)
    if not is_device_name(device) or not isinstance(records, list):
        raise FormatError("a message without device or records")
    del value["version"]
    counts = {name: count for name, count in value.items() if type(count) is int and 0 <= count < _MOST}
    return Message(device=device, records=tuple(map(_parse_record, records)), counts=counts)


def is_device_name(name: object) -> bool:
    """Whether this may be a device's name: it becomes the name of a folder."""
    return isinstance(name, str) and _DEVICE.fullmatch(name) is not None


def _load(data: bytes) -> Any:
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_refuse_constant)
        if b"\\ud" in data.lower():  # half of a pair of surrogates is no text that could be stored anywhere
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        return value
    except (ValueError, RecursionError) as error:
        raise FormatError(f"not JSON: {str(error)[:100]}") from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _parse_record(value: Any) -> Record:
    if not isinstance(value, dict):
        raise FormatError("a record that is no object")
    name, topic, time, count = value.get("id"), value.get("topic", ""), value.get("time"), value.get("count", 1)
    if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_ID or not isinstance(topic, str):
        raise FormatError("a record without an id")
    if isinstance(time, bool) or not isinstance(time, int | float) or not math.isfinite(time) or not 0 <= time <= _LATEST:
        raise FormatError(f"record {name}: no time")
    if isinstance(count, bool) or not isinstance(count, int) or not 0 < count < _MOST:
        raise FormatError(f"record {name}: no count")
    return Record(id=name, topic=topic, time=float(time), reading=value.get("reading"), result=value.get("result"), count=count)
