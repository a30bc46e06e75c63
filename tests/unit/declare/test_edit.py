"""Edits in the author's own files: what else stands there stays, to the byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from wherry.declare.edit import add_system_packages, replace_requirement
from wherry.errors import DeclarationError
from wherry.model.declaration import Requirement

LINE = 'system-packages = ["liba", "libb"]'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", f"{LINE}\n"),
        ('name = "x"  # mine\n', f'name = "x"  # mine\n{LINE}\n'),
        ('name = "x"', f'name = "x"\n{LINE}\n'),
        ('a = 1\n\n[env]\nb = "2"\n', f'a = 1\n\n{LINE}\n[env]\nb = "2"\n'),
        ('system-packages = [\n  "libb",  # why\n]\nname = "x"\n', f'{LINE}\nname = "x"\n'),
        ('system-packages = ["liba"] # kept\n', f"{LINE} # kept\n"),
    ],
)
def test_adding_packages(tmp_path: Path, before: str, after: str) -> None:
    if before:
        (tmp_path / "wherry.toml").write_text(before)
    add_system_packages(tmp_path, ["libb", "liba"])
    assert (tmp_path / "wherry.toml").read_text() == after


def test_a_declaration_in_pyproject_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.wherry]\nname = "x"\n')
    with pytest.raises(DeclarationError, match="not edited"):
        add_system_packages(tmp_path, ["liba"])
    assert not (tmp_path / "wherry.toml").exists()


def test_an_edit_that_would_say_something_else_is_refused(tmp_path: Path) -> None:
    text = 'name = """\nsystem-packages = ["decoy"]\n"""\n'
    (tmp_path / "wherry.toml").write_text(text)
    with pytest.raises(DeclarationError, match="safely"):
        add_system_packages(tmp_path, ["liba"])
    assert (tmp_path / "wherry.toml").read_text() == text


def test_replacing_a_requirement_keeps_the_rest_of_its_line(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_bytes(b"numpy\r\n  OpenCV_Python[x] >= 4 ; python_version > '3'  # see\r\nlxml\r\n")
    asked = [Requirement(text="opencv-python", name="opencv-python", where="requirements.txt:2")]
    replace_requirement(tmp_path, asked, "opencv-python", "opencv-python-headless")
    made = (tmp_path / "requirements.txt").read_bytes()
    assert made == b"numpy\r\n  opencv-python-headless[x] >= 4 ; python_version > '3'  # see\r\nlxml\r\n"


@pytest.mark.parametrize("where", ["pyproject.toml: project.dependencies[0]", "gone.txt:1", "requirements.txt:1"])
def test_what_is_asked_for_elsewhere_is_left(tmp_path: Path, where: str) -> None:
    (tmp_path / "requirements.txt").write_text("-r other.txt\n")
    asked = [Requirement(text="opencv-python", name="opencv-python", where=where)]
    assert replace_requirement(tmp_path, asked, "opencv-python", "opencv-python-headless") is None
    assert replace_requirement(tmp_path, [], "opencv-python", "opencv-python-headless") is None
    assert (tmp_path / "requirements.txt").read_text() == "-r other.txt\n"
