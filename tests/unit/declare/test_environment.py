"""Which file asks for the packages, and what of other tools is announced."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.declare.projects import ONE, declare, write_files
from wherry.errors import DeclarationError
from wherry.model.declaration import DebianBase, EnvironmentKind

UV_LOCK = "version = 1\nrequires-python = '>=3.11'\n[[package]]\nname = 'numpy'\n"
PYLOCK = "lock-version = '1.0'\ncreated-by = 'x'\npackages = []\n"
PROJECT = "[project]\nname = 'boat'\ndependencies = ['numpy>=2', 'boat[fast]']\n[project.optional-dependencies]\nfast = ['numba']\n"


def refusal(root: Path, files: dict[str, str | bytes]) -> str:
    with pytest.raises(DeclarationError) as caught:
        declare(write_files(root, files))
    return str(caught.value)


def test_the_first_that_is_there_is_read(tmp_path: Path) -> None:
    for name, text, kind in (
        ("pyproject.toml", PROJECT, EnvironmentKind.PYPROJECT),
        ("requirements.txt", "numpy", EnvironmentKind.REQUIREMENTS),
        ("pylock.toml", PYLOCK, EnvironmentKind.PYLOCK),
        ("uv.lock", UV_LOCK, EnvironmentKind.UV_LOCK),
    ):
        found = declare(write_files(tmp_path, {name: text})).environment
        assert found.kind is kind
        assert found.files[0] == name
    assert found.files == ("uv.lock", "pyproject.toml")


def test_an_extra_of_the_project_itself_stands_for_its_requirements(tmp_path: Path) -> None:
    found = declare(write_files(tmp_path, {"pyproject.toml": PROJECT})).environment
    assert [requirement.name for requirement in found.requirements] == ["numpy", "numba"]
    assert found.requirements[0].where == "pyproject.toml: project.dependencies[0]"


def test_named_files(tmp_path: Path) -> None:
    write_files(tmp_path, {"pylock.edge.toml": PYLOCK, "wherry.toml": "environment = 'pylock.edge.toml'"})
    assert declare(tmp_path).environment.kind is EnvironmentKind.PYLOCK
    write_files(
        tmp_path, {"reqs/prod.in": "numpy\n-r ../base.txt", "base.txt": "scipy", "wherry.toml": "environment = 'reqs/prod.in'"}
    )
    assert declare(tmp_path).environment.files == ("reqs/prod.in", "base.txt")


def test_an_index_of_uv_is_left_to_uv(tmp_path: Path) -> None:
    sources = "[tool.uv.sources]\nnumpy = [{ index = 'cpu', marker = \"sys_platform == 'linux'\" }]\n"
    assert len(declare(write_files(tmp_path, {"pyproject.toml": PROJECT + sources})).environment.requirements) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            PROJECT + "[tool.uv.sources]\nnumpy = { git = 'https://me:s3cret@git.example/x' }\nnumba = { path = '../n' }",
            "2 lines cannot",
        ),
        (PROJECT + "[tool.uv.sources]\nnumpy = { workspace = true }", "a workspace source is not fixed"),
        ("[project]\ndynamic = ['dependencies']", "dynamic"),
        ("[project]\ndependencies = 'numpy'", "not a list"),
        ("[project]\ndependencies = ['numpy ==']", "project.dependencies[0]"),
        ("[project]\ndependencies = ['x @ git+https://me:s3cret@git.example/x']", "x: version control"),
    ],
)
def test_pyproject_refusals(tmp_path: Path, text: str, said: str) -> None:
    message = refusal(tmp_path, {"pyproject.toml": text})
    assert said in message
    assert "s3cret" not in message


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ("a = [{include-group = 'b'}]\nb = [{include-group = 'a'}]", "a → b → a"),
        ("a = [{include-group = 'c'}]", "no group 'c'"),
        ("b = []", "no group 'a', there are: b"),
        ("a = [3]", "neither"),
        ("a = 'x'", "not a list"),
    ],
)
def test_groups_that_cannot_be_followed(tmp_path: Path, groups: str, said: str) -> None:
    own = "environment = { file = 'pyproject.toml', groups = ['a'] }"
    assert said in refusal(tmp_path, {"pyproject.toml": f"{PROJECT}[dependency-groups]\n{groups}", "wherry.toml": own})


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"uv.lock": "version = 9", "pyproject.toml": PROJECT}, "version 9"),
        ({"uv.lock": UV_LOCK}, "needs the pyproject.toml"),
        ({"uv.lock": "=", "pyproject.toml": PROJECT}, "not TOML"),
        ({"pylock.toml": "lock-version = '2.0'"}, "lock-version '2.0'"),
        ({"pylock.toml": "lock-version = '1.0'"}, "without packages"),
        ({"pylock.toml": b"\xff"}, "not UTF-8"),
        ({"environment.yml": "", "wherry.toml": "environment = 'environment.yml'"}, "empty"),
        ({"services.yml": "services: {}", "wherry.toml": "environment = 'services.yml'"}, "not an environment of conda"),
        ({"my-conda.yml": "name: x"}, 'environment = "my-conda.yml"'),
        ({"conda-lock.yml": ""}, "not a conda-lock.yml"),
        ({"pixi.lock": ""}, "no version; 4 to 7 are read"),
        ({"pixi.lock": "version: 3\n"}, "version 3; 4 to 7 are read"),
        ({"pixi.toml": "", "wherry.toml": "environment = 'pixi.toml'"}, "pixi lock"),
        ({"pixi.lock": "version: 6", "wherry.toml": "environment = {file = 'pixi.lock', groups = ['a', 'b']}"}, "one group"),
        ({"environment.yml": "name: x", "wherry.toml": "environment = {file = 'environment.yml', groups = ['a']}"}, "no groups"),
        ({"Pipfile": ""}, "pipenv"),
        ({"poetry.lock": "", "wherry.toml": "environment = 'poetry.lock'"}, "poetry export"),
        ({"pyproject.toml": "[tool.poetry.dependencies]\nnumpy = '*'"}, "poetry"),
    ],
)
def test_what_is_not_read_is_announced(tmp_path: Path, files: dict[str, str | bytes], said: str) -> None:
    message = refusal(tmp_path, files)
    assert said in message


def test_a_conda_file_beside_a_requirements_file_is_a_note(tmp_path: Path) -> None:
    found = declare(write_files(tmp_path, {"requirements.txt": f"numpy==1 --hash=sha256:{ONE}", "environment.yml": ""}))
    assert found.notes == ("environment.yml is conda's and not read, requirements.txt is",)


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("pixi.lock", "version: 6\nenvironments: {}\n", EnvironmentKind.PIXI_LOCK),
        ("conda-lock.yml", "# made by a program\nmetadata: {}\npackage: []\n", EnvironmentKind.CONDA_LOCK),
        ("environment.yml", "name: x", EnvironmentKind.CONDA),
        ("conda_dependencies.yml", "name: x", EnvironmentKind.CONDA),
        ("requirements.txt", "# platform: linux-64\n@EXPLICIT\nhttps://conda.example/x.conda", EnvironmentKind.CONDA_EXPLICIT),
    ],
)
def test_conda_s_files_are_found(tmp_path: Path, name: str, text: str, kind: EnvironmentKind) -> None:
    found = declare(write_files(tmp_path, {name: text}))
    assert (found.environment.kind, found.environment.files) == (kind, (name,))
    assert found.environment.kind.is_conda
    assert (found.python, str(found.base)) == (None, str(DebianBase(suite="bookworm")))
    (tmp_path / "conda.yml").write_text("name: y")
    again = declare(tmp_path)
    assert again.environment.kind is kind
    assert f"conda.yml is conda's and not read, {name} is" in again.notes


def test_no_environment_at_all_is_a_note(tmp_path: Path) -> None:
    assert "no packages" in declare(tmp_path).notes[0]
    assert "setup.py is not run" in declare(write_files(tmp_path, {"setup.py": "raise SystemExit"})).notes[0]
