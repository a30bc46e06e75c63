"""The grammar of ``[sweeps.NAME]``: one command with many parameters. A decoded table to `Sweep` values, checked one by one.

    [sweeps.depth]
    command = "python train.py --lr {lr} --depth {depth}"     words are split as a shell would, before parameters come in
    grid = { lr = [0.1, 0.01], depth = [2, 4, 8] }            each with each
    list = [{ lr = 0.1, depth = 2 }, { lr = 0.2, depth = 4 }]
    csv = "parameters.csv"                                    the first line names the parameters
    random = { count = 50, seed = 1, lr = { low = 1e-4, high = 1e-1, log = true }, kind = ["a", "b"] }

Rules: every key but `command` is optional; an unknown key is an error with the nearest known one; each ``{name}`` of the command is
a parameter or ``{task}``. Where a grid, a list or CSV and random draws stand together, each goes with each.
"""

from __future__ import annotations

import csv
import math
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from wherry.declare.paths import relative_path
from wherry.declare.sweep_inputs import parse_inputs
from wherry.declare.targets import check_known, parse_data, parse_limits, parse_time, parse_variables, read_own_table
from wherry.errors import DeclarationError
from wherry.formats.object_address import AddressError, parse_address
from wherry.model.sweep import DEADLINE, Axis, Draw, Parameters, Sweep, Value, list_placeholders

_KEYS = (
    *("command", "grid", "list", "csv", "random", "keep", "env", "data", "inputs", "state"),
    *("cpus", "memory", "gpus", "time", "retries", "concurrency", "workers", "price-per-hour", "max-cost", "deadline"),
)
_MOST_TASKS = 10_000_000
_T = TypeVar("_T")
_DRAW = ("low", "high", "log", "integer")


def read_sweeps(root: Path) -> dict[str, Sweep]:
    """The sweeps of the project at `root`."""
    table, origin = read_own_table(root)
    return {sweep.name: sweep for sweep in parse_sweeps(table.get("sweeps", {}), origin, root)}


def read_sweep(root: Path, name: str | None, said: Mapping[str, Any]) -> Sweep | None:
    """One sweep of the project at `root`, or one that it does not know, with what was `said` in place of what is written; None
    where neither says a command."""
    table, origin = read_own_table(root)
    written = table.get("sweeps", {})
    own = written.get(name, {}) if isinstance(written, Mapping) and name else {}
    if not own and "command" not in said:
        return None
    where = f"{origin}: sweeps.{name}" if own else "--"
    return parse_sweep(name or "sweep", {**own, **said} if isinstance(own, Mapping) else own, where, root)


def parse_sweeps(table: object, origin: str, root: Path) -> tuple[Sweep, ...]:
    """Check ``[sweeps]``. `origin` names the file in every `DeclarationError`; a CSV is read below `root`."""
    if not isinstance(table, Mapping):
        raise DeclarationError("not a table", where=f"{origin}: sweeps", hint="[sweeps.NAME]")
    return tuple(parse_sweep(name, value, f"{origin}: sweeps.{name}", root) for name, value in table.items())


def parse_sweep(name: str, table: object, where: str, root: Path) -> Sweep:
    """Check one sweep."""
    if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii() or not name[0].isalnum() or len(name) > 40:
        raise DeclarationError(f"{name!r} cannot be the name of a sweep", where=where, hint="letters, digits, and - _ inside")
    if not isinstance(table, Mapping):
        raise DeclarationError("not a table", where=where, hint=f"[sweeps.{name}]")
    check_known(table, _KEYS, where)
    parameters = _parse_parameters(table, where, root)
    return Sweep(
        name=name,
        command=parse_template(table.get("command"), parameters, f"{where}.command"),
        parameters=parameters,
        limits=parse_limits({key: table.get(key) for key in ("cpus", "memory", "gpus", "time")}, where),
        retries=_parse_count(table.get("retries", 0), f"{where}.retries", least=0),
        concurrency=_parse_optional(table, "concurrency", where, _parse_count),
        workers=_parse_optional(table, "workers", where, _parse_count),
        keep=_parse_texts(table.get("keep", []), f"{where}.keep"),
        env=parse_variables(table.get("env", {}), f"{where}.env"),
        data=parse_data(table.get("data", []), f"{where}.data"),
        inputs=parse_inputs(table.get("inputs", []), parameters.names, f"{where}.inputs", root),
        price=_parse_optional(table, "price-per-hour", where, _parse_money),
        max_cost=_parse_optional(table, "max-cost", where, _parse_money),
        deadline=parse_time(table.get("deadline"), f"{where}.deadline") or DEADLINE,
        state=_parse_optional(table, "state", where, _parse_state),
    )


