"""`wherry init`: writes what would have been assumed, never over what is there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tests.unit.declare.projects import HOST, declare, write_files
from tests.unit.declare.test_azure import DOCKER, REMOTE, WORKBENCH
from tests.unit.declare.test_azure import folder as azure_folder
from tests.unit.declare.test_live import dist, venv
from tests.unit.declare.test_live_conda import prefix as conda_prefix
from tests.unit.declare.test_live_conda import record
from wherry.cli.init import register
from wherry.declare.defaults import Host
from wherry.declare.draft import plan_choices, render_draft
from wherry.declare.project import read_declaration
from wherry.errors import DeclarationError, UsageError
from wherry.model.declaration import ReferenceBase
from wherry.model.platform import Platform


def run(*arguments: str) -> tuple[str, str]:
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    result = CliRunner().invoke(app, ["init", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


PROJECTS: tuple[dict[str, str | bytes], ...] = (
    {},
    {"requirements.txt": "numpy\npandas", "main.py": "", "model.pkl": b"1"},
    {
        "pyproject.toml": "[project]\nname = 'Boat \"x\"'\ndependencies = ['numpy']\nrequires-python = '>=3.12'",
        "src/boat/__init__.py": "",
    },
    {f'models/ä "{number}".pkl': b"1" for number in range(6)},
    {"uv.lock": "version = 1\n", "pyproject.toml": "[project]\nname = 'boat'", ".python-version": "3.12"},
)


@pytest.mark.parametrize("files", PROJECTS)
@pytest.mark.parametrize("host", [HOST, Host(platform=Platform("linux", "arm64"), has_apt=False)])
def test_the_file_says_what_the_bare_folder_means(tmp_path: Path, files: dict[str, str | bytes], host: Host) -> None:
    bare = declare(write_files(tmp_path, files), host)
    write_files(tmp_path, {"wherry.toml": render_draft(plan_choices(bare))})
    assert replace(declare(tmp_path, host), notes=()) == replace(bare, origin="wherry.toml", notes=(), models_guessed=False)


def test_it_writes_once_and_explains(tmp_path: Path) -> None:
    write_files(tmp_path, {"requirements.txt": "numpy", "main.py": ""})
    stdout, _ = run(str(tmp_path))
    assert stdout == "wherry.toml\n"
    text = (tmp_path / "wherry.toml").read_text()
    assert '\n# What `wherry run` starts; found by its name.\nentrypoint = ["python", "main.py"]\n' in text
    assert read_declaration(tmp_path, {}).entrypoint == ("python", "main.py")
    (tmp_path / "wherry.toml").write_text("name = 'mine'")
    with pytest.raises(UsageError, match="already"):
        run(str(tmp_path))
    assert (tmp_path / "wherry.toml").read_text() == "name = 'mine'"
    run(str(tmp_path), "--force")
    assert (tmp_path / "wherry.toml").read_text() == text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["main.py", "requirements.txt", "wherry.toml"]


def test_a_table_in_pyproject_counts_as_declared(tmp_path: Path) -> None:
    write_files(tmp_path, {"pyproject.toml": "[tool.wherry]\nname = 'x'"})
    with pytest.raises(UsageError, match=r"tool\.wherry"):
        run(str(tmp_path))


def test_dry_run_and_json_write_nothing(tmp_path: Path) -> None:
    write_files(tmp_path, {"requirements.txt": "numpy"})
    stdout, _ = run(str(tmp_path), "--dry-run")
    assert stdout.startswith("--- wherry.toml\n# What `wherry init` found.")
    document = json.loads(run(str(tmp_path), "--dry-run", "--json")[0])
    assert document["schema"] == 1
    assert document["written"] == []
    assert {choice["key"] for choice in document["choices"]} >= {"name", "base", "environment"}
    assert [path.name for path in tmp_path.iterdir()] == ["requirements.txt"]


@pytest.mark.parametrize("named", [True, False])
def test_a_live_environment_with_and_without_a_prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool) -> None:
    editable = {"url": "file:///home/me/ed", "dir_info": {"editable": True}}
    prefix = venv(tmp_path, dist("numpy", "2.1.0"), dist("x", url={"url": "file:///x.whl"}), dist("ed", url=editable))
    root = write_files(tmp_path / "p", {"main.py": "", "environment.yml": "name: x"})
    monkeypatch.setenv("VIRTUAL_ENV", "/nowhere" if named else str(prefix))
    stdout, stderr = run(str(root), "--from-env", *([str(prefix)] if named else []))
    assert stdout == "requirements.txt\nwherry.toml\n"
    assert "1 kept, 1 changed, 1 impossible" in stderr
    assert "x 1.0: came from a file of this machine → x==1.0" in stderr
    assert "ed 1.0: an editable install" in stderr
    declared = read_declaration(root, {}, host=HOST)
    assert [requirement.text for requirement in declared.environment.requirements] == ["numpy==2.1.0", "x==1.0"]
    assert declared.python == "3.12"
    with pytest.raises(UsageError, match="already"):
        run(str(root), "--from-env", str(prefix))


def test_a_conda_prefix_becomes_an_environment_yml(tmp_path: Path) -> None:
    prefix = conda_prefix(tmp_path, record("numpy", "1.26.0", dists={"numpy": "1.26.0"}), dist("numpy", "1.26.4"), dist("flask"))
    root = write_files(tmp_path / "p", {"main.py": ""})
    stdout, stderr = run(str(root), "--from-env", str(prefix))
    assert stdout.split() == ["environment.yml", "wherry.toml"]
    assert "3 kept, 1 changed, 0 impossible" in stderr
    assert "changed     numpy 1.26.4: pip put it over conda's numpy 1.26.0: both are asked for → numpy==1.26.4" in stderr
    declared = read_declaration(root, {}, host=HOST)
    assert declared.environment.conda is not None
    assert [spec.text for spec in declared.environment.conda.specs] == ["numpy=1.26.0", "python=3.12.1"]
    assert [one.text for one in declared.environment.requirements] == ["flask==1.0", "numpy==1.26.4"]
    assert (declared.python, declared.environment.files) == ("3.12", ("environment.yml",))
    assert "python =" not in (root / "wherry.toml").read_text()


def test_a_folder_with_an_environment_yml(tmp_path: Path) -> None:
    text = "channels: [conda-forge]\ndependencies: [python=3.12, numpy, pip, {pip: [requests]}]\nvariables: {LEVEL: 1}\n"
    root = write_files(tmp_path / "p", {"environment.yml": text, "main.py": ""})
    bare = read_declaration(root, {}, host=HOST)
    run(str(root))
    written = (root / "wherry.toml").read_text()
    assert "3 packages of conda's and 1 requirement." in written
    assert "python =" not in written
    assert replace(read_declaration(root, {}, host=HOST), origin=bare.origin, platforms=bare.platforms, models_guessed=True) == bare


def test_an_azure_folder_becomes_a_wherry_toml(tmp_path: Path) -> None:
    root = azure_folder(tmp_path / "p", docker__runconfig=WORKBENCH, docker__compute=DOCKER, far__compute=REMOTE)
    stdout, stderr = run(str(root), "--from", "aml_config")
    assert stdout.split() == ["wherry.toml"]
    assert "impossible  password of far.compute: a credential is never copied" in stderr
    text = (root / "wherry.toml").read_text()
    assert (
        'targets = { docker = { type = "localdocker" }, far = { type = "remotedocker", address = "https://gpu.example", gpus'
        in text
    )
    assert "s3cret" not in text + stderr
    declared = read_declaration(root, {}, host=HOST)
    assert str(declared.base.reference if isinstance(declared.base, ReferenceBase) else "") == "docker.io/team/boat:2"
    assert (declared.python, declared.environment.files) == ("3.11", ("aml_config/conda_dependencies.yml",))
    assert (dict(declared.env)["LEVEL"], declared.volumes) == ("3", ("/azureml-share",))
    document = json.loads(run(str(root), "--from", "aml_config", "--json", "--dry-run")[0])
    assert {"what": "variable LEVEL", "why": "env"} in document["azure"]["kept"]
    with pytest.raises(UsageError, match="two ways"):
        run(str(root), "--from", "aml_config", "--from-env", ".venv")


def test_the_folder_may_follow_the_prefix(tmp_path: Path) -> None:
    prefix = venv(tmp_path, dist("numpy", "2.1.0"))
    root = write_files(tmp_path / "p", {"main.py": ""})
    document = json.loads(run("--from-env", str(prefix), "--json", "--dry-run", str(root))[0])
    assert document["environment"]["kept"] == [{"name": "numpy", "version": "2.1.0", "requirement": "numpy==2.1.0", "why": ""}]
    assert document["files"]["requirements.txt"].endswith("numpy==2.1.0\n")


def test_a_refused_environment_writes_nothing(tmp_path: Path) -> None:
    write_files(tmp_path, {"environment.yml": "name: x\nchanels: [y]"})
    with pytest.raises(DeclarationError, match=r"environment\.yml:2: unknown key 'chanels'"):
        run(str(tmp_path))
    with pytest.raises(DeclarationError, match="no such folder"):
        run(str(tmp_path), "--from-env", str(tmp_path / "nowhere"))
    assert [path.name for path in tmp_path.iterdir()] == ["environment.yml"]
    with pytest.raises(UsageError, match="no such folder"):
        run(str(tmp_path / "nowhere"))
