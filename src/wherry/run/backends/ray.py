"""Workers of sweeps on a Ray cluster: a keeper for each round, and as many workers as its nodes have room for.

Ray itself is spoken to by a process of its own (`ray_desk`), and what runs on the cluster is in `ray_round`. Nodes share a file
system with this machine, where the project, its environment and wherry lie at the same paths. Ray's own retries are off: who is
lost is asked for again by the driver. A worker's resources are those of its tasks together, so that Ray gives its nodes to others
beside; with GPUs a worker runs one task, whose GPUs are those that Ray chose for it.
"""

from __future__ import annotations

import json
import math
import select
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from wherry.engines.process import shorten_errors
from wherry.errors import EngineError, JobError
from wherry.model.job import TIME_IS_UP, Job, JobState, TaskEnd
from wherry.model.sweep import Grain, SweepSpec
from wherry.run.port import BackendInfo, Capacity, Prepared, Resource, TaskLogs
from wherry.run.tasks import find_logs, task_folder, write_end
from wherry.run.variables import name_worker
from wherry.store.places import cache_path, store_path
from wherry.store.posix import explain_os_errors, write_atomically

_PATIENCE = 120.0  # Ray itself waits for a head that is away for a minute
_ENOUGH = 0.9  # of the room that could be used: then larger workers are better than more of them
_HINT = "`ray status` on a node; `address` of the target, or RAY_ADDRESS. When Ray is up again: wherry sweep resume"
_HOW = {"lost": JobState.LOST, "cancelled": JobState.CANCELLED, "late": JobState.TIMED_OUT}
_CODES = {0: JobState.SUCCEEDED, -9: JobState.LOST, -15: JobState.LOST, 143: JobState.CANCELLED}


