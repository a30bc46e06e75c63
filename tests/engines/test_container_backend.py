"""The contract of backends, in real podman and docker, and with bubblewrap alone."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.conftest import cannot_run, require_tool
from tests.engines.images import busybox_entries, layer_bytes, put_image
from tests.unit.run.backend_contract import BackendContract
from wherry.engines.choice import make_engine
from wherry.errors import JobError, UsageError
from wherry.formats.tar import directory_entry
from wherry.model.job import DataFolder, Job, Limits
from wherry.run.backends.container import ContainerBackend
from wherry.run.launch import pick_runnable
from wherry.run.port import Backend
from wherry.store.disk import DiskStore

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("engines")]


@pytest.fixture(scope="session", params=["bubblewrap", "podman", "docker"])
def engine_place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Mapping[str, str], Path]:
    """An engine's name, its surroundings, and a store with a tiny image."""
    home = tmp_path_factory.mktemp("jobs")
    places = {"WHERRY_STORE": str(home / "store"), "WHERRY_CACHE": str(home / "cache")}
    if request.param == "bubblewrap":
        require_tool("bwrap")
        env: Mapping[str, str] = {**os.environ, **places}
    else:
        env = {**request.getfixturevalue(f"{request.param}_engine").env, **places}
    info = make_engine(request.param, env).probe()
    if not info.usable:
        cannot_run(f"{request.param}: {info.reason}")
    layers = [layer_bytes(busybox_entries()), layer_bytes([directory_entry("app")])]
    put_image(DiskStore(home / "store"), "tiny:latest", layers, workdir="/app")
    return request.param, env, home / "store"


class TestContainer(BackendContract):
    @pytest.fixture
    def backend(self, engine_place: tuple[str, Mapping[str, str], Path]) -> Callable[[], Backend]:
        name, env, place = engine_place
        store = DiskStore(place)
        return lambda: ContainerBackend(
            env, name, lambda: (store, *pick_runnable(store, "tiny"), "sha256:" + "0" * 64), network="none"
        )

    def test_what_it_says_of_the_image(self, backend: Callable[[], Backend]) -> None:
        prepared = backend().up()
        assert prepared.lock == "sha256:" + "0" * 64
        assert prepared.image is not None

    def test_data_that_is_not_there(self, backend: Callable[[], Backend], job: Callable[..., Job]) -> None:
        with pytest.raises(JobError, match="no such folder"):
            backend().submit(job("true", data=(DataFolder(path="absent"),)), (0,))

    def test_limits_hold(
        self, backend: Callable[[], Backend], job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)  # where memory ends, podman's monitor leaves a file "oom" in the folder it was started in
        # A shell that doubles a text of its own until it has no more memory, or has 256 MiB of it.
        script = "t=0123456789abcdef; while [ ${#t} -lt 268435456 ]; do t=$t$t; done; echo whole"
        here, one = backend(), job(script, limits=Limits(cpus=1, memory=64 << 20))
        assert self.run(here, one).exit_code != 0
        assert self.told(here, one) == ""

    def test_a_container_goes_with_its_job(
        self, backend: Callable[[], Backend], job: Callable[..., Job], engine_place: tuple[str, Mapping[str, str], Path]
    ) -> None:
        name, env, _ = engine_place
        one = job("true")
        self.run(backend(), one)
        if name == "bubblewrap":
            left = [path.name for path in Path(env["WHERRY_CACHE"], "containers").iterdir()]
        else:
            listed = subprocess.run([name, "ps", "--all", "--format", "{{.Names}}"], env=dict(env), capture_output=True, check=True)
            left = listed.stdout.decode().split()
        assert not [container for container in left if one.id in container]


def test_containerd_is_refused() -> None:
    with pytest.raises(UsageError, match="containerd"):
        ContainerBackend({}, "containerd")
