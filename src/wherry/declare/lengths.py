"""Sizes and lengths of time as an author writes them in the table ``[score]``."""

from __future__ import annotations

import re

from wherry.errors import DeclarationError

_SIZE = re.compile(r"([0-9]{1,9})\s*(|[KMG]i?B)")
_TIME = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)\s*(ms|s|m|h)")
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_size(text: str, where: str) -> int:
    """``64KiB``, ``1MB`` (powers of 1024 both) or bytes; not nothing."""
    found = _SIZE.fullmatch(text)
    if found is None or not int(found[1]):
        raise DeclarationError(f"{text!r} is not a size", where=where, hint='"1MiB"')
    return int(found[1]) * _UNITS[found[2][:1]]


def parse_time(text: str, where: str) -> float:
    """``5ms``, ``60s``, ``5m`` or ``1h`` in seconds."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise DeclarationError(f"{text!r} is not a time", where=where, hint='"5ms", "60s", "5m"')
    return float(found[1]) * _SECONDS[found[2]]