class RayBackend:
    """`env` is what finds the cluster; RAY_ADDRESS in it wins over `address`, so that a sweep can go on elsewhere. `python` is
    the command of a Python that has Ray."""

    def __init__(
        self,
        env: Mapping[str, str],
        address: str | None = None,
        python: Sequence[str] = (sys.executable,),
    ) -> None:
        self._env = env
        of_machine = env.get("RAY_ADDRESS", "")
        # One of HTTP is of Ray's job server, whose clients read the same variable.
        self._address = (of_machine if not of_machine.startswith("http") else "") or address or "auto"
        self._python = tuple(python)
        self._desk: _Desk | None = None
        self._share: dict[str, float] = {"num_cpus": 1}

    @property
    def grain(self) -> Grain:
        return Grain.WORKERS

    def probe(self) -> BackendInfo:
        try:
            self._ask("list-nodes")
        except EngineError as error:
            return BackendInfo(usable=False, reason=error.what, hint=error.hint or "")
        return BackendInfo(usable=True)

    def up(self) -> Prepared:
        """Nothing: the cluster stands, and what it has is Ray's to give."""
        return Prepared()

    def measure(self, spec: SweepSpec) -> Capacity:
        """Workers as large as most of the cluster has room for."""
        limits, nodes = spec.sweep.limits, self._ask("list-nodes")
        room = [_count_tasks(node, spec) for node in nodes]
        if limits.gpus is not None:
            slots, workers = 1, sum(room)
        else:
            slots, workers = divide_room(room, len(spec))
        if not workers:
            raise JobError("a task asks for more than a node has", where=spec.sweep.name, hint="ray status")
        workers = min(spec.sweep.workers or workers, -(-len(spec) // slots))
        if spec.sweep.concurrency is not None:
            workers = min(workers, spec.sweep.concurrency)
            slots = max(1, min(slots, spec.sweep.concurrency // workers))
        self._share = _render_share(spec, slots, nodes)
        note = f"{len(nodes)} nodes of Ray at {self._address}: {workers} workers, {slots} tasks at once on each"
        return Capacity(workers=workers, slots=slots, notes=(note,))

    def submit(self, job: Job, indices: Sequence[int]) -> None:
        places = {"WHERRY_STORE": str(store_path(self._env)), "WHERRY_CACHE": str(cache_path(self._env))}
        workers = {str(index): {**places, **dict(job.env), **name_worker(job, index)} for index in indices}
        asked = {
            "round": job.id,
            "owner": dict(job.labels).get("wherry-owner", "nobody"),
            "workers": workers,
            "command": job.command,
            "share": self._share,
            "seconds": job.limits.seconds,
        }
        self._ask("begin", asked=asked)

    def poll(self, job: Job) -> dict[int, TaskEnd]:
        known = [path.parent.name for path in Path(job.folder).glob("tasks/*/end.json")]
        found = self._ask("look", name=job.id, known=known) or {}
        ends = {int(index): _judge(end) for index, end in found.items()}
        for index, end in found.items():
            if end is not None and index not in known:
                self._keep_streams(job, int(index), (end["out"], end["err"]))
                write_end(task_folder(job.folder, int(index)), ends[int(index)])
        return ends

    def logs(self, job: Job, index: int) -> TaskLogs:
        said = self._ask("read", name=job.id, index=str(index))
        if said is not None:
            self._keep_streams(job, index, said)
        return find_logs(job.folder, index)

    def cancel(self, job: Job, grace: float) -> None:
        self._ask("end", patience=grace, name=job.id, grace=grace)

    def down(self) -> None:
        """Nothing stands when no keeper does; the connection is given up."""
        if self._desk is not None:
            self._desk.close()
            self._desk = None

    def list_resources(self) -> tuple[Resource, ...]:
        return tuple(Resource(id=name, round=name, detail=detail) for name, detail in self._ask("list"))

    def release(self, resource: Resource) -> None:
        self._ask("release", name=resource.id)

    def _ask(self, verb: str, patience: float = 0.0, **arguments: Any) -> Any:
        if self._desk is None:
            self._desk = _Desk(self._python, self._env, self._address)
        try:
            return self._desk.ask(verb, arguments, patience + _PATIENCE)
        except EngineError:
            self.down()
            raise

    def _keep_streams(self, job: Job, index: int, said: Sequence[str]) -> None:
        logs = find_logs(job.folder, index)
        with explain_os_errors(logs.stdout.parent):
            logs.stdout.parent.mkdir(parents=True, exist_ok=True)
            for path, text in zip((logs.stdout, logs.stderr), said, strict=True):
                write_atomically(path, text.encode())


class _Desk:
    """The process that speaks with a cluster; it ends with this object, at the latest with this process."""

    def __init__(self, python: tuple[str, ...], env: Mapping[str, str], address: str) -> None:
        if python[0] == sys.executable and find_spec("ray") is None:
            raise EngineError("Ray is not installed", hint="pip install 'wherry[ray]', of the cluster's version")
        self._address = address
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with this object
        argv = (*python, "-P", "-m", "wherry.run.backends.ray_desk", address)
        # From /, for Ray tells all that run on the cluster to look for modules where its client stands.
        self._process = subprocess.Popen(
            argv, cwd="/", env=dict(env), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, process_group=0
        )
        self._lock = threading.Lock()
        self.close = weakref.finalize(self, _close, self._process, self._errors)

    def ask(self, verb: str, arguments: Mapping[str, Any], patience: float) -> Any:
        with self._lock:
            line = self._exchange(json.dumps([verb, arguments]).encode() + b"\n", patience)
        if not line:
            raise EngineError(f"Ray at {self._address} does not answer: {self._read_errors()}", hint=_HINT)
        answer = json.loads(line)
        if "error" in answer:
            raise EngineError(f"Ray at {self._address}: {answer['error']}", hint=_HINT)
        return answer["is"]

    def _exchange(self, line: bytes, patience: float) -> bytes:
        """An answer's line; nothing where there is none in time, or nobody to give one."""
        asking, answers = self._process.stdin, self._process.stdout
        assert asking is not None and answers is not None  # noqa: S101, PT018
        try:
            asking.write(line)
            asking.flush()
        except BrokenPipeError:
            return b""
        ready = select.select([answers], [], [], patience)[0]
        return answers.readline() if ready else b""

    def _read_errors(self) -> str:
        self._errors.seek(0)
        return shorten_errors(self._errors.read(1 << 20))


def _close(process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
    process.kill()  # it has nothing that would be lost
    process.communicate()
    errors.close()


def divide_room(room: Sequence[int], tasks: int) -> tuple[int, int]:
    """Tasks at once of a worker, and workers, for nodes that have room for so many tasks each: the fewest workers that use nearly
    all of it."""
    sizes = sorted({min(most, tasks) for most in room if most}, reverse=True)
    used = {size: sum(most // size for most in room) for size in sizes}
    best = max((size * workers for size, workers in used.items()), default=0)
    size = next((size for size in sizes if size * used[size] >= _ENOUGH * best), 1)
    return size, used.get(size, 0)


def _count_tasks(node: Mapping[str, float], spec: SweepSpec) -> int:
    limits = spec.sweep.limits
    most = int(node.get("CPU", 0.0) / (limits.cpus or 1.0))
    if limits.memory is not None:
        most = min(most, int(node.get("memory", 0.0) // limits.memory))
    if limits.gpus is not None:
        gpus = node.get("GPU", 0.0)
        most = min(most, int(gpus > 0) if limits.gpus == "all" else int(gpus // int(limits.gpus)))
    return most


def _render_share(spec: SweepSpec, slots: int, nodes: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """What a worker asks of Ray, which wants whole numbers above one."""
    limits = spec.sweep.limits
    cpus = slots * (limits.cpus or 1.0)
    share = {"num_cpus": cpus if cpus < 1 else float(math.ceil(cpus))}
    if limits.memory is not None:
        share["memory"] = float(slots * limits.memory)
    if limits.gpus is not None:
        all_of_one = min(gpus for node in nodes if (gpus := node.get("GPU", 0.0)))
        share["num_gpus"] = all_of_one if limits.gpus == "all" else float(limits.gpus)
    return share


def _judge(end: Mapping[str, Any] | None) -> TaskEnd:
    if end is None:
        return TaskEnd(state=JobState.RUNNING)
    code, state = end["code"], _HOW.get(end["how"]) or _CODES.get(end["code"], JobState.FAILED)
    if state is JobState.TIMED_OUT:
        code = TIME_IS_UP
    return TaskEnd(state=state, exit_code=128 - code if code is not None and code < 0 else code, ended=end["ended"])
