"""What the quick way to a job understands, and what it leaves to the command proper."""

from __future__ import annotations

from pathlib import Path

import pytest

from wherry.cli import front, run
from wherry.cli.quick_job import find_call


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ("--on local train.py --lr 0.1", "train.py --lr 0.1"),
        ("--on local -- train.py -d", "train.py -d"),
        ("--on big -- --odd", "--odd"),
        ("--on local -d train.py", None),
        ("--on local", None),
        ("--on local --", None),
        ("--on=local train.py", None),
        ("--on podman train.py", None),
        ("-d --on local train.py", None),
        ("--on", None),
        ("", None),
    ],
)
def test_calls(words: str, command: str | None, tmp_path: Path) -> None:
    (tmp_path / "wherry.toml").write_text('[targets.big]\nbackend = "local"\n')
    found = find_call(words.split(), tmp_path)
    assert (None if found is None else " ".join(found[1])) == command


def test_a_wrong_wherry_toml_is_left_to_the_command(tmp_path: Path) -> None:
    (tmp_path / "wherry.toml").write_text("[targets.big]\nbackend = 3\n")
    assert find_call(["--on", "big", "x"], tmp_path) is None


def test_both_ways_begin_the_same_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[object] = []

    def take(*arguments: object) -> int:
        begun.append(arguments)
        return 7

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("wherry.cli.quick_job.run_job", take)
    monkeypatch.setattr("wherry.cli.run_job.run_job", take)
    assert front._run(["run", "--on", "local", "train.py", "--lr", "1"]) == 7
    monkeypatch.setattr("wherry.cli.quick_job.find_call", lambda *_: None)
    assert front._run(["run", "--on", "local", "train.py", "--lr", "1"]) == 7
    assert begun[0] == begun[1]
    assert run.find_target("local", None, None, tmp_path) == begun[0][0]  # type: ignore[index]
