"""uv as a program: found, asked where it would look, its failures in our words."""

from __future__ import annotations

import os
from pathlib import Path

from wherry.errors import LockError, TransferError
from wherry.model.declaration import IndexOptions
from wherry.sources.pip_configuration import plan_uv_settings
from wherry.sources.uv_program import ask_indexes, describe_indexes, explain_failure, find_uv, read_indexes


def test_it_is_found() -> None:
    assert Path(find_uv()).is_file()


def test_it_says_where_it_would_look(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    environment = {
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": "https://ada:s3cret@index.example/simple",
        "PIP_EXTRA_INDEX_URL": "https://two.example/simple",
        "PIP_FIND_LINKS": "wheels",
    }
    indexes = ask_indexes(plan_uv_settings(tmp_path, IndexOptions(), environment), tmp_path)
    assert set(indexes.urls) == {"https://ada:s3cret@index.example/simple", "https://two.example/simple"}
    assert indexes.find_links == ((tmp_path / "wheels").as_uri(),)
    assert "s3cret" not in describe_indexes(indexes)


def test_its_own_default_is_not_ours_to_know(tmp_path: Path) -> None:
    environment = {
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
        "PIP_CONFIG_FILE": os.devnull,
        "XDG_CONFIG_DIRS": str(tmp_path),
    }
    assert len(ask_indexes(plan_uv_settings(tmp_path, IndexOptions(), environment), tmp_path).urls) == 1


def test_its_configuration_file_counts(tmp_path: Path) -> None:
    (tmp_path / "uv.toml").write_text('[[index]]\nname = "own"\nurl = "https://own.example/simple"\ndefault = true\n')
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PIP_CONFIG_FILE": os.devnull}
    assert ask_indexes(plan_uv_settings(tmp_path, IndexOptions(), environment), tmp_path).urls == ("https://own.example/simple",)


def test_other_lines_are_no_indexes(tmp_path: Path) -> None:
    assert read_indexes("# comment\nhull==1.0\n    # via rope\n", tmp_path).urls == ()


def test_a_long_explanation_is_shortened() -> None:
    text = (
        "warning: x\nerror: No solution found when resolving dependencies\n  cause: Because a\n"
        + "         and b\n" * 50
        + "\nhint: try c\n"
    )
    error = explain_failure(text, offline=False)
    assert isinstance(error, LockError)
    assert error.what.splitlines()[:2] == ["the requirements cannot be met together:", "  Because a"]
    assert len(error.what.splitlines()) <= 13
    assert "more lines" in error.what
    assert error.hint == "try c"


def test_the_network_is_worth_another_try() -> None:
    text = "error: Failed to fetch: `https://ada:s3cret@index.example/simple/hull/`\n  cause: HTTP status server error (500)"
    error = explain_failure(text, offline=False)
    assert isinstance(error, TransferError)
    assert "s3cret" not in str(error)
    assert isinstance(explain_failure(text, offline=True), LockError)


def test_silence_is_a_failure_too() -> None:
    assert "did not say why" in explain_failure("", offline=False).what
