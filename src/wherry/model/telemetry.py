"""What a device sends: records, gathered to messages (docs/spec/telemetry.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TELEMETRY_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A reading and its score. `id` is unique for the device; `time` in seconds since 1970, of the reading.

    `count` is of how many readings the record tells: one, or those of the window that it is the mean of.
    """

    id: str
    topic: str
    time: float
    reading: Any
    result: Any = None
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """`counts` are totals of the device since its store began, such as ``dropped``; those that are nothing are not there."""

    device: str
    records: tuple[Record, ...]
    counts: Mapping[str, int] = field(default_factory=dict)
