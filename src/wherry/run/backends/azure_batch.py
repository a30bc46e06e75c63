"""Sweeps' tasks on Azure Batch: each one a container of the project's image, on a pool that lives as long as the round's job.

Nothing of wherry's runs there, and no credential is there but a signature that can only write to the container of the state: so
the grain is TASKS, and the driver does what workers do elsewhere. A round is one job of Batch, and another one where that has
ended and a task is to be tried again; both are found by their metadata. Batch itself deletes the pool when all tasks are done, or
when the job's time is up. Tasks of a spot node that is taken away are put on another one by Batch, as the same attempt.

Refuses: states that are not in Azure's storage, for nothing else takes what tasks leave.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from azure.batch import BatchClient, models
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError

from wherry.errors import EngineError, JobError, UsageError, WherryError
from wherry.model.azure import AzurePool
from wherry.model.job import Job, JobState, TaskEnd
from wherry.model.sweep import Grain, SweepSpec
from wherry.run.backends.azure_batch_account import KEY, AzureAccount, explain_code, is_over, read_code
from wherry.run.backends.azure_batch_requests import (
    ROUND,
    Landing,
    choose_image,
    read_end,
    read_job_end,
    read_label,
    render_job,
    render_task,
    round_of,
)
from wherry.run.backends.azure_batch_watch import PoolWatch
from wherry.run.port import BackendInfo, Capacity, Prepared, Resource, TaskLogs
from wherry.run.sweep_state import SweepState
from wherry.run.tasks import find_logs
from wherry.store.objects import ObjectStore

Say = Callable[[str], None]
_AT_ONCE = 100  # tasks that a request may have
_SEEN = ["id", "state", "executionInfo", "constraints"]  # not what has signatures in it
_PATIENCE = 600.0
_PAUSE = 1
_AFTER = 3600.0  # seconds after a round's end that what its tasks leave may still be sent


class AzureBatchBackend:
    """`store` is where the sweep's state is. `patience`: seconds in which a pool has its first node."""

    def __init__(
        self, spec: SweepSpec, store: ObjectStore, env: Mapping[str, str], say: Say = lambda _text: None, patience: float = 1800.0
    ) -> None:
        assert spec.azure is not None  # noqa: S101 - the target's declaration has it
        self._spec = spec
        self._pool: AzurePool = spec.azure
        self._state = SweepState(store, spec.id)
        self._env = env
        self._account = AzureAccount(spec.azure.account, env)
        self._watch = PoolWatch(spec.azure, say, patience)
        self._jobs: dict[str, list[str]] = {}

    @property
    def grain(self) -> Grain:
        return Grain.TASKS

    def probe(self) -> BackendInfo:
        try:
            with self._account.open() as client:
                next(iter(client.list_pools(max_results=1)), None)
        except WherryError as error:
            return BackendInfo(usable=False, reason=error.what, hint=error.hint or KEY)
        return BackendInfo(usable=True)

    def up(self) -> Prepared:
        """Nothing: what costs money is made with its labels and its deadline, by `submit`."""
        return Prepared(image=self._spec.image)

    def measure(self, spec: SweepSpec) -> Capacity:
        _refuse_folders(spec)
        self._find_container()
        with self._account.open() as client:
            image = self._find_image(client)
            taken = sum(
                (pool.current_dedicated_nodes or 0) + (pool.current_low_priority_nodes or 0) for pool in client.list_pools()
            )
        nodes, slots = spread_tasks(spec, self._pool)
        cores = self._pool.cores
        dedicated = min(self._pool.nodes, nodes)
        kinds = [f"{dedicated} dedicated"] * (dedicated > 0) + [f"{nodes - dedicated} spot"] * (nodes > dedicated)
        notes = (
            f"{' and '.join(kinds)} nodes of {self._pool.vm_size}"
            + (f", {nodes * cores} cores" if cores else "")
            + f", from {image.image_reference.offer} {image.image_reference.sku}",
            f"nodes that the account has now: {taken}; whether its quota has room for these Azure says when they are asked for",
        )
        return Capacity(workers=nodes, slots=slots, notes=notes)

    def submit(self, job: Job, indices: Sequence[int]) -> None:
        landing = self._land(job)
        tasks = [
            render_task(job, index, self._spec, landing, self._state.attempt_key(index, job.attempt, "stdout").rpartition("/")[0])
            for index in indices
        ]
        with self._account.open() as client:
            for start in range(0, len(tasks), _AT_ONCE):
                self._add_tasks(client, job, tasks[start : start + _AT_ONCE])
            name = self._find_jobs(client, round_of(job))[-1]
            ending = models.BatchJobUpdateOptions(all_tasks_complete_mode=models.BatchAllTasksCompleteMode.TERMINATE_JOB)
            client.update_job(name, ending)

    def poll(self, job: Job) -> dict[int, TaskEnd]:
        found: dict[int, TaskEnd] = {}
        with self._account.open() as client:
            for name in self._find_jobs(client, round_of(job)):
                found |= self._read_ends(client, name, job.attempt)
        return found

    def logs(self, job: Job, index: int) -> TaskLogs:
        return find_logs(job.folder, index)

    def cancel(self, job: Job, grace: float) -> None:  # noqa: ARG002 - Batch ends what it ends at once; nothing of it counts
        with self._account.open() as client:
            for name in self._find_jobs(client, round_of(job)):
                self._end_job(client, name)

    def down(self) -> None:
        """Nothing: what `submit` made is found by its labels and released."""

    def list_resources(self) -> tuple[Resource, ...]:
        with self._account.open() as client:
            jobs = list(_list_labelled(client.list_jobs(), "job"))
            return (*jobs, *_list_labelled(client.list_pools(), "pool"))

    def release(self, resource: Resource) -> None:
        kind, _, name = resource.id.partition("/")
        with self._account.open() as client:
            delete, ask = (
                (client.begin_delete_job, client.get_job) if kind == "job" else (client.begin_delete_pool, client.get_pool)
            )
            end = time.monotonic() + _PATIENCE
            with suppress(ResourceNotFoundError):
                while ask(name):
                    if time.monotonic() > end:
                        raise self._give_up(f"delete {kind} {name}")
                    try:
                        delete(name, polling_interval=_PAUSE).wait(_PATIENCE)
                    except ResourceExistsError:  # it is being deleted already
                        time.sleep(_PAUSE)
        self._jobs.clear()

    # -- one round

    def _find_jobs(self, client: BatchClient, of: str) -> list[str]:
        """Names of the round's jobs at Batch, the first one first; asked for once."""
        if not self._jobs.get(of):
            found = (job for job in client.list_jobs() if read_label(job.metadata, ROUND) == of)
            self._jobs[of] = [str(job.id) for job in sorted(found, key=lambda job: (len(str(job.id)), str(job.id)))]
        return self._jobs[of]

    def _add_tasks(self, client: BatchClient, job: Job, tasks: list[models.BatchTaskCreateOptions]) -> None:
        """Add tasks to the round's job; to another one where that has ended, which those that ended before are no part of."""
        names = self._find_jobs(client, round_of(job))
        if not names:
            names.append(self._create_job(client, job, 0))
        try:
            added = client.create_task_collection(names[-1], models.BatchTaskGroup(task_values=tasks))
        except HttpResponseError as error:
            if is_over(error):
                names.append(self._create_job(client, job, len(names)))
                self._add_tasks(client, job, tasks)
            elif read_code(error) == "RequestBodyTooLarge" and len(tasks) > 1:
                self._add_tasks(client, job, tasks[: len(tasks) // 2])
                self._add_tasks(client, job, tasks[len(tasks) // 2 :])
            else:
                raise
            return
        for one in added.result_values or ():
            if one.error is not None and one.error.code != "TaskExists":
                message = one.error.message.value if one.error.message else ""
                raise explain_code(str(one.error.code), str(message), f"task {one.task_id}")

    def _create_job(self, client: BatchClient, job: Job, number: int) -> str:
        name = round_of(job).replace(".", "-") + (f"-{number}" if number else "")
        password = self._env.get(self._pool.registry_password) if self._pool.registry_password else None
        if self._pool.registry_password and not password:
            raise UsageError("the registry's password is not there", where=self._pool.registry_password)
        nodes, slots = spread_tasks(self._spec, self._pool)
        wanted = render_job(_shorten_limit(job), name, nodes, slots, self._spec, self._find_image(client), password)
        try:
            client.create_job(wanted)
        except ResourceExistsError as error:
            if read_code(error) != "JobExists":
                raise
        return name

    def _find_image(self, client: BatchClient) -> models.BatchSupportedImage:
        image = choose_image(client.list_supported_images(), self._pool)
        if image is None:
            what = self._pool.vm_image or "an Ubuntu that runs containers"
            raise JobError(f"Azure Batch has no image like {what}", where="vm-image", hint="az batch pool supported-images list")
        return image

    def _find_container(self) -> tuple[str, str]:
        """The container of the state, and what stands before its keys."""
        parts = urlsplit(self._state.store.url)
        if parts.scheme != "az" or not parts.hostname:
            what = "what tasks leave on Azure Batch can only go to Azure's storage"
            raise UsageError(what, where=self._state.store.url, hint="--state az://CONTAINER/PREFIX")
        return parts.hostname, parts.path.strip("/")

    def _land(self, job: Job) -> Landing:
        container, prefix = self._find_container()
        return Landing(url=self._account.sign_container(container, (job.limits.seconds or 0.0) + _AFTER), prefix=prefix)

    def _read_ends(self, client: BatchClient, name: str, attempt: int) -> dict[int, TaskEnd]:
        """One call; more only where nothing runs, or something was ended from outside: then why is asked."""
        try:
            tasks = list(client.list_tasks(name, select=_SEEN))
        except ResourceNotFoundError:
            return {}
        states = {task.state for task in tasks}
        if states - {models.BatchTaskState.ACTIVE, models.BatchTaskState.COMPLETED}:
            self._watch.rest()
            stuck = False
        else:
            stuck = models.BatchTaskState.ACTIVE in states
        over, late = self._look_after(client, name) if stuck else (False, False)
        found: dict[int, TaskEnd] = {}
        for task in tasks:
            index, _, number = str(task.id).partition("-")
            if int(number) != attempt:
                continue
            end = read_end(task, late=late)
            if end is not None and end.state is JobState.CANCELLED and not over:
                over, late = read_job_end(client.get_job(name))
                end = read_end(task, late=late)
            if end is None:
                raise _explain_task(task)
            found[int(index)] = TaskEnd(state=JobState.CANCELLED) if over and not end.state.is_final else end
        return found

    def _look_after(self, client: BatchClient, name: str) -> tuple[bool, bool]:
        """Tasks of a job that has ended wait for ever; those of others wait for nodes."""
        job = client.get_job(name)
        over, late = read_job_end(job)
        if not over:
            self._watch.look(client, job)
        return over, late

    def _end_job(self, client: BatchClient, name: str) -> None:
        # The library's class for the reason is private, and without one it fails.
        reason: Any = {"terminateReason": "wherry"}
        try:
            ending = client.begin_terminate_job(name, reason, polling_interval=_PAUSE)
        except ResourceNotFoundError:
            return
        except ResourceExistsError as error:
            if not is_over(error):
                raise
            return
        ending.wait(_PATIENCE)
        if not ending.done():
            raise self._give_up(f"end job {name}")

    def _give_up(self, what: str) -> EngineError:
        return EngineError(f"Azure Batch did not {what} in {_PATIENCE:.0f} s", where=self._account.url, hint="wherry sweep gc")


def spread_tasks(spec: SweepSpec, pool: AzurePool) -> tuple[int, int]:
    """How many nodes, and how many tasks at once on each: as its processors have room for, one where they are not known."""
    limits, cores = spec.sweep.limits, pool.cores
    if cores is not None and (limits.cpus or 0) > cores:
        raise JobError(f"a task asks for {limits.cpus:g} processors, a node has {cores}", where="vm-size", hint="a larger one")
    slots = spec.sweep.concurrency or (int(cores / limits.cpus) if cores and limits.cpus else 1)
    slots = min(max(1, slots), len(spec), 256)
    return min(spec.sweep.workers or pool.most, pool.most, -(-len(spec) // slots)), slots


def _shorten_limit(job: Job) -> Job:
    """The job with the time that is left of its round, which is less where the round has had another one before."""
    expires, most = dict(job.labels).get("wherry-expires"), job.limits.seconds
    if expires is None or most is None:
        return job
    return replace(job, limits=replace(job.limits, seconds=max(1.0, min(most, float(expires) - time.time()))))


def _refuse_folders(spec: SweepSpec) -> None:
    if spec.sweep.data or spec.sweep.inputs:
        hint = "let the task read its data itself, or bring it along as models in the image"
        raise JobError("nodes of Azure Batch have nothing but the image: no data, no inputs", where=spec.sweep.name, hint=hint)


def _list_labelled(found: Iterable[models.BatchJob] | Iterable[models.BatchPool], kind: str) -> Iterator[Resource]:
    for one in found:
        of = read_label(one.metadata, ROUND)
        if of is not None:
            yield Resource(id=f"{kind}/{one.id}", round=of, detail=f"a {kind} of Azure Batch")


def _explain_task(task: models.BatchTask) -> WherryError:
    """A task that could not run, or whose files could not be sent: no fault of its author's, and another attempt ends likewise."""
    failure = task.execution_info.failure_info if task.execution_info else None
    if failure is None:
        return EngineError("it failed, and Azure Batch does not say why", where=f"task {task.id}")
    details = "; ".join(f"{pair.name}: {pair.value}" for pair in failure.details or ())
    return explain_code(str(failure.code), f"{failure.message or ''} {details}", f"task {task.id}")
