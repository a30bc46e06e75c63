"""A sweep as it is written on a command line, as the table that ``[sweeps.NAME]`` would be.

    --grid lr=0.1,0.01     --list lr=0.1,depth=2     --draw lr=1e-4..0.1,log     --draw kind=a,b

A value that reads as a number, ``true`` or ``false`` is one; everything else is text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from wherry.errors import UsageError
from wherry.model.sweep import Value

_RANGE = re.compile(r"([^.,]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)\.\.([^,]+)((?:,(?:log|integer))*)")


def parse_grid(texts: Iterable[str]) -> dict[str, list[Value]]:
    """``NAME=VALUE,VALUE``, once for each parameter."""
    return {name: _parse_values(values) for name, values in (_split(text, "--grid") for text in texts)}


def parse_list(texts: Iterable[str]) -> list[dict[str, Value]]:
    """``NAME=VALUE,NAME=VALUE``, once for each task."""
    return [{name: parse_value(value) for name, value in (_split(pair, "--list") for pair in text.split(","))} for text in texts]


def parse_draws(texts: Iterable[str], count: int | None, seed: int) -> dict[str, Any]:
    """``NAME=LOW..HIGH[,log][,integer]`` or ``NAME=VALUE,VALUE``, once for each parameter."""
    found: dict[str, Any] = {"seed": seed} if count is None else {"seed": seed, "count": count}
    for text in texts:
        name, values = _split(text, "--draw")
        match = _RANGE.fullmatch(values)
        if match is None:
            found[name] = _parse_values(values)
        else:
            words = match[3].split(",")
            bounds = {"low": parse_value(match[1]), "high": parse_value(match[2])}
            found[name] = {**bounds, "log": "log" in words, "integer": "integer" in words}
    return found


def parse_value(text: str) -> Value:
    """A number where it reads as one and back again in few words, else a text."""
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text) if text.strip() == text and "_" not in text else text
        except ValueError:
            continue
    return text


def _parse_values(text: str) -> list[Value]:
    return [parse_value(value) for value in text.split(",")]


def _split(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"not NAME=VALUE: {text!r}", where=option, hint=f"{option} lr=0.1,0.01")
    return name, value
