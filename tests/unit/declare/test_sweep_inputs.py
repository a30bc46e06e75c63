"""``[[sweeps.NAME.inputs]]``: what is understood, and what is refused with a way out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wherry.declare.sweeps import parse_sweeps
from wherry.errors import DeclarationError
from wherry.model.sweep import SweepInput

ONE, TWO = "1" * 64, "2" * 64


def parse(*inputs: dict[str, Any], root: Path = Path()) -> tuple[SweepInput, ...]:
    table = {"command": "train.py", "grid": {"fold": [0, 1]}, "inputs": list(inputs)}
    (sweep,) = parse_sweeps({"deep": table}, "wherry.toml", root)
    return sweep.inputs


def test_a_file_a_folder_and_one_for_each_task(tmp_path: Path) -> None:
    (tmp_path / "d.sha256").write_text(f"{ONE}  ./0/a b\n{TWO} *1/a b\n")
    found = parse(
        {"from": "az://data/train.parquet", "to": "./train.parquet", "sha256": f"sha256:{ONE}"},
        {"from": "s3://bucket/all/", "to": "all/"},
        {"from": "gs://bucket/{fold}/a b", "to": "fold", "manifest": "d.sha256"},
        root=tmp_path,
    )
    assert [(one.source, one.target) for one in found] == [
        ("az://data/train.parquet", "train.parquet"),
        ("s3://bucket/all/", "all"),
        ("gs://bucket/{fold}/a b", "fold"),
    ]
    assert [one.digests for one in found] == [(("train.parquet", ONE),), (), (("0/a b", ONE), ("1/a b", TWO))]
    assert found[2].address_of({"fold": "1", "task": "1"}) == "gs://bucket/1/a b"


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"from": "az://data/x?sig=hunter2", "to": "x"}, "AZURE_STORAGE_SAS_TOKEN"),
        ({"from": "https://a.blob.core.windows.net/c/x?sig=hunter2", "to": "x"}, "AZURE_STORAGE_SAS_TOKEN"),
        ({"from": "s3://hunter2@b/x", "to": "x"}, "AWS_"),
        ({"from": "data/x", "to": "x"}, "az://"),
        ({"from": "az://data/{nope}", "to": "x"}, "no parameter 'nope'"),
        ({"from": "az://data/{", "to": "x"}, "brace"),
        ({"from": "az://data/x", "to": "../x"}, "leaves"),
        ({"from": "az://data/x", "to": "/x"}, "not a path"),
        ({"from": "az://data/x"}, "to what"),
        ({"to": "x"}, "from what"),
        ({"from": "az://data/x", "to": "x", "sha": ONE}, "sha256 instead"),
        ({"from": "az://data/x", "to": "x", "sha256": "abc"}, "64 hexadecimal"),
        ({"from": "az://data/", "to": "x", "sha256": ONE}, "manifest"),
        ({"from": "az://data/{fold}", "to": "x", "sha256": ONE}, "manifest"),
        ({"from": "az://data/x", "to": "x", "manifest": "missing"}, "cannot be read"),
        ({"from": "az://data/x", "to": "x", "manifest": "bad"}, "bad: line 2"),
        ({"from": "az://data/x", "to": "x", "manifest": "escape"}, "escape: line 1"),
        ({"from": "az://data/x", "to": "x", "manifest": "empty"}, "empty"),
        ({"from": "az://data/x", "to": "x", "manifest": "twice"}, "twice: line 2"),
    ],
)
def test_what_is_refused(tmp_path: Path, table: dict[str, Any], says: str) -> None:
    (tmp_path / "bad").write_text(f"{ONE}  a\n{ONE} b\n")
    (tmp_path / "escape").write_text(f"{ONE}  ../a\n")
    (tmp_path / "twice").write_text(f"{ONE}  a\n{TWO}  ./a\n")
    (tmp_path / "empty").write_text("")
    with pytest.raises(DeclarationError) as caught:
        parse(table, root=tmp_path)
    assert says in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("places", [("x", "x"), ("x", "./x/y"), ("x/y", "x")])
def test_two_at_one_place(places: tuple[str, str]) -> None:
    with pytest.raises(DeclarationError, match="one place"):
        parse(*({"from": "az://data/x", "to": place} for place in places))


@pytest.mark.parametrize(
    "name", ["AWS_SECRET_ACCESS_KEY", "AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_CONNECTION_STRING", "hf_token"]
)
def test_a_credential_is_no_variable_of_a_sweep(name: str) -> None:
    with pytest.raises(DeclarationError, match="credential") as caught:
        parse_sweeps({"deep": {"command": "true", "env": {name: "hunter2"}}}, "wherry.toml", Path())
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("state", ["az://sweeps/p?sig=hunter2", "s3://me:hunter2@bucket/p"])
def test_a_credential_is_no_part_of_the_state_s_address(state: str) -> None:
    with pytest.raises(DeclarationError, match="does not belong") as caught:
        parse_sweeps({"deep": {"command": "true", "state": state}}, "wherry.toml", Path())
    assert "hunter2" not in str(caught.value)


def test_other_variables_are() -> None:
    names = {"TOKENIZERS_PARALLELISM": "false", "AWS_ACCESS_KEY_ID": "id", "SORT_KEY": "a"}
    (sweep,) = parse_sweeps({"deep": {"command": "true", "env": names}}, "wherry.toml", Path())
    assert dict(sweep.env) == names
