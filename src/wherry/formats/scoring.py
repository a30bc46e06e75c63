"""A scoring service's settings as one line of JSON, the value of ``WHERRY_SCORE``, and back.

It runs in images, where nothing but this interpreter is sure to be: no library is used. What was left as it is by default is not
written, so that a new default needs no new image.
"""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import Any

from wherry.errors import FormatError
from wherry.model.scoring import SETTINGS, ScoreService

_NAMES = frozenset(field.name for field in fields(ScoreService))


def render_service(service: ScoreService) -> str:
    """The settings without those that are the default."""
    usual = asdict(ScoreService(script=service.script))
    own = {key: value for key, value in asdict(service).items() if key == "script" or value != usual[key]}
    return json.dumps(own, sort_keys=True, separators=(",", ":"))


def parse_service(text: str) -> ScoreService:
    """Read what `render_service` gave. Somebody may have changed it by hand: a `FormatError` says what is wrong."""
    try:
        value: Any = json.loads(text)
    except ValueError as error:
        raise FormatError(f"not JSON: {error}", where=SETTINGS) from None
    if not isinstance(value, dict) or not isinstance(value.get("script"), str):
        raise FormatError("names no script", where=SETTINGS, hint='{"script": "score.py"}')
    if unknown := sorted(set(value) - _NAMES):
        raise FormatError(f"unknown: {', '.join(unknown)}", where=SETTINGS, hint=f"one of {', '.join(sorted(_NAMES))}")
    for name in ("port", "max_body", "batch_size", "batch_wait"):
        if name in value and (isinstance(value[name], bool) or not isinstance(value[name], int | float) or value[name] < 0):
            raise FormatError(f"{name} is no number", where=SETTINGS)
    return ScoreService(**value)
