"""When a device may move bytes: windows such as ``01:00-05:00``, ``sat,sun 00:00-24:00`` or ``mon-fri 22:00-04:00``.

A window that ends before it begins ends on the next day. Times are the device's local ones. No window at all: always.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta

from wherry.errors import DeclarationError

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_FORM = re.compile(r"(?:([a-z,-]+) +)?(\d\d):(\d\d) *- *(\d\d):(\d\d)")
_DAY = 24 * 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """`days` on which it begins, 0 is Monday; `start` in minutes after midnight, `length` in minutes."""

    days: frozenset[int]
    start: int
    length: int

    def contains(self, moment: datetime) -> bool:
        minute = moment.hour * 60 + moment.minute
        today = moment.weekday() in self.days and self.start <= minute < self.start + self.length
        yesterday = (moment.weekday() - 1) % 7 in self.days and minute + _DAY < self.start + self.length
        return today or yesterday


def parse_window(text: str, where: str | None = None) -> Window:
    """Read a window; one that is none is a `DeclarationError`."""
    found = _FORM.fullmatch(text.strip().lower())
    if found:
        start, end = (int(found[first]) * 60 + int(found[first + 1]) for first in (2, 4))
        days = _parse_days(found[1] or "mon-sun")
        if days and start < _DAY and end <= _DAY and start != end and not any(int(found[place]) > 59 for place in (3, 5)):
            return Window(days=days, start=start, length=(end - start) % _DAY or _DAY)
    raise DeclarationError(f"not a time window: {text[:60]!r}", where=where, hint='"01:00-05:00" or "sat,sun 00:00-24:00"')


def is_open(windows: Sequence[Window], moment: datetime) -> bool:
    return not windows or any(window.contains(moment) for window in windows)


def next_opening(windows: Sequence[Window], moment: datetime) -> datetime:
    """The next minute at which a window begins; `moment` itself where one is open."""
    if is_open(windows, moment):
        return moment
    midnight = datetime.combine(moment.date(), time(), moment.tzinfo)
    starts = (
        midnight + timedelta(days=later, minutes=window.start)
        for window in windows
        for later in range(8)
        if (moment.weekday() + later) % 7 in window.days
    )
    return min(start for start in starts if start > moment)


def _parse_days(text: str) -> frozenset[int]:
    """Empty for what names no days."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if first not in _DAYS or (dash and last not in _DAYS):
            return frozenset()
        begin = _DAYS.index(first)
        count = (_DAYS.index(last) - begin) % 7 if dash else 0
        found |= {(begin + later) % 7 for later in range(count + 1)}
    return frozenset(found)
