"""What all tests share: private store and cache, and the rule that in CI a missing tool is a failure."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tools.conda_channel.debian_records import make_debian_records

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def cannot_run(reason: str) -> None:
    """Skip, and say why; in CI fail instead."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def require_tool(*names: str) -> None:
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        cannot_run(f"not installed: {', '.join(missing)} (tools/setup.sh engines)")


@pytest.fixture(autouse=True)
def private_places(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches the store or the cache of the person who runs it."""
    home = tmp_path_factory.mktemp("places")
    monkeypatch.setenv("WHERRY_STORE", str(home / "store"))
    monkeypatch.setenv("WHERRY_CACHE", str(home / "cache"))
    monkeypatch.setenv("WHERRY_ENVS", str(home / "envs"))
    monkeypatch.setenv("WHERRY_JOBS", str(home / "jobs"))


@pytest.fixture
def shared_data() -> Path:
    """Real files of other projects; they lie beside the checkout and are never copied into it."""
    if not SHARED_DATA.is_dir():
        pytest.skip("no shared data beside this checkout")
    return SHARED_DATA


@pytest.fixture(scope="session")
def conda_records(request: pytest.FixtureRequest) -> Callable[[str], list[Path]]:
    """Archives of a real Python and its libraries for conda, by subdir. Made once and kept in pytest's cache: needs `network`."""
    cache = request.config.cache
    assert cache is not None
    return lambda subdir: make_debian_records(cache.mkdir("conda-channel"), subdir)
