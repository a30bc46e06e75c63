"""What Azure Batch is asked for, and how its answers are read. What needs a service is in tests/engines."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("azure.batch")

from azure.batch import models

from tests.unit.run.sweep_backend_contract import make_spec
from wherry.errors import JobError
from wherry.model.azure import AzurePool
from wherry.model.job import Job, JobState, Limits
from wherry.model.sweep import SweepSpec
from wherry.run.backends.azure_batch import spread_tasks
from wherry.run.backends.azure_batch_requests import Landing, choose_image, read_end, render_job, render_task

POOL = AzurePool(account="https://mine.example", vm_size="Standard_D4s_v5", image="registry.example/m", nodes=3, spot_nodes=5)
PULL = f"registry.example/m@sha256:{'a' * 64}"
JOB = Job(id="trial-1.ab", root="/p", folder="/f", command=(), limits=Limits(seconds=3600), labels=(("wherry-owner", "me"),))


def make(pool: AzurePool = POOL, **more: object) -> SweepSpec:
    return replace(make_spec(Path("/p"), tasks=100, **more), azure=pool, pull=PULL)


def image(name: str, *capabilities: str, verified: bool = True, system: str = "linux") -> models.BatchSupportedImage:
    publisher, offer, sku = name.split(":")
    return models.BatchSupportedImage(
        {
            "imageReference": {"publisher": publisher, "offer": offer, "sku": sku},
            "osType": system,
            "verificationType": "verified" if verified else "unverified",
            "nodeAgentSKUId": "batch.node.ubuntu 22.04",
            "capabilities": list(capabilities),
        }
    )


IMAGES = (
    image("microsoftwindowsserver:windowsserver:2022-containers", "DockerCompatible", system="windows"),
    image("microsoft-dsvm:ubuntu-hpc:2004", "DockerCompatible"),
    image("microsoft-dsvm:ubuntu-hpc:2204", "DockerCompatible"),
    image("microsoft-dsvm:ubuntu-hpc:2404", "DockerCompatible", verified=False),
    image("canonical:ubuntu-24_04-lts:server"),
    image("canonical:ubuntu-24_04-lts:server-arm64"),
    image("almalinux:8-gen1:8", "DockerCompatible"),
)


@pytest.mark.parametrize(
    ("pool", "sku"),
    [
        (POOL, "2204"),
        (replace(POOL, start_task=("apt-get install docker.io",)), "server"),
        (replace(POOL, vm_image="AlmaLinux:8-gen1:8"), "8"),
        (replace(POOL, vm_image="none:such:1"), None),
    ],
)
def test_the_image_that_nodes_start_from(pool: AzurePool, sku: str | None) -> None:
    found = choose_image(IMAGES, pool)
    assert (found.image_reference.sku if found else None) == sku


@pytest.mark.parametrize(
    ("more", "spread"),
    [
        ({}, (8, 1)),
        ({"limits": Limits(cpus=2)}, (8, 2)),
        ({"limits": Limits(cpus=0.1)}, (3, 40)),
        ({"concurrency": 50}, (2, 50)),
        ({"concurrency": 1000}, (1, 100)),
        ({"workers": 4}, (4, 1)),
        ({"workers": 40}, (8, 1)),
    ],
)
def test_how_tasks_are_spread(more: dict[str, Any], spread: tuple[int, int]) -> None:
    assert spread_tasks(make(**more), POOL) == spread


def test_a_task_that_no_node_has_room_for() -> None:
    with pytest.raises(JobError, match="a node has 4"):
        spread_tasks(make(limits=Limits(cpus=5)), POOL)


def test_a_job_s_pool_is_its_own_and_says_whose_it_is() -> None:
    pool = replace(POOL, registry_identity="/subscriptions/i", subnet="/subscriptions/s")
    job = render_job(JOB, "trial-1-ab", 4, 2, make(pool), IMAGES[2], None).as_dict()
    auto = job["poolInfo"]["autoPoolSpecification"]
    assert (auto["poolLifetimeOption"], auto["keepAlive"]) == ("job", False)
    made = auto["pool"]
    assert (made["targetDedicatedNodes"], made["targetLowPriorityNodes"], made["taskSlotsPerNode"]) == (3, 1, 2)
    assert (
        made["metadata"]
        == job["metadata"]
        == [
            {"name": "wherry-owner", "value": "me"},
            {"name": "wherry-job", "value": "trial-1.ab"},
        ]
    )
    assert made["networkConfiguration"] == {"subnetId": "/subscriptions/s"}
    containers = made["virtualMachineConfiguration"]["containerConfiguration"]
    identity = {"resourceId": "/subscriptions/i"}
    assert containers["containerRegistries"] == [{"registryServer": "registry.example", "identityReference": identity}]
    assert containers["containerImageNames"] == [PULL]
    assert "startTask" not in made


def test_a_task_s_words_arrive_as_they_are() -> None:
    words = ("train.py", "two words", "it's", "$HOME", '"q"')
    spec = make(limits=Limits(gpus="all", seconds=60))
    spec = replace(spec, sweep=replace(spec.sweep, command=words))
    landing = Landing(url="https://x/c?sig=s", prefix="p")
    task = render_task(JOB, 7, spec, landing, "sweeps/t/attempts/00000/007/0").as_dict()
    assert shlex.split(task["commandLine"])[3:] == list(words)
    assert task["containerSettings"]["containerRunOptions"] == "--entrypoint= --user=0:0 --gpus=all"
    assert task["constraints"]["maxWallClockTime"] == "PT01M00S"
    keys = {file["filePattern"]: file["destination"]["container"]["path"] for file in task["outputFiles"]}
    assert keys == {
        "../stdout.txt": "p/sweeps/t/attempts/00000/007/0/stdout",
        "../stderr.txt": "p/sweeps/t/attempts/00000/007/0/stderr",
        "../metrics": "p/sweeps/t/attempts/00000/007/0/metrics",
        "**/*": "p/sweeps/t/attempts/00000/007/0",
    }
    ways = {file["uploadOptions"]["uploadCondition"] for file in task["outputFiles"]}
    assert ways == {"taskcompletion"}


def end(**info: Any) -> models.BatchTask:
    times = {"startTime": "2026-01-01T00:00:00Z", "endTime": "2026-01-01T00:00:10Z", "retryCount": 0, "requeueCount": 0}
    constraints = {"maxWallClockTime": "PT1M"}
    return models.BatchTask({"id": "0-0", "state": "completed", "executionInfo": {**times, **info}, "constraints": constraints})


def failure(code: str, category: str = "usererror") -> dict[str, str]:
    return {"code": code, "category": category}


@pytest.mark.parametrize(
    ("info", "state"),
    [
        ({"result": "success", "exitCode": 0}, JobState.SUCCEEDED),
        ({"result": "failure", "exitCode": 3, "failureInfo": failure("FailureExitCode")}, JobState.FAILED),
        ({"result": "failure", "exitCode": 124, "failureInfo": failure("FailureExitCode")}, JobState.TIMED_OUT),
        ({"result": "failure", "failureInfo": failure("TaskEnded")}, JobState.CANCELLED),
        ({"result": "failure", "failureInfo": failure("TaskEnded"), "endTime": "2026-01-01T00:01:00Z"}, JobState.TIMED_OUT),
        ({"result": "failure", "failureInfo": failure("DiskError", "servererror")}, JobState.LOST),
        ({"result": "failure", "failureInfo": failure("ContainerInvalidImage")}, None),
        ({"result": "failure", "exitCode": 0, "failureInfo": failure("FileUploadAccessDenied")}, None),
    ],
)
def test_how_a_task_ended(info: dict[str, Any], state: JobState | None) -> None:
    found = read_end(end(**info), late=False)
    assert (found.state if found else None) is state
