"""`wherry check --host` as a person types it: lines, documents and exit codes, with engines and servers that are made up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.simulators.registry import RegistrySimulator
from wherry.check import host_machine
from wherry.cli import check, check_host
from wherry.engines.port import EngineInfo
from wherry.errors import CheckError, UsageError


def run(*arguments: str) -> Any:
    app = typer.Typer()
    app.callback()(lambda: None)
    check.register(app)
    return app(["check", *arguments], standalone_mode=False)


@pytest.fixture(autouse=True)
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No index, no logins, and no engine but one that is always there."""
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.chdir(tmp_path)

    def probe(_machine: object, name: str) -> EngineInfo:
        return EngineInfo(name=name, usable=name == "bubblewrap", version="1", reason=f"{name} is not installed")

    monkeypatch.setattr(host_machine.ThisMachine, "probe_engine", probe)


def test_registries_of_the_project_and_of_logins_are_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with RegistrySimulator() as registry, RegistrySimulator() as other:
        (tmp_path / "requirements.txt").write_text("")
        (tmp_path / "wherry.toml").write_text(f'base = "{registry.host}/base:1"\nlayers-from = ["{registry.host}/a:1"]\n')
        (tmp_path / "docker").mkdir()
        (tmp_path / "docker/config.json").write_text(json.dumps({"auths": {f"https://{other.host}/v1/": {}}}))
        assert not run("--host", "--json")
        document = json.loads(capsys.readouterr().out)
        lines = {one["subject"]: one for one in document["findings"]}
        assert document["schema"] == 1
        assert lines[f"registry {registry.host}"]["what"] == f"{registry.host} answers; no login is kept for it"
        assert f"registry {other.host}" in lines
        assert "agrees with" in lines["clock"]["what"]
        assert document["counts"]["failing"] == 0
        assert not any(one.path.startswith("/v2/base") for one in registry.seen)
        run("--host", "--offline")
        assert "registry" not in capsys.readouterr().out


def test_what_is_failing_decides(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with RegistrySimulator() as gone:
        host = gone.host
    (tmp_path / "requirements.txt").write_text("")
    (tmp_path / "wherry.toml").write_text(f'base = "{host}/base:1"\n')
    assert run("--host") == CheckError.exit_code
    out = capsys.readouterr().out
    assert f"failing  registry {host}: {host}: connection failed" in out
    assert "1 failing" in out.splitlines()[-1]
    monkeypatch.setattr(check_host, "NAMES", ("podman",))
    assert run("--host", "--offline") == CheckError.exit_code
    assert "no container engine is usable" in capsys.readouterr().out


def test_it_is_a_check_of_its_own() -> None:
    with pytest.raises(UsageError, match="this machine alone"):
        run("--host", "--files")
