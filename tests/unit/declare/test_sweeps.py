"""``[sweeps.NAME]``: what is understood, and what is refused with a way out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wherry.declare.sweeps import parse_sweeps, read_sweeps
from wherry.errors import DeclarationError
from wherry.model.job import Limits
from wherry.model.sweep import Axis, Sweep

COMMAND = "train.py --lr {lr}"
GRID = {"lr": [0.1, 0.01]}


def parse(root: Path = Path(), **table: Any) -> Sweep:
    (sweep,) = parse_sweeps({"depth": {"command": COMMAND, **table}}, "wherry.toml", root)
    return sweep


def test_every_key() -> None:
    more: dict[str, Any] = {"price-per-hour": 0.5, "max-cost": 3, "deadline": "2h", "keep": ["*.pkl"], "state": "s3://b/p"}
    found = parse(
        grid=GRID,
        cpus=2,
        memory="1GiB",
        gpus=1,
        time="1m",
        retries=2,
        concurrency=3,
        workers=4,
        env={"A": 1},
        data=["d:rw"],
        **more,
    )
    assert found.limits == Limits(cpus=2, memory=1 << 30, gpus="1", seconds=60)
    assert (found.retries, found.concurrency, found.workers, found.keep) == (2, 3, 4, ("*.pkl",))
    assert (found.price, found.max_cost, found.deadline, found.state) == (0.5, 3.0, 7200.0, "s3://b/p")
    assert (found.env, found.data[0].writable) == ((("A", "1"),), True)
    assert found.parameters.axes == (Axis(name="lr", values=(0.1, 0.01)),)


def test_words_stay_words() -> None:
    found = parse(command="sh -c 'echo {lr} {{x}}' {task} --a={b}", grid={"lr": ["a b", "{b}"], "b": [True]})
    assert [found.command_of(index) for index in range(2)] == [
        ("sh", "-c", "echo a b {x}", "0", "--a=true"),
        ("sh", "-c", "echo {b} {x}", "1", "--a=true"),
    ]
    assert parse(command=["python", "{lr}"], grid=GRID).command_of(1) == ("python", "0.01")


def test_a_csv(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text('lr,name\n0.1,"a, b"\n0.20,c\n', encoding="utf-8-sig")
    found = parse(tmp_path, csv="p.csv")
    assert [found.parameters.at(index) for index in range(2)] == [{"lr": "0.1", "name": "a, b"}, {"lr": "0.20", "name": "c"}]


def test_random_ones_are_drawn_alike_again_and_within_their_bounds() -> None:
    draw = {"low": 1e-4, "high": 0.1, "log": True}
    table = {"count": 200, "seed": 7, "lr": draw, "n": {"low": 2, "high": 4, "integer": True}, "k": ["a", "b"]}
    rows = [parse(random=table).parameters.at(index) for index in range(200)]
    assert rows == [parse(random=table).parameters.at(index) for index in range(200)]
    assert rows != [parse(random={**table, "seed": 8}).parameters.at(index) for index in range(200)]
    assert all(1e-4 <= float(row["lr"]) <= 0.1 for row in rows)
    assert sum(float(row["lr"]) < 3.2e-3 for row in rows) > 60
    assert {row["n"] for row in rows} == {2, 3, 4}
    assert {row["k"] for row in rows} == {"a", "b"}


def test_kinds_of_parameters_go_with_each_other() -> None:
    found = parse(list=[{"a": 1}, {"a": 2}], grid={"lr": [0.1, 0.2], "b": ["x"]}, random={"count": 2, "c": ["z"]}).parameters
    assert len(found) == 8
    assert [(row["a"], row["lr"]) for row in map(found.at, range(0, 8, 2))] == [(1, 0.1), (1, 0.2), (2, 0.1), (2, 0.2)]
    with pytest.raises(IndexError):
        found.at(8)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({}, "no parameter 'lr'"),
        ({"command": None}, "which command"),
        ({"command": "train.py '{lr}"}, "No closing quotation"),
        ({"command": "x {"}, "brace"),
        ({"command": "x {lr!r}", "grid": GRID}, "brace"),
        ({"command": "x {}", "grid": GRID}, "brace"),
        ({"grid": GRID, "retires": 1}, "retries instead of retires"),
        ({"grid": {"lr": []}}, "not a list of values"),
        ({"grid": {"lr": [float("nan")]}}, "neither text nor number"),
        ({"grid": {"lr": [[1]]}}, "neither text nor number"),
        ({"grid": {"a b": [1]}}, "name of a parameter"),
        ({"grid": GRID, "list": [{"lr": 1}]}, "twice"),
        ({"grid": {"lr": [1], "task": [1]}}, "twice"),
        ({"grid": {"lr": list(range(4000)), "b": list(range(4000))}}, "16000000 tasks"),
        ({"list": [{"lr": 1}, {"l": 1}]}, "other parameters"),
        ({"list": []}, "not a list of tables"),
        ({"csv": "none.csv"}, "cannot be read"),
        ({"csv": "../x.csv"}, "csv"),
        ({"random": {"count": 3}}, "nothing to draw"),
        ({"random": {"count": 0, "lr": [1]}}, "no number"),
        ({"random": {"count": 1, "lr": {"low": 2, "high": 1}}}, "nothing lies"),
        ({"random": {"count": 1, "lr": {"low": 0, "high": 1, "log": True}}}, "nothing lies"),
        ({"random": {"count": 1, "lr": {"low": 0.5, "high": 1, "integer": True}}}, "no bound"),
        ({"random": {"count": 1, "lr": {"low": 0.5, "hihg": 1}}}, "high instead of hihg"),
        ({"grid": GRID, "retries": -1}, "no number"),
        ({"grid": GRID, "price-per-hour": 0}, "no amount of money"),
        ({"grid": GRID, "state": ""}, "no text"),
    ],
)
def test_refused(table: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(DeclarationError) as caught:
        parse(tmp_path, **table)
    assert said in str(caught.value)
    assert str(caught.value).startswith("wherry.toml: sweeps.depth")


def test_names_and_rows_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="name of a sweep"):
        parse_sweeps({"a b": {}}, "wherry.toml", tmp_path)
    for text, said in (("", "empty"), ("lr\n1,2\n", "2 values"), ("a\udc80", "no CSV")):
        (tmp_path / "p.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(DeclarationError, match=said):
            parse(tmp_path, csv="p.csv")


def test_they_are_read_from_the_project(tmp_path: Path) -> None:
    (tmp_path / "wherry.toml").write_text(f'[sweeps.a]\ncommand = "{COMMAND}"\ngrid.lr = [1]\n[sweeps.b]\ncommand = "true"\n')
    assert {name: len(sweep.parameters) for name, sweep in read_sweeps(tmp_path).items()} == {"a": 1, "b": 1}
