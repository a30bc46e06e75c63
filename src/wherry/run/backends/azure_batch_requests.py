"""What Azure Batch is asked for, and what it answers, as values: pools, jobs, tasks. Asks nobody.

A round of a sweep is a job with a pool of its own, which the service itself makes for it and deletes with its end: when all tasks
are done, or when the job's time is up, whoever still looks on. Tasks are containers of the project's image, started with nothing
of wherry's in it but one line of Python that makes the folders a task finds. What they leave is sent by the service's own agent.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from azure.batch import models

from wherry.model.azure import AzurePool
from wherry.model.job import TIME_IS_UP, Job, JobState, Limits, TaskEnd
from wherry.model.sweep import SweepSpec
from wherry.run.variables import METRICS, OUTPUTS, list_variables

ROUND = "wherry-job"
_HERE, _ABOVE = "AZ_BATCH_TASK_WORKING_DIR", "AZ_BATCH_TASK_DIR"
# Only here is known where the agent has put the task's folder.
_START = (
    "import os, sys; "
    f'os.environ["WHERRY_OUTPUTS"] = made = os.environ["{_HERE}"] + "/{OUTPUTS}"; os.makedirs(made, exist_ok=True); '
    f'os.environ["WHERRY_METRICS"] = told = os.environ["{_ABOVE}"] + "/{METRICS}"; open(told, "a").close(); '
    "os.execvp(sys.argv[1], sys.argv[1:])"
)
_KEPT = timedelta(hours=1)
_LONGEST = 7 * 86400.0
_SLACK = 60.0  # seconds in which a node ends a container that it has started itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Landing:
    """Where what tasks leave goes: a container's address with a signature, and what stands before each key."""

    url: str
    prefix: str

    def place(self, key: str) -> str:
        return f"{self.prefix}/{key}".lstrip("/")


def choose_image(images: Iterable[models.BatchSupportedImage], pool: AzurePool) -> models.BatchSupportedImage | None:
    """What nodes start from: what the target names; else a verified Ubuntu, with docker in it unless a start task installs that."""
    linux = [image for image in images if image.os_type == models.OSType.LINUX]
    if pool.vm_image is not None:
        publisher, offer, sku = pool.vm_image.lower().split(":")
        named = (image for image in linux if _name_image(image).lower() == f"{publisher}:{offer}:{sku}")
        return next(named, None)
    fine = [image for image in linux if image.verification_type == models.ImageVerificationType.VERIFIED]
    fine = [image for image in fine if "ubuntu" in _name_image(image).lower() and "arm64" not in _name_image(image).lower()]
    fine = [image for image in fine if pool.start_task or _has_docker(image)]
    return max(fine, key=lambda image: str(image.image_reference.sku), default=None)


def _name_image(image: models.BatchSupportedImage) -> str:
    reference = image.image_reference
    return f"{reference.publisher}:{reference.offer}:{reference.sku}"


def _has_docker(image: models.BatchSupportedImage) -> bool:
    return "DockerCompatible" in (image.capabilities or ())


def render_job(
    job: Job, name: str, nodes: int, slots: int, spec: SweepSpec, image: models.BatchSupportedImage, password: str | None
) -> models.BatchJobCreateOptions:
    """A job and its pool. Owner and expiry stand on both."""
    assert spec.azure is not None and spec.pull is not None  # noqa: S101, PT018 - the sweep is of this backend
    labels = [models.BatchMetadataItem(name=key, value=value) for key, value in (*job.labels, (ROUND, round_of(job)))]
    pool = _render_pool(spec.azure, spec.pull, nodes, slots, image, password)
    pool.metadata = labels
    return models.BatchJobCreateOptions(
        id=name,
        metadata=labels,
        constraints=models.BatchJobConstraints(max_wall_clock_time=_last(job.limits), max_task_retry_count=0),
        pool_info=models.BatchPoolInfo(
            auto_pool_specification=models.BatchAutoPoolSpecification(
                auto_pool_id_prefix="wherry",
                pool_lifetime_option=models.BatchPoolLifetimeOption.JOB,
                keep_alive=False,
                pool=pool,
            )
        ),
    )


