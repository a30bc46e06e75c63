"""Sweeps on the simulated Azure Batch, which prism holds to Azure's public description; Azurite has the state."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.engines.azure_place import AzurePlace
from tests.simulators.azure_batch import KEY, AzureBatch
from tests.simulators.azure_batch_nodes import seconds_of
from tests.unit.run.backend_contract import ASLEEP, stands_still, wait_until
from tests.unit.run.sweep_backend_contract import SweepBackendContract, make_spec
from wherry.errors import EngineError, JobError, UsageError
from wherry.model.azure import AzurePool
from wherry.model.job import DataFolder, Job, JobState, Limits
from wherry.model.sweep import SweepSpec
from wherry.run.backends.azure_batch import AzureBatchBackend
from wherry.run.port import SweepBackend
from wherry.store.objects_memory import MemoryObjects
from wherry.store.objects_open import open_objects

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("azure")]
PULL = f"registry.example/ml/trial@sha256:{'a' * 64}"


@pytest.fixture
def service(azure_place: AzurePlace, azure_env: dict[str, str]) -> AzureBatch:
    return azure_place.service


def read_left(backend: AzureBatchBackend, name: str, attempt: int = 0) -> bytes | None:
    """What the first task left in the state."""
    held = backend._state.store.get(backend._state.attempt_key(0, attempt, name))
    return None if held is None else held.data


class TestAzureBatch(SweepBackendContract):
    """Workers of the contract are tasks here: the grain is TASKS."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return tmp_path / "sweeps"

    @pytest.fixture
    def said(self) -> list[str]:
        return []

    @pytest.fixture
    def name(self) -> str:
        """The job's, and the sweep's: by which a task knows itself."""
        return f"trial-1.{os.urandom(3).hex()}"

    @pytest.fixture
    def spec(self, service: AzureBatch, name: str, tmp_path: Path) -> SweepSpec:
        pool = AzurePool(account=service.url, vm_size="Standard_D4s_v5", image="registry.example/ml/trial", nodes=2)
        spec = make_spec(tmp_path)
        sweep = replace(spec.sweep, command=("/bin/sh", str(tmp_path / "script")))
        return replace(spec, id=name, sweep=sweep, backend="azure-batch", azure=pool, pull=PULL)

    @pytest.fixture
    def backend(
        self, spec: SweepSpec, azure_env: dict[str, str], said: list[str], request: pytest.FixtureRequest
    ) -> Iterator[Callable[..., AzureBatchBackend]]:
        store = open_objects(f"az://sweeps/{request.node.name[:40].replace('[', '-').strip('-')}", azure_env)

        def make(of: SweepSpec = spec, **more: Any) -> AzureBatchBackend:
            return AzureBatchBackend(of, store, azure_env, said.append, **more)

        yield make
        for resource in make().list_resources():
            make().release(resource)

    @pytest.fixture
    def worker(self, folder: Path, name: str, tmp_path: Path) -> Callable[..., Job]:
        def make(script: str, **more: object) -> Job:
            (tmp_path / "script").write_text(script)
            values = {"id": name, "root": str(tmp_path), "folder": str(folder / name), "command": (), "limits": Limits(seconds=600)}
            labels = (("wherry-sweep", "trial-1"), ("wherry-owner", "me@here"), ("wherry-expires", f"{time.time() + 600:.0f}"))
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

    # -- what tasks leave

    def test_what_a_task_leaves_is_in_the_state(
        self, backend: Callable[..., AzureBatchBackend], worker: Callable[..., Job], spec: SweepSpec
    ) -> None:
        script = """echo told; echo err >&2; echo '{"loss": 0.5}' >> "$WHERRY_METRICS"; mkdir -p "$WHERRY_OUTPUTS/deep"
        echo made > "$WHERRY_OUTPUTS/deep/model"; exit 3"""
        here, job = backend(), worker(script, attempt=2)
        job = replace(job, id=f"{job.id}.2")
        here.submit(job, (0,))
        assert wait_until(lambda: all(end.state.is_final for end in here.poll(job).values()))
        assert [(end.state, end.exit_code) for end in here.poll(job).values()] == [(JobState.FAILED, 3)]
        assert here.poll(replace(job, attempt=1)) == {}
        left = {name: read_left(here, name, 2) for name in ("stdout", "stderr", "metrics", "outputs/deep/model")}
        assert left == {
            "stdout": b"told\n",
            "stderr": b"err\n",
            "metrics": b'{"loss": 0.5}\n',
            "outputs/deep/model": b"made\n",
        }

    def test_a_hundred_and_one_tasks_are_two_requests_and_a_look_is_one(
        self, backend: Callable[..., AzureBatchBackend], worker: Callable[..., Job], spec: SweepSpec, service: AzureBatch
    ) -> None:
        wide = replace(spec, sweep=replace(spec.sweep, parameters=make_spec(Path("/"), tasks=101).sweep.parameters))
        here, job = backend(wide), worker(ASLEEP)
        here.submit(job, range(101))
        assert wait_until(
            lambda: any(task["state"] == "running" for task in service.account.tasks[job.id.replace(".", "-")].values())
        )
        service.account.seen.clear()
        assert len(here.poll(job)) == 101
        assert [line.partition("/jobs")[0] for line in service.account.seen] == ["GET "]
        here.submit(job, range(101))  # they are there: nothing is made, and nothing begins again
        assert len([line for line in service.account.seen if line.endswith("addtaskcollection")]) == 2
        assert len(here.poll(job)) == 101
        assert len(here.list_resources()) == 2

    def test_tasks_that_are_too_much_for_one_request_go_in_several(
        self, backend: Callable[..., AzureBatchBackend], worker: Callable[..., Job], service: AzureBatch
    ) -> None:
        here, job = backend(), worker("true", env=(("LONG", "x" * (400 << 10)),))
        service.account.behaviour.never_allocates = True
        here.submit(job, range(4))
        assert self.states(here, job) == [JobState.RUNNING] * 4

    # -- what the service does by itself

    def test_the_pool_goes_with_its_last_task_whoever_looks_on(
        self, backend: Callable[..., AzureBatchBackend], worker: Callable[..., Job], service: AzureBatch
    ) -> None:
        here, job = backend(), worker("true")
        here.submit(job, (0,))
        name = job.id.replace(".", "-")
        assert wait_until(lambda: service.account.jobs[name]["state"] == "completed")
        assert wait_until(lambda: not service.account.pools)
        retry = replace(job, id=f"{job.id}.1", attempt=1)
        retry = replace(retry, labels=(("wherry-expires", f"{time.time() + 60:.0f}"),))
        here.submit(retry, (0,))  # a job that has ended takes no task: there is another one, for what is left of the time
        limit = seconds_of(service.account.jobs[f"{name}-1"]["constraints"]["maxWallClockTime"])
        assert limit is not None
        assert 0 < limit < 100  # not the 600 s that a round has
        assert self.finish(backend(), retry) == [JobState.SUCCEEDED]
        assert {resource.round for resource in here.list_resources()} == {job.id}
        assert self.states(here, job) == [JobState.SUCCEEDED]

    def test_tasks_that_waited_when_time_was_up_wait_no_more(
        self, backend: Callable[..., AzureBatchBackend], worker: Callable[..., Job], tmp_path: Path
    ) -> None:
        here, job = backend(), worker(f"echo up > {tmp_path}/up; {ASLEEP}", limits=Limits(seconds=1.5))
        here.submit(job, range(5))
        assert wait_until((tmp_path / "up").exists)
        assert set(self.finish(here, job)) == {JobState.TIMED_OUT, JobState.CANCELLED}

    def test_a_spot_node_that_is_taken_away(
        self,
        backend: Callable[..., AzureBatchBackend],
        worker: Callable[..., Job],
        spec: SweepSpec,
        service: AzureBatch,
        tmp_path: Path,
    ) -> None:
        assert spec.azure is not None
        here = backend(replace(spec, azure=replace(spec.azure, nodes=0, spot_nodes=2)))
        job = worker(f'echo begun >> {tmp_path}/told; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; echo "$TASK_ATTEMPT"')
        here.submit(job, (0,))
        assert wait_until((tmp_path / "told").exists)
        service.account.preempt(next(iter(service.account.pools)))
        assert wait_until(lambda: (tmp_path / "told").read_text() == "begun\nbegun\n")
        (tmp_path / "go").touch()
        assert self.finish(here, job) == [JobState.SUCCEEDED]

    def test_a_service_that_is_busy_is_asked_again(
        self, backend: Callable[..., AzureBatchBackend], worker: Callable[..., Job], service: AzureBatch
    ) -> None:
        here, job = backend(), worker("true")
        service.account.behaviour.failures = [429]
        here.submit(job, (0,))
        service.account.behaviour.failures = [503]
        assert self.finish(here, job) == [JobState.SUCCEEDED]
        assert service.account.behaviour.failures == []

    # -- what keeps tasks from running

    @pytest.mark.parametrize(
        ("switch", "value", "code"), [("cores", 0, "AccountCoreQuotaReached"), ("pools", 0, "PoolQuotaReached")]
    )
    def test_a_quota_is_told_with_what_helps(
        self,
        backend: Callable[..., AzureBatchBackend],
        worker: Callable[..., Job],
        service: AzureBatch,
        switch: str,
        value: int,
        code: str,
    ) -> None:
        setattr(service.account.behaviour, switch, value)
        here, job = backend(), worker("true")
        here.submit(job, (0,))
        with pytest.raises(EngineError, match=code) as caught:
            wait_until(lambda: bool(here.poll(job)) and False)
        assert "quota" in str(caught.value.hint)

    def test_some_of_the_nodes_are_better_than_none(
        self, backend: Callable[..., AzureBatchBackend], worker: Callable[..., Job], service: AzureBatch, said: list[str]
    ) -> None:
        service.account.behaviour.cores = 1
        here, job = backend(), worker("true")
        here.submit(job, range(3))
        assert self.finish(here, job) == [JobState.SUCCEEDED] * 3
        assert len(service.account.seen) > 0

    def test_a_pool_that_is_never_finished(
        self, backend: Callable[..., AzureBatchBackend], worker: Callable[..., Job], service: AzureBatch
    ) -> None:
        service.account.behaviour.never_allocates = True
        here, job = backend(patience=0.3), worker("true")
        here.submit(job, (0,))
        assert self.states(here, job) == [JobState.RUNNING]
        with pytest.raises(EngineError, match="no node of Standard_D4s_v5 came"):
            wait_until(lambda: bool(here.poll(job)) and False)

    def test_a_start_task_that_fails_is_told_in_its_words(
        self, backend: Callable[..., AzureBatchBackend], worker: Callable[..., Job], spec: SweepSpec
    ) -> None:
        assert spec.azure is not None
        pool = replace(spec.azure, start_task=("echo no docker today >&2", "false"))
        here, job = backend(replace(spec, azure=pool)), worker("true")
        here.submit(job, (0,))
        with pytest.raises(EngineError, match="exit code 1\nno docker today"):
            wait_until(lambda: bool(here.poll(job)) and False)

    def test_nodes_that_install_docker_themselves(
        self, backend: Callable[..., AzureBatchBackend], worker: Callable[..., Job], spec: SweepSpec, azure_place: AzurePlace
    ) -> None:
        assert spec.azure is not None
        limits = replace(spec.sweep, limits=Limits(cpus=2, memory=1 << 30, seconds=300))
        here = backend(replace(spec, sweep=limits, azure=replace(spec.azure, start_task=("echo installed",))))
        job = worker('echo "$WHERRY_TASK $MINE"; exit 4', env=(("MINE", "a 'b'"),))
        here.submit(job, (0,))
        assert self.finish(here, job) == [JobState.FAILED]
        assert read_left(here, "stdout") == b"0 a 'b'\n"
        asked = (azure_place.programs / "asked").read_text().splitlines()
        assert f"pull {PULL}" in asked
        ran, removed = (next(line for line in asked if line.startswith(word)) for word in ("run", "rm"))
        assert "--cpus=2 --memory=1073741824" in ran
        assert "--env=MINE" in ran
        assert removed.startswith("rm --force trial-1-")

    def test_what_is_refused_before_anything_is_made(
        self, backend: Callable[..., AzureBatchBackend], worker: Callable[..., Job], spec: SweepSpec, azure_env: dict[str, str]
    ) -> None:
        assert spec.azure is not None
        with pytest.raises(UsageError, match="only go to Azure's storage"):
            AzureBatchBackend(spec, MemoryObjects(), azure_env).measure(spec)
        with pytest.raises(JobError, match="a node has 4"):
            backend().measure(replace(spec, sweep=replace(spec.sweep, limits=Limits(cpus=5))))
        with pytest.raises(JobError, match="nothing but the image"):
            backend().measure(replace(spec, sweep=replace(spec.sweep, data=(DataFolder(path="data"),))))
        with pytest.raises(JobError, match="no image like none:such:1"):
            backend(replace(spec, azure=replace(spec.azure, vm_image="none:such:1"))).measure(spec)
        named = replace(spec, azure=replace(spec.azure, registry_user="me", registry_password="NOT_SET_ANYWHERE"))
        with pytest.raises(UsageError, match="password is not there"):
            backend(named).submit(worker("true"), (0,))
        wrong = AzureBatchBackend(spec, MemoryObjects(), {**azure_env, "AZURE_BATCH_ACCESS_KEY": KEY.swapcase()})
        assert "AuthenticationFailed" in wrong.probe().reason
        assert backend().list_resources() == ()
