"""Sweeps on the simulated Azure Batch, which prism holds to Azure's public description; Azurite has the state."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.engines.azure_services import run_batch
from tests.engines.azurite import Azurite, run_azurite
from tests.simulators.azure_batch import ACCOUNT, KEY, AzureBatch
from tests.unit.run.backend_contract import stands_still, wait_until
from tests.unit.run.sweep_backend_contract import SweepBackendContract, make_spec
from wherry.model.azure import AzurePool
from wherry.model.job import Job, JobState, Limits
from wherry.model.sweep import SweepSpec
from wherry.run.backends import azure_batch
from wherry.run.backends.azure_batch import AzureBatchBackend
from wherry.run.port import SweepBackend
from wherry.store.objects_open import open_objects

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("azure")]
PULL = f"registry.example/ml/trial@sha256:{'a' * 64}"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureBatch]:
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    with run_batch(tmp_path_factory.mktemp("batch"), lambda _image, _options, argv: argv, {"PATH": path}) as running:
        yield running


@pytest.fixture(scope="module")
def storage() -> Iterator[Azurite]:
    with run_azurite() as running:
        yield running


@pytest.fixture
def env(service: AzureBatch, storage: Azurite, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What a user would have in the shell: obstore reads it from there."""
    found = {**storage.env, "AZURE_BATCH_ACCOUNT": ACCOUNT, "AZURE_BATCH_ACCESS_KEY": KEY}
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(azure_batch, "_PAUSE", 0.05)
    monkeypatch.setattr(service.account, "behaviour", type(service.account.behaviour)())
    return {**os.environ, **found}


class TestAzureBatch(SweepBackendContract):
    """Workers of the contract are tasks here: the grain is TASKS."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return tmp_path / "sweeps"

    @pytest.fixture
    def said(self) -> list[str]:
        return []

    @pytest.fixture
    def spec(self, service: AzureBatch, tmp_path: Path) -> SweepSpec:
        pool = AzurePool(account=service.url, vm_size="Standard_D4s_v5", image="registry.example/ml/trial", nodes=2)
        spec = make_spec(tmp_path)
        sweep = replace(spec.sweep, command=("/bin/sh", str(tmp_path / "script")))
        return replace(spec, sweep=sweep, backend="azure-batch", azure=pool, pull=PULL)

    @pytest.fixture
    def backend(
        self, spec: SweepSpec, env: dict[str, str], said: list[str], request: pytest.FixtureRequest
    ) -> Iterator[Callable[..., AzureBatchBackend]]:
        store = open_objects(f"az://sweeps/{request.node.name[:40].replace('[', '-').strip('-')}", env)

        def make(of: SweepSpec = spec, **more: Any) -> AzureBatchBackend:
            return AzureBatchBackend(of, store, env, said.append, **more)

        yield make
        for resource in make().list_resources():
            make().release(resource)

    @pytest.fixture
    def worker(self, folder: Path, tmp_path: Path) -> Callable[..., Job]:
        def make(script: str, **more: object) -> Job:
            (tmp_path / "script").write_text(script)
            name = f"trial-1.{os.urandom(3).hex()}"
            values = {"id": name, "root": str(tmp_path), "folder": str(folder / name), "command": (), "limits": Limits(seconds=600)}
            labels = (("wherry-sweep", "trial-1"), ("wherry-owner", "me@here"), ("wherry-expires", "1"))
            return Job(**{**values, "labels": labels, **more})  # type: ignore[arg-type]

        return make

    def test_anybody_may_poll_and_cancel(
        self, backend: Callable[[], SweepBackend], worker: Callable[..., Job], tmp_path: Path
    ) -> None:
        """Batch ends at once what it ends: there is no grace to be asked for."""
        job = worker(f"echo up > {tmp_path}/up; while :; do echo >> {tmp_path}/beat; sleep 0.05; done")
        backend().submit(job, (0,))
        assert wait_until(lambda: (tmp_path / "up").exists())
        assert self.states(backend(), job) == [JobState.RUNNING]
        backend().cancel(job, 30)
        assert self.finish(backend(), job) == [JobState.CANCELLED]
        assert stands_still(tmp_path / "beat")
