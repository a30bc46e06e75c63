"""Which engine is taken when several, one or none is usable."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.engines.fakes import Fake
from wherry.engines.choice import NAMES, find_engine, make_engine
from wherry.errors import EngineError, UsageError


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path)}


def install(tmp_path: Path, name: str, *, works: bool) -> None:
    """All fakes of one folder share their answers, so each gets its own folder and a link."""
    fake = Fake.make(tmp_path / name, name)
    fake.answer(("", "1.0\n", "it is broken\n", 0 if works else 1))
    (tmp_path / "bin").mkdir(exist_ok=True)
    (tmp_path / "bin" / name).symlink_to(tmp_path / name / name)


def test_podman_before_docker_before_bubblewrap(tmp_path: Path, env: dict[str, str]) -> None:
    install(tmp_path, "bwrap", works=True)
    assert find_engine(None, env).name == "bubblewrap"
    install(tmp_path, "docker", works=True)
    assert find_engine(None, env).name == "docker"
    install(tmp_path, "podman", works=True)
    assert find_engine(None, env).name == "podman"


def test_what_does_not_work_is_passed_over(tmp_path: Path, env: dict[str, str]) -> None:
    install(tmp_path, "podman", works=False)
    install(tmp_path, "docker", works=True)
    assert find_engine(None, env).name == "docker"


def test_what_was_named_is_not(tmp_path: Path, env: dict[str, str]) -> None:
    install(tmp_path, "podman", works=False)
    install(tmp_path, "docker", works=True)
    with pytest.raises(EngineError, match="podman is not usable: it is broken"):
        find_engine("podman", env)
    with pytest.raises(EngineError, match="podman is not usable"):
        find_engine(None, env | {"WHERRY_ENGINE": "podman"})
    assert find_engine("docker", env | {"WHERRY_ENGINE": "podman"}).name == "docker"


def test_none_is_usable(env: dict[str, str]) -> None:
    with pytest.raises(EngineError) as caught:
        find_engine(None, env)
    for name in ("podman", "docker", "bubblewrap"):
        assert f"{name} is not installed" in caught.value.what
    assert caught.value.hint == "apt install bubblewrap"


def test_names(env: dict[str, str]) -> None:
    assert [make_engine(name, env).name for name in NAMES] == list(NAMES)
    with pytest.raises(UsageError, match="no engine 'lxc'"):
        make_engine("lxc", env)