def parse_template(value: object, parameters: Parameters, where: str) -> tuple[str, ...]:
    """The command: a text, split as a shell would, or a list of words."""
    try:
        words = tuple(shlex.split(value)) if isinstance(value, str) else tuple(value) if isinstance(value, list) else ()
    except ValueError as error:
        raise DeclarationError(f"{value!r}: {error}", where=where, hint="a list of words needs no quotes") from error
    if not words or not all(isinstance(word, str) for word in words):
        raise DeclarationError("which command?", where=where, hint='command = "python train.py --lr {lr}"')
    known = {*parameters.names, "task"}
    try:
        unknown = [name for name in list_placeholders(words) if name not in known]
    except ValueError as error:
        what = f"a brace that is no parameter's in {str(error)[:100]!r}"
        raise DeclarationError(what, where=where, hint="{name} for a parameter, {{ and }} for braces") from error
    if unknown:
        raise DeclarationError(f"no parameter {unknown[0]!r}", where=where, hint=", ".join(sorted(known)))
    return words


def _parse_parameters(table: Mapping[str, Any], where: str, root: Path) -> Parameters:
    axes = _parse_grid(table.get("grid", {}), f"{where}.grid")
    if "list" in table and "csv" in table:
        raise DeclarationError("both a list and a CSV", where=where, hint="one of them")
    columns, rows = _parse_list(table["list"], f"{where}.list") if "list" in table else ((), ())
    if "csv" in table:
        columns, rows = read_table(root / relative_path(table["csv"], f"{where}.csv"), f"{where}.csv")
    draws, count, seed = _parse_random(table["random"], f"{where}.random") if "random" in table else ((), 1, 0)
    found = Parameters(axes=axes, columns=columns, rows=rows, draws=draws, count=count, seed=seed)
    twice = [name for name in found.names if found.names.count(name) > 1 or name == "task"]
    if twice:
        raise DeclarationError(f"{twice[0]!r} is given twice", where=where, hint="another name")
    if not 0 < len(found) <= _MOST_TASKS:
        raise DeclarationError(f"{len(found)} tasks", where=where, hint=f"at least one, at most {_MOST_TASKS:,}")
    return found


def _parse_grid(table: object, where: str) -> tuple[Axis, ...]:
    if not isinstance(table, Mapping):
        raise DeclarationError("not a table", where=where, hint="grid = { lr = [0.1, 0.01] }")
    return tuple(
        Axis(name=_parse_name(name, where), values=_parse_values(values, f"{where}.{name}")) for name, values in table.items()
    )


def _parse_list(value: object, where: str) -> tuple[tuple[str, ...], tuple[tuple[Value, ...], ...]]:
    if not isinstance(value, list) or not value or not all(isinstance(row, Mapping) for row in value):
        raise DeclarationError("not a list of tables", where=where, hint="list = [{ lr = 0.1 }, { lr = 0.2 }]")
    names = tuple(_parse_name(name, where) for name in value[0])
    for position, row in enumerate(value):
        if set(row) != set(names):
            raise DeclarationError("other parameters than the first one's", where=f"{where}[{position}]", hint=", ".join(names))
    rows = (tuple(_parse_value(row[name], f"{where}[{position}].{name}") for name in names) for position, row in enumerate(value))
    return names, tuple(rows)


