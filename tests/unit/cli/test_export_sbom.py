"""`wherry export sbom` as a person types it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from wherry.cli.export import register
from wherry.errors import LockError, UsageError

LOCK = Path(__file__).parents[2] / "vectors/image/wherry.lock"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "wherry.toml").write_text('name = "anomaly"\n')
    shutil.copy(LOCK, tmp_path)
    return tmp_path


def export(project: Path, *words: str) -> Result:
    app = typer.Typer()
    register(app)
    return CliRunner().invoke(app, ["export", "sbom", "--project", str(project), *words])


def test_to_stdout_and_into_a_file(project: Path, tmp_path: Path) -> None:
    done = export(project, "--platform", "linux/amd64")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["spdxVersion"] == "SPDX-2.3"
    assert export(project, "--platform", "linux/amd64").stdout == done.stdout
    target = tmp_path / "anomaly.cdx.json"
    assert export(project, "--platform", "linux/amd64", "--format", "cyclonedx", "-o", str(target)).exit_code == 0
    document = json.loads(target.read_bytes())
    assert document["specVersion"] == "1.6"
    assert document["metadata"]["component"]["name"] == "anomaly"


def test_without_a_lock(project: Path) -> None:
    (project / "wherry.lock").unlink()
    assert isinstance(export(project).exception, LockError)


def test_of_several_platforms_one_must_be_named(project: Path) -> None:
    assert isinstance(export(project).exception, UsageError)
    assert export(project, "--platform", "linux/arm/v7").exit_code == 0
    assert isinstance(export(project, "--platform", "linux/s390x").exception, LockError)
    head, mark, rest = (project / "wherry.lock").read_text().partition("[[platform]]")
    (project / "wherry.lock").write_text(f"{head}{mark}{rest.partition(mark)[0]}")
    assert export(project).exit_code == 0
