"""An entrypoint that serves a scoring script, and the table that says how."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.declare.projects import declare, write
from wherry.declare.draft import plan_choices, render_draft
from wherry.declare.entrypoint import is_scoring_script
from wherry.declare.fingerprint import declaration_digest
from wherry.errors import DeclarationError
from wherry.formats.scoring import parse_service
from wherry.model.scoring import ScoreService

SCORE = 'entrypoint = { score = "score.py" }\n'


def project(root: Path, text: str, **files: str) -> Path:
    (root / "score.py").parent.mkdir(parents=True, exist_ok=True)
    (root / "score.py").write_text("def run(raw): return raw\n")
    return write(root, wherry_toml=text, **files)


def test_a_script_to_be_served(tmp_path: Path) -> None:
    declared = declare(project(tmp_path, 'models = ["models/a/m.pkl", "models/b.onnx"]\nports = [9]\n' + SCORE))
    assert declared.entrypoint == ("python", "-m", "wherry.score", "score.py")
    assert declared.ports == ("9/tcp", "8080/tcp")
    assert declared.score == ScoreService(script="score.py")
    assert dict(declared.env)["AZUREML_MODEL_DIR"] == "/app/models"
    assert parse_service(dict(declared.env)["WHERRY_SCORE"]) == declared.score


def test_how_it_is_served(tmp_path: Path) -> None:
    table = '[score]\nport = 81\nmax-body = "2KiB"\nbatch = { size = 8, wait = "20ms" }\n[env]\nAZUREML_MODEL_DIR = "/elsewhere"\n'
    declared = declare(project(tmp_path, SCORE + table))
    assert declared.score == ScoreService(script="score.py", port=81, max_body=2048, batch_size=8, batch_wait=0.02)
    assert dict(declared.env)["AZUREML_MODEL_DIR"] == "/elsewhere"
    assert declared.ports == ("81/tcp",)


def test_the_lock_answers_for_the_runtime_and_not_for_its_settings(tmp_path: Path) -> None:
    served = declare(project(tmp_path / "a", SCORE))
    elsewhere = declare(project(tmp_path / "b", SCORE + "score = { port = 81 }\n"))
    without = declare(project(tmp_path / "c", ""))
    assert declaration_digest(served) == declaration_digest(elsewhere) != declaration_digest(without)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("score = { port = 81 }", "no entrypoint reads this table"),
        ("entrypoint = { score = 'nowhere.py' }", "nowhere.py: there is no such file"),
        ("entrypoint = { score = '../score.py' }", "leaves the project"),
        ("entrypoint = { scor = 'score.py' }", "entrypoint.score instead of entrypoint.scor"),
        ("entrypoint = { }", "entrypoint"),
        (SCORE + "score = { prt = 81 }", "score.port instead of score.prt"),
        (SCORE + "score = { port = 0 }", "score.port: 0 is not a port"),
        (SCORE + "score = { max-body = '0' }", "'0' is not a size"),
        (SCORE + "score = { batch = { size = 0 } }", "no size of a batch"),
        (SCORE + "score = { batch = { wait = '5' } }", "'5' is not a time"),
        (SCORE + "score = { batch = { wait = '1m' } }", "10s at most"),
        (SCORE + "score = { batch = { sice = 1 } }", "unknown field sice"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        declare(project(tmp_path, text))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("def init(): ...\ndef run(raw): ...\n", True),
        ("def run(raw): ...\n", False),
        ("class init: ...\ndef run(raw): ...\n", False),
        ("def init(:", False),
        ("\0", False),
        (None, False),
    ],
)
def test_a_scoring_script_is_known_by_its_functions_and_never_run(tmp_path: Path, text: str | None, found: bool) -> None:
    if text is not None:
        (tmp_path / "score.py").write_text(text + ("raise SystemExit\n" if found else ""))
    assert is_scoring_script(tmp_path / "score.py") == found


def test_init_says_that_it_could_be_served(tmp_path: Path) -> None:
    (tmp_path / "score.py").write_text("def init(): ...\ndef run(raw): ...\n")
    text = render_draft(plan_choices(declare(tmp_path)))
    assert 'It has init() and run(): { score = "score.py" } would serve it over HTTP.\nentrypoint = ["python", "score.py"]' in text