def read_table(path: Path, where: str) -> tuple[tuple[str, ...], tuple[tuple[Value, ...], ...]]:
    """Parameters from a CSV: names in the first line, then a line for each task. Values are texts, as they stand there."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [line for line in csv.reader(file, strict=True) if line]
    except OSError as error:
        raise DeclarationError(f"{path.name} cannot be read: {error.strerror}", where=where) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DeclarationError(f"{path.name} is no CSV: {error}", where=where) from error
    if not lines:
        raise DeclarationError(f"{path.name} is empty", where=where, hint="the first line names the parameters")
    names = tuple(_parse_name(name.strip(), where) for name in lines[0])
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(names):
            raise DeclarationError(f"{len(line)} values for {len(names)} parameters", where=f"{path.name}: row {number}")
    return names, tuple(map(tuple, lines[1:]))


def _parse_random(table: object, where: str) -> tuple[tuple[Draw, ...], int, int]:
    if not isinstance(table, Mapping) or not isinstance(table.get("seed", 0), int):
        raise DeclarationError(
            "not a table", where=where, hint="random = { count = 50, lr = { low = 1e-4, high = 0.1, log = true } }"
        )
    count = _parse_count(table.get("count"), f"{where}.count")
    draws = tuple(_parse_draw(name, value, f"{where}.{name}") for name, value in table.items() if name not in ("count", "seed"))
    if not draws:
        raise DeclarationError("nothing to draw", where=where, hint="lr = { low = 1e-4, high = 0.1 }")
    return draws, count, table.get("seed", 0)


def _parse_draw(name: str, value: object, where: str) -> Draw:
    _parse_name(name, where)
    if isinstance(value, list):
        return Draw(name=name, values=_parse_values(value, where))
    if not isinstance(value, Mapping):
        raise DeclarationError(
            "neither values nor a range", where=where, hint='["a", "b"] or { low = 1, high = 8, integer = true }'
        )
    check_known(value, _DRAW, where)
    low, high = value.get("low"), value.get("high")
    log, integer = value.get("log", False), value.get("integer", False)
    kinds = int if integer is True else (int, float)
    for bound in (low, high):
        if isinstance(bound, bool) or not isinstance(bound, kinds):
            raise DeclarationError(f"{bound!r} is no bound", where=where, hint="low and high, whole numbers where integer = true")
    assert isinstance(low, int | float) and isinstance(high, int | float)  # noqa: S101, PT018
    if not low < high or (log is True and low <= 0):
        raise DeclarationError(f"nothing lies from {low} to {high}", where=where, hint="low < high, and 0 < low where log = true")
    return Draw(name=name, low=float(low), high=float(high), log=log is True, integer=integer is True)


def _parse_name(name: object, where: str) -> str:
    if not isinstance(name, str) or not name.replace("-", "_").isidentifier() or not name.isascii():
        raise DeclarationError(f"{name!r} cannot be the name of a parameter", where=where, hint="letters, digits, - and _")
    return name


def _parse_values(values: object, where: str) -> tuple[Value, ...]:
    if not isinstance(values, list) or not values:
        raise DeclarationError("not a list of values", where=where, hint="[0.1, 0.01]")
    return tuple(_parse_value(value, where) for value in values)


def _parse_value(value: object, where: str) -> Value:
    if not isinstance(value, str | int | float | bool) or "\0" in str(value) or value in (math.inf, -math.inf) or value != value:
        raise DeclarationError(f"{value!r} is neither text nor number", where=where)
    return value


def _parse_count(value: object, where: str, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _MOST_TASKS:
        raise DeclarationError(f"{value!r} is no number of them", where=where, hint=f"a whole number from {least}")
    return value


def _parse_money(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
        raise DeclarationError(f"{value!r} is no amount of money", where=where, hint="such as 0.35")
    return float(value)


def _parse_text(value: object, where: str) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise DeclarationError(f"{value!r} is no text", where=where)
    return value


def _parse_state(value: object, where: str) -> str:
    text = _parse_text(value, where)
    try:
        if "://" in text:
            parse_address(text)
    except AddressError as error:
        raise DeclarationError(error.what, where=where, hint=error.hint) from None
    return text


def _parse_texts(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise DeclarationError("not a list", where=where, hint='["*.pkl"]')
    return tuple(_parse_text(text, where) for text in value)


def _parse_optional(table: Mapping[str, Any], key: str, where: str, parse: Callable[[object, str], _T]) -> _T | None:
    return parse(table[key], f"{where}.{key}") if key in table else None
