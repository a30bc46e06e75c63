"""Jobs in the project's environment on this machine: `.wherry/env`, a virtual one or a prefix of conda's.

Rules: the job sees this machine's files, its project among them, at their own places and as they are; what is limited is each of
its processes, by the kernel, not the job as a whole. Packages of the user's own site never come in. When the command has ended, so
have the processes that it left in its group.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.engines.process import NOT_FOUND, supervise
from wherry.engines.sandbox_process import end_processes
from wherry.errors import JobError
from wherry.model.grain import Grain
from wherry.model.job import Job, JobState, TaskEnd
from wherry.run.activation import environment_values
from wherry.run.environments import EnvironmentRecord
from wherry.run.port import BackendInfo, Capacity, Prepared, Resource, TaskLogs
from wherry.run.sweep_shares import count_slots, list_gpus
from wherry.run.tasks import find_logs, list_tasks, read_end, start_task, stop_task, task_folder
from wherry.run.variables import JOB, list_variables, mark_of, name_worker
from wherry.store.places import sweeps_path
from wherry.store.posix import end_group, limit_processes, list_processors, read_memory, signal_group

if TYPE_CHECKING:
    from wherry.model.sweep import SweepSpec


_CANNOT_RUN = 126
_TICK = 0.02
_GRACE = 10.0
_WORKER_GRACE = 30.0  # its tasks have ten of these, and what they printed is sent after that
_GPU = Path("/proc/driver/nvidia/gpus")
# Makes the environment if it has to be made, and gives its prefix and what it says of itself.
Materialise = Callable[[], tuple[Path, EnvironmentRecord]]


class LocalBackend:
    """`env` is what the job's processes inherit. `materialise` is None where jobs are only looked after, not begun."""

    def __init__(
        self,
        env: Mapping[str, str],
        materialise: Materialise | None = None,
        *,
        stdin: bool = False,
        then: Callable[[], None] = lambda: None,
    ) -> None:
        self._env = env
        self._materialise = materialise
        self._stdin = stdin
        self._then = then
        self._made: tuple[Path, EnvironmentRecord] | None = None

    @property
    def grain(self) -> Grain:
        return Grain.WORKERS

    def probe(self) -> BackendInfo:
        return BackendInfo(usable=True)

    def up(self) -> Prepared:
        if self._materialise is None:
            return Prepared()  # workers bring their own
        prefix, record = self._environment()
        del prefix
        return Prepared(lock=record.lock, python=record.python)

    def submit(self, job: Job, indices: Sequence[int]) -> None:
        if job.limits.gpus is not None and not _GPU.is_dir():
            raise JobError("this machine has no GPU that a driver shows", where=f"--gpus {job.limits.gpus}", hint="leave it away")
        for index in indices:
            env = self._render_worker_env(job, index) if job.worker else self._render_env(job, index)
            work = partial(_run_command, job, env)
            start_task(task_folder(job.folder, index), work, self._then, seconds=job.limits.seconds, stdin=self._stdin)

    def poll(self, job: Job) -> dict[int, TaskEnd]:
        return {index: read_end(task_folder(job.folder, index)) for index in list_tasks(job.folder)}

    def logs(self, job: Job, index: int) -> TaskLogs:
        return find_logs(job.folder, index)

    def cancel(self, job: Job, grace: float) -> None:
        for index in list_tasks(job.folder):
            stop_task(task_folder(job.folder, index), grace, partial(end_processes, mark_of(job)))
        if job.worker:
            _end_left_tasks(job.id)

    def down(self) -> None:
        """Nothing: an environment that stands costs nothing."""

    def measure(self, spec: SweepSpec) -> Capacity:
        """One worker, and as many tasks at once as there are processors, memory and GPUs for."""
        usable, gpus, limits = len(list_processors()), len(list_gpus(self._env)), spec.sweep.limits
        if limits.gpus is not None and not gpus:
            raise JobError("this machine has no GPU that a driver shows", where="gpus", hint="leave it away, or another target")
        slots = spec.sweep.concurrency or count_slots(limits, usable, read_memory(), gpus)
        return Capacity(workers=1, slots=min(slots, len(spec)), notes=(f"this machine has {usable} processors",))

    def list_resources(self) -> tuple[Resource, ...]:
        """Workers on this machine whose supervisors live."""
        folders = sorted(sweeps_path(self._env).glob("*/tasks/*"))
        return tuple(
            Resource(id=str(folder), round=folder.parent.parent.name, detail="a worker on this machine")
            for folder in folders
            if read_end(folder).state is JobState.RUNNING
        )

    def release(self, resource: Resource) -> None:
        stop_task(Path(resource.id), _WORKER_GRACE, partial(end_processes, f"{JOB}={resource.round}"))
        _end_left_tasks(resource.round)

    def _environment(self) -> tuple[Path, EnvironmentRecord]:
        if self._made is None:
            if self._materialise is None:
                raise JobError("this backend begins no jobs")
            self._made = self._materialise()
        return self._made

    def _render_worker_env(self, job: Job, index: int) -> dict[str, str]:
        """A worker is of wherry's own environment, wherever that is."""
        return {**self._env, **dict(job.env), **name_worker(job, index)}

    def _render_env(self, job: Job, index: int) -> dict[str, str]:
        prefix, record = self._environment()
        own = list_variables(job, index, job.folder)
        inherited = {key: value for key, value in self._env.items() if key not in ("PYTHONHOME", "PYTHONPATH")}
        values = environment_values(prefix, record.variables, conda=record.conda)
        gpus = {"CUDA_VISIBLE_DEVICES": _list_gpus(job.limits.gpus)} if job.limits.gpus not in (None, "all") else {}
        path = {"PATH": f"{prefix}/bin:{inherited.get('PATH', '/usr/local/bin:/usr/bin:/bin')}"}
        return {**inherited, **values, **gpus, **path, **dict(job.env), **own}


def _end_left_tasks(name: str) -> None:
    """End the tasks of a worker that was killed, and could not do it: `name` is the round's, tasks are marked by their sweep's."""
    end_processes(f"{JOB}={name.rpartition('.')[0]}")


def _list_gpus(gpus: str | None) -> str:
    return ",".join(map(str, range(int(gpus or "0"))))


def _run_command(job: Job, env: Mapping[str, str]) -> int:
    """Run the command in the project's folder, to its end. Called in the supervisor."""
    try:
        with limit_processes(job.limits.cpus, job.limits.memory):
            process = subprocess.Popen(job.command, cwd=job.root, env=dict(env), process_group=0)
    except FileNotFoundError as error:
        os.write(2, f"{error.filename}: not found\n".encode())
        return NOT_FOUND
    except OSError as error:
        os.write(2, f"{error.filename}: {error.strerror}\n".encode())
        return _CANNOT_RUN
    try:
        return supervise(process, partial(_stop, process), _WORKER_GRACE if job.worker else _GRACE)
    finally:
        end_group(process.pid)
        process.wait()


def _stop(process: subprocess.Popen[bytes], grace: float) -> None:
    if grace > 0:
        signal_group(process.pid, 15)
        end = time.monotonic() + grace
        while process.poll() is None and time.monotonic() < end:
            time.sleep(_TICK)
    if process.poll() is None:
        end_group(process.pid)