def _render_pool(
    pool: AzurePool, pull: str, nodes: int, slots: int, image: models.BatchSupportedImage, password: str | None
) -> models.BatchPoolSpecification:
    machine = models.VirtualMachineConfiguration(image_reference=image.image_reference, node_agent_sku_id=image.node_agent_sku_id)
    start = None
    if pool.start_task:
        start = models.BatchStartTask(
            command_line=_render_shell("set -e", *pool.start_task, f"docker pull {shlex.quote(pull)}"),
            user_identity=_root(),
            wait_for_success=True,
            max_task_retry_count=1,
        )
    else:
        machine.container_configuration = models.BatchContainerConfiguration(
            type=models.ContainerType.DOCKER_COMPATIBLE,
            container_image_names=[pull],
            container_registries=_render_registries(pool, pull, password),
        )
    dedicated = min(pool.nodes, nodes)
    return models.BatchPoolSpecification(
        vm_size=pool.vm_size,
        virtual_machine_configuration=machine,
        start_task=start,
        task_slots_per_node=slots,
        target_dedicated_nodes=dedicated,
        target_low_priority_nodes=nodes - dedicated,
        network_configuration=models.NetworkConfiguration(subnet_id=pool.subnet) if pool.subnet else None,
    )


def _render_registries(pool: AzurePool, pull: str, password: str | None) -> list[models.ContainerRegistryReference] | None:
    server = pull.partition("/")[0]
    if pool.registry_identity:
        identity = models.BatchNodeIdentityReference(resource_id=pool.registry_identity)
        return [models.ContainerRegistryReference(registry_server=server, identity_reference=identity)]
    if pool.registry_user:
        return [models.ContainerRegistryReference(registry_server=server, username=pool.registry_user, password=password)]
    return None


def render_task(job: Job, index: int, spec: SweepSpec, landing: Landing, key: str) -> models.BatchTaskCreateOptions:
    """One attempt at a task. `key` is where in the state what it leaves lies."""
    assert spec.azure is not None and spec.pull is not None  # noqa: S101, PT018 - the sweep is of this backend
    sweep = spec.sweep
    own = list_variables(replace(job, id=spec.id), index, "")
    for known_there_alone in ("WHERRY_OUTPUTS", "WHERRY_METRICS"):
        del own[known_there_alone]
    variables = {**dict(sweep.env), **dict(job.env), **own, "WHERRY_ATTEMPT": f"{round_of(job)}.{index}.{job.attempt}"}
    command = ("python", "-c", _START, *sweep.command_of(index))
    options = ("--entrypoint=", "--user=0:0", *_render_limits(sweep.limits))
    seconds = min(limit for limit in (sweep.limits.seconds, job.limits.seconds, _LONGEST) if limit is not None)
    return models.BatchTaskCreateOptions(
        id=f"{index}-{job.attempt}",
        command_line=_render_run(spec.pull, options, variables, command, seconds) if spec.azure.start_task else shlex.join(command),
        container_settings=None
        if spec.azure.start_task
        else models.BatchTaskContainerSettings(
            image_name=spec.pull,
            container_run_options=shlex.join(options),
            working_directory=models.ContainerWorkingDirectory.CONTAINER_IMAGE_DEFAULT,
        ),
        environment_settings=[models.EnvironmentSetting(name=name, value=value) for name, value in variables.items()],
        user_identity=_root(),
        constraints=models.BatchTaskConstraints(
            max_wall_clock_time=timedelta(seconds=math.ceil(seconds + (_SLACK if spec.azure.start_task else 0))),
            max_task_retry_count=0,
            retention_time=_KEPT,
        ),
        output_files=[
            _render_output(landing, pattern, f"{key}/{name}".rstrip("/"))
            for pattern, name in (
                ("../stdout.txt", "stdout"),
                ("../stderr.txt", "stderr"),
                (f"../{METRICS}", "metrics"),
                ("**/*", ""),  # there is nothing but outputs; relative to the folder itself, whose name is kept then
            )
        ],
    )


def _render_limits(limits: Limits) -> tuple[str, ...]:
    return (
        *((f"--cpus={limits.cpus:g}",) if limits.cpus is not None else ()),
        *((f"--memory={limits.memory}",) if limits.memory is not None else ()),
        *((f"--gpus={limits.gpus}",) if limits.gpus is not None else ()),
    )


