"""Which image `wherry run` takes, when it builds, and what it does not take for its own options."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tests.engines.images import layer_bytes, put_image
from tests.unit.engines.fakes import Fake
from wherry.cli import run, shell
from wherry.errors import EngineError, UsageError, WherryError
from wherry.pipeline import Project
from wherry.store.disk import DiskStore


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "anomaly"
    folder.mkdir()
    (folder / "requirements.txt").write_text("")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("WHERRY_STORE", str(tmp_path / "store"))
    return folder


@pytest.fixture
def podman(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    fake = Fake.make(tmp_path / "bin", "podman")
    fake.answer(("info", "4.3.1\n", "", 0), ("run", "", "", 5))
    monkeypatch.setenv("PATH", str(fake.folder))
    monkeypatch.delenv("WHERRY_ENGINE", raising=False)
    return fake


def call(*arguments: str) -> int:
    app = typer.Typer()
    app.callback()(lambda: None)
    run.register(app)
    shell.register(app)
    result = CliRunner().invoke(app, list(arguments))
    if isinstance(result.exception, WherryError):
        raise result.exception
    return result.exit_code


def put(tmp_path: Path, name: str = "anomaly:latest") -> None:
    put_image(DiskStore(tmp_path / "store"), name, [layer_bytes([])], entrypoint=["/go"])


def test_the_projects_image_is_not_built_twice(
    project: Path, podman: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path)
    monkeypatch.setattr(Project, "build", lambda *_: pytest.fail("built"))
    assert call("run") == 5


def test_the_projects_image_is_built_when_there_is_none(
    project: Path, podman: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Built:
        name = "anomaly:latest"

    def build(self: Project) -> type[Built]:
        assert self.root.resolve() == project
        put(tmp_path)
        return Built

    monkeypatch.setattr(Project, "build", build)
    assert call("run", "python", "-m", "app") == 5


@pytest.mark.parametrize("dashes", [[], ["--"]])
def test_the_commands_options_are_its_own(project: Path, podman: Fake, tmp_path: Path, dashes: list[str]) -> None:
    put(tmp_path, "other:1")
    assert call("run", "--image", "other:1", "-e", "A=1", *dashes, "python", "-e", "-v", "--image", "x", "--help") == 5
    argv = podman.argvs()[-1]
    assert argv[argv.index("--entrypoint") + 1] == "python"
    assert argv[-5:] == ["-e", "-v", "--image", "x", "--help"]


def test_wrong_options_are_refused_before_anything_starts(project: Path, podman: Fake) -> None:
    with pytest.raises(UsageError):
        call("run", "-v", "x", "true")
    with pytest.raises(UsageError):
        call("run", "--on", "lxc", "true")
    assert call("run", "--no-such-option") == 2
    assert podman.calls() == []


def test_shell_needs_busybox(project: Path, podman: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path)
    monkeypatch.setattr("wherry.engines.busybox._PLACES", ())
    with pytest.raises(EngineError, match="busybox"):
        call("shell")


def test_a_terminal_cannot_be_forced(project: Path, podman: Fake, tmp_path: Path) -> None:
    put(tmp_path)
    with pytest.raises(UsageError, match="-t needs a terminal"):
        call("run", "-t", "true")
