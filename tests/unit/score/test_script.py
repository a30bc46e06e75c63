"""What a scoring script may be written like, and what becomes of what it is given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.score.scripts import BATCHED, TYPED, load_script
from wherry.errors import DeclarationError
from wherry.score.script import Failure, Refusal
from wherry.score.signature import describe_type


def answers(folder: Path, text: str, *bodies: bytes) -> list[Any]:
    return [json.loads(one) if isinstance(one, bytes) else one for one in load_script(folder, text).score(bodies)]


@pytest.mark.parametrize(
    ("text", "body", "answer"),
    [
        ("def run(raw): return raw.upper()", b'"a"', "A"),  # a text that is JSON is taken as it is
        ("def run(raw): return 'no JSON'", b"1", "no JSON"),
        ("def run(raw): return 'NaN'", b"1", "NaN"),  # a text, and not Python's idea of JSON
        ("import json\ndef run(raw: str) -> str: return json.dumps({'n': json.loads(raw) + 1})", b"1", {"n": 2}),
        ("def run(data: dict): return data['a']", b'{"a": [1]}', [1]),
        ("def run(data: bytes): return len(data)", b"\xff\xfe", 2),
        ("def run(data: list[int]) -> int: return sum(data)", b"[1, 2]", 3),
        (
            "import numpy as np\ndef run(data: list): return {'m': np.mean(data), 'all': np.array(data)}",
            b"[1, 3]",
            {"m": 2.0, "all": [1, 3]},
        ),
        ("def run_batch(items: list[int]) -> list[int]: return [item + 1 for item in items]", b"1", 2),
        ("given = []\ndef init(): given.append(7)\ndef run(raw): return given[0]", b"0", 7),
    ],
)
def test_what_it_takes_and_gives(tmp_path: Path, text: str, body: bytes, answer: object) -> None:
    assert answers(tmp_path, text, body) == [answer]


@pytest.mark.parametrize(
    ("text", "body", "where", "what"),
    [
        ("def run(raw): return 1", b"{", ["body", 1], "not JSON: Expecting property name enclosed in double quotes"),
        ("def run(raw): return 1", b"\xff", ["body", 0], "not UTF-8"),
        ("def run(raw): return 1", b"[NaN]", ["body", 0], "not JSON: NaN is Python's alone"),
        ("def run(raw): return 1", b"[" * 100_000, ["body", 0], "nested too deeply, or a number too long"),
        ("def run(data: dict): return 1", b"", ["body", 0], "not JSON: Expecting value"),
        (TYPED, b'{"temp": []}', ["body", "temp"], "Input should be a valid number"),
        (TYPED, b"{}", ["body", "temp"], "Field required"),
    ],
)
def test_a_bad_reading_is_told_what_and_where(tmp_path: Path, text: str, body: bytes, where: list[object], what: str) -> None:
    (outcome,) = load_script(tmp_path, text).score([body])
    assert isinstance(outcome, Refusal)
    assert (outcome.detail[0]["loc"], outcome.detail[0]["msg"]) == (where, what)


@pytest.mark.parametrize(
    "end",
    ["raise RuntimeError('secret')", "raise SystemExit(3)", "raise KeyboardInterrupt", "return object()", "return float('nan')"],
)
def test_what_fails_is_told_in_the_log_alone(tmp_path: Path, end: str, capsys: pytest.CaptureFixture[str]) -> None:
    (outcome,) = load_script(tmp_path, f"def run(raw): {end}").score([b"1"])
    assert isinstance(outcome, Failure)
    assert f"score: the script failed ({outcome.id})" in capsys.readouterr().err
    assert "secret" not in repr(outcome)


def test_one_bad_reading_spoils_no_batch(tmp_path: Path) -> None:
    script = load_script(tmp_path, BATCHED)
    outcomes = script.score([b'{"temp": 31}', b"no", b'{"temp": 13}', b'{"temp": 1}'])
    assert outcomes[0] == b'{"hot":true}'
    assert isinstance(outcomes[1], Refusal)
    assert isinstance(outcomes[2], Failure)
    assert outcomes[3] == b'{"hot":false}'


def test_a_batch_that_gives_too_few_is_scored_one_by_one(tmp_path: Path) -> None:
    assert answers(tmp_path, "def run(raw): return 1\ndef run_batch(items): return [2]", b"0", b"0") == [1, 1]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("def score(raw): return 1", "has no run(data)"),
        ("async def run(raw): return 1", "run is async"),
    ],
)
def test_what_is_no_scoring_script(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(DeclarationError, match=what.replace("(", r"\(").replace(")", r"\)")):
        load_script(tmp_path, text)


def test_its_types_are_described(tmp_path: Path) -> None:
    script = load_script(tmp_path, TYPED)
    assert describe_type(script.takes, "validation")["properties"] == {"temp": {"title": "Temp", "type": "number"}}
    assert describe_type(load_script(tmp_path, "def run(raw): return 1").takes, "validation") == {}
