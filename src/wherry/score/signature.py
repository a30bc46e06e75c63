"""What a script's functions take and give, by their annotations.

| annotation | what it is made of, or what is made of it |
|---|---|
| none, ``str`` | the text of the request, which has to be JSON; a text that is JSON already is an answer as it is |
| ``bytes`` | the request as it came |
| ``dict``, ``list``, ``Any`` | plain JSON |
| anything else | what pydantic makes of the JSON, and of the result |

A result without a type may also hold models of pydantic, and numpy's numbers and arrays.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import typing
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from wherry.errors import DeclarationError

Read = Callable[[bytes], Any]
Write = Callable[[Any], bytes]
_UNTYPED = (Any, str, bytes, dict, list, None, type(None))


def read_annotations(run: Callable[[Any], Any] | None, run_batch: Callable[[Any], Any] | None) -> tuple[Any, Any]:
    """What one reading and one result are, by their annotations; ``str`` and ``Any`` where there are none."""
    if run is not None:
        return _of_function(run)
    taken, given = _of_function(typing.cast("Callable[[Any], Any]", run_batch))
    return _of_list(taken, str), _of_list(given, Any)


def _of_function(function: Callable[[Any], Any]) -> tuple[Any, Any]:
    names = list(inspect.signature(function).parameters)
    hints = typing.get_type_hints(function, include_extras=True)
    return hints.get(names[0], str) if names else str, hints.get("return", Any)


def _of_list(hint: Any, otherwise: Any) -> Any:
    inner = typing.get_args(hint)
    return inner[0] if len(inner) == 1 else otherwise


def make_reader(takes: Any, path: Path) -> Read:
    """What turns a request into what the script takes; it raises where that cannot be."""
    if takes is bytes:
        return lambda body: body
    if takes is str:
        return _read_text
    if takes in (Any, dict, list):
        return json.loads
    read: Read = _adapter(takes, path).validate_json
    return read


def _read_text(body: bytes) -> str:
    text = body.decode("utf-8")
    json.loads(text, parse_constant=_refuse_constant)
    return text


def make_writer(gives: Any, path: Path) -> Write:
    """What makes JSON of what the script gives."""
    if gives in _UNTYPED or not _has_pydantic():
        return _write_plain
    write: Write = _adapter(gives, path).dump_json
    return write


def _write_plain(value: Any) -> bytes:
    if isinstance(value, str | bytes):
        with suppress(ValueError):
            json.loads(value, parse_constant=_refuse_constant)
            return value.encode() if isinstance(value, str) else value
    return json.dumps(value, default=_as_plain, allow_nan=False).encode()


def _refuse_constant(name: str) -> Any:
    raise json.JSONDecodeError(f"{name} is Python's alone", name, 0)


def _as_plain(value: Any) -> Any:
    for name in ("model_dump", "tolist"):  # pydantic's models; numpy's arrays and numbers
        if callable(convert := getattr(value, name, None)):
            return convert()
    raise TypeError(f"a {type(value).__name__} is nothing that JSON can say")


def _has_pydantic() -> bool:
    return importlib.util.find_spec("pydantic") is not None


def _adapter(hint: Any, path: Path) -> Any:
    try:
        from pydantic import TypeAdapter  # only scripts with types need it, and then it is among their own requirements
    except ImportError:
        raise DeclarationError(
            "run(…) has types, and pydantic is not there", where=str(path), hint="add pydantic to the requirements"
        ) from None
    return TypeAdapter(hint)


def describe_type(hint: Any, mode: str) -> dict[str, Any]:
    """The JSON Schema of what the script takes (`mode` ``validation``) or gives (``serialization``); empty: anything."""
    if hint in _UNTYPED or not _has_pydantic():
        return {}
    from pydantic import TypeAdapter
    from pydantic.json_schema import PydanticJsonSchemaWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PydanticJsonSchemaWarning)
        return TypeAdapter(hint).json_schema(mode=mode, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
