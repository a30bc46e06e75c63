"""The simulated Batch service, held to Azure's description by prism and driven by the official client; tasks really run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.batch import BatchClient, models
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import ContainerClient, ContainerSasPermissions, generate_container_sas

from tests.engines.azure_services import STORAGE_ACCOUNT, STORAGE_KEY, run_azurite, run_batch
from tests.simulators.azure_batch import ACCOUNT, KEY, AzureBatch

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("azure")]
IMAGE = models.BatchVmImageReference(publisher="microsoft-dsvm", offer="ubuntu-hpc", sku="2204", version="latest")
MACHINE = models.VirtualMachineConfiguration(image_reference=IMAGE, node_agent_sku_id="batch.node.ubuntu 22.04")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureBatch]:
    with run_batch(tmp_path_factory.mktemp("batch")) as running:
        yield running


@pytest.fixture
def client(service: AzureBatch) -> Iterator[BatchClient]:
    with BatchClient(service.url, AzureNamedKeyCredential(ACCOUNT, KEY), retry_total=0) as client:
        yield client
        for pool in client.list_pools():
            client.begin_delete_pool(pool.id, polling_interval=0.05).wait(20)


def wait_for(happens: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not happens():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def make_pool(client: BatchClient, name: str, **more: object) -> None:
    values = {"vm_size": "standard_d2s_v3", "virtual_machine_configuration": MACHINE, "target_dedicated_nodes": 1, **more}
    client.create_pool(models.BatchPoolCreateOptions(id=name, **values))


def run_task(client: BatchClient, pool: str, script: str, **more: object) -> models.BatchTask:
    client.create_job(models.BatchJobCreateOptions(id=f"job-{pool}", pool_info=models.BatchPoolInfo(pool_id=pool)))
    task = models.BatchTaskCreateOptions(id="one", command_line=f"/bin/sh -c '{script}'", **more)
    client.create_tasks(f"job-{pool}", [task])
    wait_for(lambda: client.get_task(f"job-{pool}", "one").state == models.BatchTaskState.COMPLETED)
    return client.get_task(f"job-{pool}", "one")


def test_a_task_and_what_it_leaves(client: BatchClient, tmp_path: Path) -> None:
    with run_azurite(tmp_path / "storage") as azurite:
        container = ContainerClient(azurite.url, "results", credential=STORAGE_KEY)
        container.create_container()
        rights = ContainerSasPermissions(write=True, create=True)
        until = datetime.now(UTC) + timedelta(hours=1)
        sas = generate_container_sas(STORAGE_ACCOUNT, "results", account_key=STORAGE_KEY, permission=rights, expiry=until)
        outputs = [
            models.OutputFile(
                file_pattern=pattern,
                destination=models.OutputFileDestination(
                    container=models.OutputFileBlobContainerDestination(container_url=f"{azurite.url}/results?{sas}", path=path)
                ),
                upload_options=models.OutputFileUploadConfiguration(upload_condition="taskcompletion"),
            )
            for pattern, path in (("../std*.txt", "one"), ("made/file", "one/made"))
        ]
        make_pool(client, "first", start_task=models.BatchStartTask(command_line="/bin/true", wait_for_success=True))
        task = run_task(client, "first", "mkdir made; echo x > made/file; echo told; exit 3", output_files=outputs)
        assert (task.execution_info.exit_code, task.execution_info.result) == (3, "failure")
        assert sorted(blob.name for blob in container.list_blobs()) == ["one/made", "one/stderr.txt", "one/stdout.txt"]
        assert container.download_blob("one/stdout.txt").readall() == b"told\n"


def test_a_request_that_azure_would_refuse_is_refused(client: BatchClient) -> None:
    with pytest.raises(HttpResponseError, match="Unprocessable"):
        client.create_pool({"id": "bad", "vmSize": "x", "targetDedicatedNodes": "many"})


def test_a_wrong_key(service: AzureBatch) -> None:
    stranger = BatchClient(service.url, AzureNamedKeyCredential(ACCOUNT, KEY.swapcase()), retry_total=0)
    with stranger, pytest.raises(HttpResponseError, match="AuthenticationFailed"):
        list(stranger.list_pools())


def test_quota(client: BatchClient, service: AzureBatch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.account.behaviour, "cores", 1)
    make_pool(client, "large", target_dedicated_nodes=2)
    wait_for(lambda: bool(client.get_pool("large").resize_errors))
    assert client.get_pool("large").resize_errors[0].code == "AccountCoreQuotaReached"


def test_limits_and_retries(client: BatchClient) -> None:
    make_pool(client, "slow")
    limits = models.BatchTaskConstraints(max_wall_clock_time=timedelta(seconds=0.2), max_task_retry_count=1)
    task = run_task(client, "slow", "sleep 60", constraints=limits)
    assert (task.execution_info.retry_count, task.execution_info.result) == (1, "failure")


def test_a_task_of_a_machine_that_was_taken_away_runs_again(client: BatchClient, service: AzureBatch, tmp_path: Path) -> None:
    make_pool(client, "spot", target_dedicated_nodes=0, target_low_priority_nodes=1)
    client.create_job(models.BatchJobCreateOptions(id="job", pool_info=models.BatchPoolInfo(pool_id="spot")))
    script = f"/bin/sh -c 'echo begun >> {tmp_path}/told; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done'"
    client.create_tasks("job", [models.BatchTaskCreateOptions(id="one", command_line=script)])
    wait_for((tmp_path / "told").exists)
    service.account.preempt("spot")
    wait_for(lambda: client.get_task("job", "one").state == models.BatchTaskState.ACTIVE)
    assert [node.state for node in client.list_nodes("spot")] == [models.BatchNodeState.PREEMPTED]
    assert client.get_task("job", "one").execution_info.requeue_count == 1
