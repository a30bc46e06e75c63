"""A scoring service's settings as one line of JSON, the value of ``WHERRY_SCORE``, and back.

It runs in images, where nothing but this interpreter is sure to be: no library is used. What was left as it is by default is not
written, so that a new default needs no new image.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from enum import Enum
from typing import Any, TypeVar

from wherry.errors import FormatError
from wherry.model.scoring import SETTINGS, Broker, Method, MqttModule, Reduction, ScoreService

_T = TypeVar("_T")


def render_service(service: ScoreService) -> str:
    """The settings without those that are the default."""
    return json.dumps(_render(service), sort_keys=True, separators=(",", ":"))


def parse_service(text: str) -> ScoreService:
    """Read what `render_service` gave. Somebody may have changed it by hand: a `FormatError` says what is wrong."""
    try:
        value: Any = json.loads(text)
    except ValueError as error:
        raise FormatError(f"not JSON: {error}", where=SETTINGS) from None
    return _parse(ScoreService, value, "", {"mqtt": _parse_module})


def _parse_module(value: object, where: str) -> MqttModule:
    inner: dict[str, Callable[[Any, str], Any]] = {
        "broker": _parse_broker,
        "upstream": _parse_broker,
        "reductions": _parse_reductions,
    }
    return _parse(MqttModule, value, where, inner)


def _parse_broker(value: object, where: str) -> Broker:
    return _parse(Broker, value, where, {})


def _parse_reductions(value: object, where: str) -> tuple[Reduction, ...]:
    if not isinstance(value, list):
        raise FormatError("not a list", where=f"{SETTINGS}: {where}")
    return tuple(
        _parse(Reduction, one, f"{where}[{number}]", {"method": _parse_method, "fields": _parse_texts})
        for number, one in enumerate(value)
    )


def _parse_method(value: object, where: str) -> Method:
    try:
        return Method(value)
    except ValueError:
        raise FormatError(f"{value!r} is no method", where=f"{SETTINGS}: {where}") from None


def _parse_texts(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise FormatError("not a list of texts", where=f"{SETTINGS}: {where}")
    return tuple(value)


def _parse(kind: type[_T], value: object, where: str, inner: dict[str, Callable[[Any, str], Any]]) -> _T:
    place = f"{SETTINGS}: {where}" if where else SETTINGS
    if not isinstance(value, dict):
        raise FormatError("not an object", where=place)
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(value) - known.keys()):
        raise FormatError(f"unknown: {', '.join(unknown)}", where=place, hint=f"one of {', '.join(known)}")
    if missing := [name for name, field in known.items() if field.default is MISSING and name not in value]:
        raise FormatError(f"lacks {', '.join(missing)}", where=place)
    found = {}
    for name, one in value.items():
        path = f"{where}.{name}".lstrip(".")
        found[name] = inner[name](one, path) if name in inner else _check(one, known[name], f"{SETTINGS}: {path}")
    return kind(**found)


def _check(value: Any, field: Field[Any], place: str) -> Any:
    """Numbers where numbers are wanted, texts elsewhere; annotations are texts here."""
    if any(word in str(field.type) for word in ("int", "float")):
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise FormatError(f"{value!r} is no number", where=place)
    elif not isinstance(value, str):
        raise FormatError(f"{value!r} is no text", where=place)
    return value


def _render(value: Any) -> dict[str, Any]:
    shown = {field.name: getattr(value, field.name) for field in fields(value) if getattr(value, field.name) != field.default}
    return {name: _render_one(one) for name, one in shown.items()}


def _render_one(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [_render_one(one) for one in value]
    return _render(value) if hasattr(value, "__dataclass_fields__") else value