def _render_run(pull: str, options: tuple[str, ...], variables: Mapping[str, str], command: tuple[str, ...], seconds: float) -> str:
    """Where the service starts no containers: docker run, as a process of the node's. It has the node's folder at its place.

    The agent knows of no container then, so its time, and its end, are seen to here.
    """
    names = " ".join(f"--env={name}" for name in (*variables, _HERE, _ABOVE))
    name = '"$AZ_BATCH_JOB_ID.$AZ_BATCH_TASK_ID"'
    volume = '"$AZ_BATCH_NODE_ROOT_DIR:$AZ_BATCH_NODE_ROOT_DIR"'
    words = f"{names} {shlex.join(options)} {shlex.quote(pull)} {shlex.join(command)}"
    return _render_shell(
        f"timeout --kill-after=10 {seconds:g} docker run --init --name={name} --volume={volume} {words}",
        "code=$?",
        f"docker rm --force {name} > /dev/null 2>&1",
        "exit $code",
    )


def _render_shell(*lines: str) -> str:
    return shlex.join(("/bin/sh", "-c", "; ".join(lines)))


def _render_output(landing: Landing, pattern: str, key: str) -> models.OutputFile:
    return models.OutputFile(
        file_pattern=pattern,
        destination=models.OutputFileDestination(
            container=models.OutputFileBlobContainerDestination(container_url=landing.url, path=landing.place(key))
        ),
        upload_options=models.OutputFileUploadConfiguration(upload_condition=models.OutputFileUploadCondition.TASK_COMPLETION),
    )


def _root() -> models.UserIdentity:
    """Containers' files are whose they say they are: the agent has to be able to read and remove them."""
    user = models.AutoUserSpecification(scope=models.AutoUserScope.POOL, elevation_level=models.ElevationLevel.ADMIN)
    return models.UserIdentity(auto_user=user)


def _last(limits: Limits) -> timedelta | None:
    return None if limits.seconds is None else timedelta(seconds=math.ceil(limits.seconds))


def round_of(job: Job) -> str:
    """The round's name, of an attempt's job too."""
    return job.id.removesuffix(f".{job.attempt}") if job.attempt else job.id


def read_label(metadata: Iterable[models.BatchMetadataItem] | None, name: str) -> str | None:
    return next((item.value for item in metadata or () if item.name == name), None)


def read_end(task: models.BatchTask, *, late: bool) -> TaskEnd | None:
    """How far a task is; None where something else than the task is to blame. `late`: the whole job's time was up."""
    info = task.execution_info
    if task.state != models.BatchTaskState.COMPLETED or info is None:
        return TaskEnd(state=JobState.RUNNING)
    ended = info.end_time.timestamp() if info.end_time else None
    if info.result == models.BatchTaskExecutionResult.SUCCESS:
        return TaskEnd(state=JobState.SUCCEEDED, exit_code=0, ended=ended)
    failure = info.failure_info
    if info.exit_code == TIME_IS_UP or _is_late(task):
        return TaskEnd(state=JobState.TIMED_OUT, exit_code=TIME_IS_UP, ended=ended)
    if failure is not None and failure.code == "TaskEnded":
        return TaskEnd(state=JobState.TIMED_OUT if late else JobState.CANCELLED, ended=ended)
    if failure is not None and failure.category == models.BatchErrorSourceCategory.SERVER_ERROR:
        return TaskEnd(state=JobState.LOST, ended=ended)
    if info.exit_code:
        return TaskEnd(state=JobState.FAILED, exit_code=info.exit_code, ended=ended)
    return None


def read_job_end(job: models.BatchJob) -> tuple[bool, bool]:
    """Whether a job runs no more tasks, and whether that is because its time was up."""
    info = job.execution_info
    late = info is not None and info.termination_reason == "MaxWallClockTimeExpiry"
    failed = info is not None and info.scheduling_error is not None
    return job.state not in (models.BatchJobState.ACTIVE, models.BatchJobState.ENABLING) and not failed, late


def _is_late(task: models.BatchTask) -> bool:
    info, limits = task.execution_info, task.constraints
    if info is None or limits is None or not (info.start_time and info.end_time and limits.max_wall_clock_time):
        return False
    return info.end_time - info.start_time >= limits.max_wall_clock_time
