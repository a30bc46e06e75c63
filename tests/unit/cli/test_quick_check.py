"""A check without options takes a short way; it says what the command proper says, to the byte."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tests.unit.check.trees import system
from tests.unit.cli.test_check import BROKEN, store_image
from tests.unit.cli.test_check import app as app
from wherry.cli.quick_check import check_quickly
from wherry.errors import DeclarationError, StoreError


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "Tiny"
    folder.mkdir()
    (folder / "requirements.txt").write_text("six\n")
    monkeypatch.chdir(folder)
    return folder


SILENCE = "[[check.ignore]]\nrule = 'missing-library'\nreason = 'so'\n"


@pytest.mark.parametrize("words", [[], ["--json"], ["tiny"], ["--json", "."], ["tiny", "--json"]])
@pytest.mark.parametrize("settings", ["", SILENCE, "[check]\nsize-budget = 1\n"])
def test_it_says_the_same(
    app: typer.Typer, project: Path, capsys: pytest.CaptureFixture[str], words: list[str], settings: str
) -> None:
    store_image(system(), BROKEN)
    (project / "wherry.toml").write_text(settings)
    code = check_quickly(words)
    quick = capsys.readouterr()
    done = CliRunner().invoke(app, ["check", *words], catch_exceptions=False)
    assert (code, quick.out, quick.err) == (done.exit_code, done.stdout, done.stderr)
    assert "tiny" in quick.out


@pytest.mark.parametrize("words", [["--strict"], ["a", "b"], ["tiny", "--files"], ["--jsno"], [""], ["--", "tiny"], ["-h"]])
def test_what_has_more_to_it_is_for_the_command(words: list[str]) -> None:
    assert check_quickly(words) is None


def test_its_errors_are_those_of_the_command(project: Path) -> None:
    with pytest.raises(StoreError):
        check_quickly([])
    (project / "wherry.toml").write_text("nmae = 'x'\n")
    with pytest.raises(DeclarationError, match="unknown key 'nmae'"):
        check_quickly([])


def test_the_name_is_that_of_pyproject_where_none_is_written(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "pyproject.toml").write_text('[project]\nname = "Other.Name"\nversion = "1"\n')
    store_image(system(), name="other-name:latest")
    assert check_quickly([]) == 0
    assert capsys.readouterr().out.startswith("other-name  linux/amd64")
