"""The file that a job writes its metrics to: JSON lines, each one object.

    {"metric": "loss", "value": 0.12, "step": 3, "time": 1700000000.0}
    {"params": {"lr": 0.1, "model": "forest"}}

`step` and `time` may be missing. Whatever else stands in the file, the torn last line of a killed writer among it, is passed over:
it is a foreign program's, and never an error. So is a metric whose name fills a screen. Values that are no numbers (NaN, infinite)
are kept as Python's floats.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

LONGEST_LINE = 1 << 20
_MOST_NAMES = 10_000
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One value of one metric. `step` None: it was not said."""

    name: str
    value: float
    step: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobMetrics:
    """What a job told: the last value of each metric in the order of first appearance, how many there were, and parameters."""

    last: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)


def render_metric(name: str, value: float, step: int | None, now: float) -> bytes:
    """One line. What is not a number of Python's own, such as numpy's, is made one."""
    line = {"metric": str(name), "value": float(value), "time": now}
    return json.dumps(line if step is None else {**line, "step": int(step)}).encode() + b"\n"


def render_parameters(values: dict[str, object]) -> bytes:
    """One line. A value that JSON does not know is told as text."""
    return json.dumps({"params": values}, default=str).encode() + b"\n"


def parse_line(line: bytes) -> Measurement | dict[str, str] | None:
    """A measurement, parameters as texts, or None for anything else."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    params = value.get("params")
    if isinstance(params, dict):
        return {_as_text(key): _as_text(one) if isinstance(one, str) else json.dumps(one) for key, one in params.items()}
    name, number, step = value.get("metric"), value.get("value"), value.get("step")
    if not isinstance(name, str) or len(name) > _LONGEST_NAME or isinstance(number, bool) or not isinstance(number, int | float):
        return None
    try:
        return Measurement(name=_as_text(name), value=float(number), step=step if type(step) is int else None)
    except OverflowError:
        return None


def _as_text(text: str) -> str:
    """JSON can spell what is no text: half of a surrogate pair."""
    return text.encode("utf-8", "backslashreplace").decode()


def summarise(lines: Iterable[bytes]) -> JobMetrics:
    """What the lines tell in all."""
    found = JobMetrics()
    for line in lines:
        take_in(found, line)
    return found


def take_in(found: JobMetrics, line: bytes) -> Measurement | None:
    """Add to `found` what one more line tells; gives the measurement, if it is one that counts."""
    told = parse_line(line) if len(line) <= LONGEST_LINE else None
    if isinstance(told, Measurement) and (told.name in found.last or len(found.last) < _MOST_NAMES):
        found.last[told.name] = told.value
        found.counts[told.name] = found.counts.get(told.name, 0) + 1
        return told
    if isinstance(told, dict):
        found.parameters.update(told)
    return None
