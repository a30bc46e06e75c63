"""The example: what it answers without a model and without its packages; trained for real where packages can be had."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import require_tool

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "iot-anomaly"


def score(folder: Path, readings: str, python: str = sys.executable) -> tuple[list[dict[str, object]], str]:
    """Answers and talk. Without `python`, by this one, which has none of the example's packages."""
    done = subprocess.run(
        [python, "-B", folder / "score.py"], input=readings, capture_output=True, text=True, check=True, timeout=300
    )
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A fresh clone of the example: without a model that somebody trained in the checkout."""
    copy = tmp_path / "iot-anomaly"
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("*.pkl", "__pycache__", "wherry.lock"))
    return copy


def test_without_a_model_the_rule_answers_and_says_so(project: Path) -> None:
    answers, talk = score(project, '{"date": "2026-07-14", "temp_max": 3.5, "temp_min": -1}\n\n')
    assert [(answer["anomaly"], answer["by"]) for answer in answers] == [(True, "monthly rule")]
    assert "no trained model" in talk


def test_without_input_it_scores_examples(project: Path) -> None:
    answers, talk = score(project, "")
    assert [answer["anomaly"] for answer in answers] == [False, False, True]
    assert "nothing on stdin" in talk


@pytest.mark.parametrize(
    "reading",
    [
        "no JSON",
        "3",
        "{}",
        '{"date": "2026-02-30", "temp_max": 1, "temp_min": 1}',
        '{"date": "2026-02-03", "temp_max": NaN, "temp_min": 1}',
        '{"date": "2026-02-03", "temp_max": null, "temp_min": 1}',
    ],
)
def test_a_bad_reading_is_answered_and_the_next_one_too(project: Path, reading: str) -> None:
    answers, _ = score(project, reading + '\n{"date": "2026-02-03", "temp_max": 9, "temp_min": 4}\n')
    assert list(answers[0]) == ["error"]
    assert answers[1]["anomaly"] is False


def test_a_list_gives_a_list(project: Path) -> None:
    answers, _ = score(project, "[]\n")
    assert answers == [[]]


def test_a_broken_model_is_an_error(project: Path) -> None:
    (project / "models" / "model.pkl").write_bytes(b"")
    with pytest.raises(subprocess.CalledProcessError):
        score(project, "")


def test_the_model_is_declared_optional_and_neither_it_nor_a_lock_is_committed() -> None:
    declared = tomllib.loads((EXAMPLE / "wherry.toml").read_text())
    assert declared["models"] == [{"path": "models/model.pkl", "optional": True}]
    committed = subprocess.run(["git", "ls-files", "."], cwd=EXAMPLE, capture_output=True, text=True, check=True).stdout.split()
    assert {Path(name).suffix for name in committed} <= {".py", ".md", ".toml", ".txt", ""}


@pytest.mark.network
def test_training_is_deterministic_and_scored_by_the_model(project: Path, tmp_path: Path) -> None:
    uv = Path(sys.executable).with_name("uv")
    if not uv.exists():
        require_tool("uv")
    environment = tmp_path / "venv"
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, environment], check=True)
    python = environment / "bin" / "python"
    subprocess.run([uv, "pip", "install", "-q", "--python", python, "-r", project / "requirements.txt"], check=True)
    train = [python, "-B", project / "train.py", "--output", "-"]
    models = [
        subprocess.run(
            [*train, "--seed", seed], check=True, capture_output=True, env={**os.environ, "PYTHONHASHSEED": hashing}
        ).stdout
        for seed, hashing in (("1", "0"), ("1", "7"), ("2", "0"))
    ]
    assert models[0] == models[1] != models[2]
    assert len(models[0]) < 10_000
    (project / "models" / "model.pkl").write_bytes(models[0])
    answers, _ = score(project, "", str(python))
    assert [(answer["anomaly"], answer["by"]) for answer in answers] == [(flag, "model, seed 1") for flag in (False, False, True)]
