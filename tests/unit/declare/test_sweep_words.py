"""A sweep on a command line: the table that its words mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from wherry.declare.sweep_words import parse_draws, parse_grid, parse_list, parse_value
from wherry.declare.sweeps import parse_sweep, read_sweep
from wherry.errors import UsageError
from wherry.model.sweep import Value


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("-2", -2), ("1e-4", 1e-4), ("0.10", 0.1), ("true", True), ("a=b", "a=b"), ("1_0", "1_0"), (" 1", " 1"), ("", "")],
)
def test_values(text: str, value: Value) -> None:
    found = parse_value(text)
    assert (found, type(found)) == (value, type(value))


def test_the_same_as_a_table(tmp_path: Path) -> None:
    words = {
        "command": ["x", "{lr}", "{k}", "{n}"],
        "grid": parse_grid(["lr=0.1,0.01"]),
        "random": parse_draws(["n=1..8,integer", "w=1e-4..1e-1,log", "k=a,b"], 3, 5),
    }
    table = {
        "command": "x {lr} {k} {n}",
        "grid": {"lr": [0.1, 0.01]},
        "random": {
            "n": {"low": 1, "high": 8, "integer": True},
            "w": {"low": 1e-4, "high": 0.1, "log": True},
            "k": ["a", "b"],
            "count": 3,
            "seed": 5,
        },
    }
    assert parse_sweep("s", words, "x", tmp_path) == parse_sweep("s", table, "x", tmp_path)
    assert parse_list(["a=1,b=x", "a=2,b=y"]) == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]


def test_what_is_no_pair() -> None:
    for parse in (parse_grid, parse_list):
        with pytest.raises(UsageError, match="NAME=VALUE"):
            parse(["lr"])


def test_what_is_said_counts_before_what_is_written(tmp_path: Path) -> None:
    (tmp_path / "wherry.toml").write_text('[sweeps.a]\ncommand = "x {lr}"\ngrid.lr = [1]\nretries = 2\n')
    found = read_sweep(tmp_path, "a", {"grid": {"lr": [1, 2]}, "cpus": 2.0})
    assert found is not None
    assert (len(found.parameters), found.retries, found.limits.cpus) == (2, 2, 2.0)
    assert read_sweep(tmp_path, "b", {}) is None
    fresh = read_sweep(tmp_path, None, {"command": ["true"]})
    assert fresh is not None
    assert (fresh.name, len(fresh.parameters)) == ("sweep", 1)
