"""Which readings of a window are worth sending, and whether a value has left its band. Pure: values in, positions out.

| method | law |
|---|---|
| `lttb` | at most `points` of each field; the first and the last are among them (Steinarsson's Largest Triangle Three Buckets) |
| `min-max` | at most `points` of each field; the least and the greatest are among them |
| `mean` | one record, exactly the mean of each field |
| `dead-band` | what is sent last is never further than `band` from what is read |

What has no number where one is looked for cannot be judged, and is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wherry.errors import DeclarationError
from wherry.model.scoring import Method, Reduction

_GREATEST = 1e150  # areas of greater numbers are no numbers
_LEAST = {Method.LTTB: 3, Method.MIN_MAX: 2}


def read_field(record: Mapping[str, Any], path: str) -> float | None:
    """The number at a path such as ``reading.celsius``; None where there is none."""
    value: Any = record
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if abs(number) < _GREATEST else None


def is_set(record: Mapping[str, Any], path: str | None) -> bool:
    """Whether the value at a path is true."""
    value: Any = record if path else None
    for name in path.split(".") if path else ():
        value = value.get(name) if isinstance(value, Mapping) else None
    return bool(value)


def choose_points(rule: Reduction, times: Sequence[float], values: Mapping[str, Sequence[float | None]]) -> list[int]:
    """Positions of the readings that are kept, sorted. `times` are sorted; `values` has a list as long for each field."""
    kept: set[int] = set()
    for field in rule.fields:
        known = [(index, value) for index, value in enumerate(values[field]) if value is not None]
        kept.update(index for index, value in enumerate(values[field]) if value is None)
        if len(known) <= max(rule.points, _LEAST[rule.method]):
            kept.update(index for index, _ in known)
            continue
        chosen = _draw(rule, [times[index] - times[0] for index, _ in known], [value for _, value in known])
        kept.update(known[position][0] for position in chosen)
    return sorted(kept)


def has_left_band(rule: Reduction, last: Mapping[str, float | None], now: Mapping[str, float | None]) -> bool:
    """Whether a reading has to be sent, when `last` was."""
    for field in rule.fields:
        before, value = last.get(field), now[field]
        if before is None or value is None or abs(value - before) > rule.band:
            return True
    return False


def _draw(rule: Reduction, times: list[float], values: list[float]) -> list[int]:
    try:
        import numpy as np
        from tsdownsample import LTTBDownsampler, MinMaxDownsampler  # two methods need them, and most images neither
    except ImportError:
        raise DeclarationError(f"{rule.method.value} needs tsdownsample", hint="pip install 'wherry[score]'") from None
    if rule.method is Method.LTTB:
        found = LTTBDownsampler().downsample(np.array(times), np.array(values), n_out=max(rule.points, 3))  # type: ignore[no-untyped-call]
    else:
        found = MinMaxDownsampler().downsample(np.array(values), n_out=max(rule.points - rule.points % 2, 2))  # type: ignore[no-untyped-call]
    return [int(position) for position in found]
