"""Workers of sweeps on a Slurm cluster: one array for each round, one element of it for each worker, each on a node of its own.

Knows `sbatch`, `squeue`, `scancel` and `sinfo` (man pages of Slurm 20.11 and newer), and a file system that the nodes share, where
the project, its environment and workers' folders lie at the same paths. Accounting is not needed: how a worker ended is written by
the batch script itself, and Slurm is believed only about those that wrote nothing. A round is found by its job's name, and what is
of any sweep by the comment that its array carries. Slurm's own retries are off: who is lost is asked for again by the driver.

A controller that does not answer ends nothing: workers go on without it, and polls say what was known before. Words of the user's
own come before those by which rounds are found and ended, so that they cannot hide any; variables that filter what Slurm's programs
show (`SQUEUE_PARTITION`) are kept from them.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from wherry.engines.process import ask, find_program, shorten_errors
from wherry.errors import EngineError, JobError
from wherry.model.job import TIME_IS_UP, Job, JobState, TaskEnd
from wherry.model.sweep import Grain, SweepSpec
from wherry.run.backends.slurm_words import (
    EXIT_CODE,
    QUEUE_FORMAT,
    QueueRow,
    find_partition,
    is_out,
    parse_queue,
    render_defaults,
    render_request,
    render_script,
    render_share,
    split_rows,
)
from wherry.run.port import BackendInfo, Capacity, Prepared, Resource, TaskLogs
from wherry.run.tasks import find_logs, task_folder
from wherry.store.posix import explain_os_errors, write_atomically

Say = Callable[[str], None]
_ASKED = "slurm.json"
_UNREACHABLE = re.compile(
    "unable to contact slurm controller|socket timed out|zero bytes were transmitted|connection refused", re.I
)
_PATIENCE = 60.0
_PAUSE = 0.5
_STATES = {
    "COMPLETED": JobState.SUCCEEDED,
    "CANCELLED": JobState.CANCELLED,
    "TIMEOUT": JobState.TIMED_OUT,
    "DEADLINE": JobState.TIMED_OUT,
    "FAILED": JobState.FAILED,
    "OUT_OF_MEMORY": JobState.FAILED,
    "NODE_FAIL": JobState.LOST,
    "BOOT_FAIL": JobState.LOST,
    "PREEMPTED": JobState.LOST,
    "REVOKED": JobState.LOST,
}
_STANDING = "PENDING,RUNNING,SUSPENDED,CONFIGURING,STOPPED"
# Reasons of a wait that does not end by itself.
_STUCK = re.compile(r"DOWN, DRAINED|ReqNodeNotAvail|Partition(Down|Inactive)|BadConstraints|NodeDown|InvalidAccount|InvalidQOS")
_TOO_LONG = re.compile(r"PartitionTimeLimit|MaxWallDurationPerJob")
_FILTERS = ("SQUEUE_", "SINFO_", "SCANCEL_")


class SlurmBackend:
    """`env` is what finds the cluster; `engine_args` go to sbatch as they are: account, partition, QOS, gres."""

    def __init__(self, env: Mapping[str, str], engine_args: Sequence[str] = (), say: Say = lambda _text: None) -> None:
        self._env = {name: value for name, value in env.items() if not name.startswith(_FILTERS)}
        self._engine_args = tuple(engine_args)
        self._say = say
        self._said: set[str] = set()
        self._share: tuple[str, ...] = ("--exclusive",)

    @property
    def grain(self) -> Grain:
        return Grain.WORKERS

    def probe(self) -> BackendInfo:
        if find_program("sbatch", self._env) is None:
            return BackendInfo(usable=False, reason="sbatch is not here", hint="run wherry on a login node of the cluster")
        done = ask(("sinfo", "--noheader", "--format=%D"), self._env)
        if done.returncode != 0:
            reason = shorten_errors(done.stderr)
            return BackendInfo(
                usable=False, reason=f"Slurm does not answer: {reason}", hint="SLURM_CONF, or ask the cluster's people"
            )
        return BackendInfo(usable=True)

    def up(self) -> Prepared:
        """Nothing: the cluster stands, and nodes are Slurm's to give."""
        return Prepared()

    def measure(self, spec: SweepSpec) -> Capacity:
        """A worker on each node that could be had, with as many tasks at once as its processors and memory have room for."""
        nodes = self._list_nodes()
        if not nodes:
            if self._engine_args:
                self._demand(("sbatch", "--test-only", *self._engine_args, "--wrap=true"), "Slurm does not take the workers")
            raise EngineError("no node of the cluster can be had", hint=self._explain_nodes() or "sinfo --list-reasons")
        limits = spec.sweep.limits
        room = [int(cpus / (limits.cpus or 1.0)) for cpus, _ in nodes]
        if limits.gpus is not None:
            room = [min(most, 1) for most in room]
        if limits.memory is not None:
            room = [min(most, memory // limits.memory) for most, (_, memory) in zip(room, nodes, strict=True)]
        if max(room) < 1:
            raise JobError("a task asks for more than a node has", where=spec.sweep.name, hint="sinfo --Node --long")
        slots = max(1, min(min(most for most in room if most), len(spec)))
        workers = min(spec.sweep.workers or len(nodes), -(-len(spec) // slots))
        if spec.sweep.concurrency is not None:
            slots = max(1, min(slots, -(-spec.sweep.concurrency // workers)))
        self._share = render_share(limits, slots)
        return Capacity(workers=workers, slots=slots, notes=(f"{len(nodes)} nodes can be had, {slots} tasks at once on each",))

    def submit(self, job: Job, indices: Sequence[int]) -> None:
        folder = Path(job.folder)
        with explain_os_errors(folder):
            for index in indices:
                task_folder(folder, index).mkdir(parents=True, exist_ok=True)
            script = folder / "worker.sh"
            write_atomically(script, render_script(job).encode())
            write_atomically(folder / _ASKED, json.dumps({"indices": list(indices)}).encode())
        self._demand(
            ("sbatch", *self._share, *render_defaults(job), *self._engine_args, *render_request(job, indices), "--", str(script)),
            "Slurm does not take the workers",
        )

    def poll(self, job: Job) -> dict[int, TaskEnd]:
        asked = _read_asked(Path(job.folder))
        done = ask(("squeue", "--noheader", "--array", "--states=all", f"--name={job.id}", f"--format={QUEUE_FORMAT}"), self._env)
        if done.returncode != 0:
            if not _UNREACHABLE.search(done.stderr.decode(errors="replace")):
                raise EngineError(f"squeue: {shorten_errors(done.stderr)}", hint="wherry sweep resume")
            self._say_once("Slurm's controller does not answer; workers go on without it")
            return {index: _read_end(job, index) or TaskEnd(state=JobState.RUNNING) for index in asked}
        rows = {row.index: row for row in parse_queue(done.stdout.decode(errors="replace"))}
        self._tell_what_waits(rows.values())
        return {index: _read_end(job, index) or _judge(rows.get(index)) for index in sorted({*asked, *rows})}

    def logs(self, job: Job, index: int) -> TaskLogs:
        return find_logs(job.folder, index)

    def cancel(self, job: Job, grace: float) -> None:
        self._end((f"--name={job.id}",), lambda: self._stands(f"--name={job.id}"), grace)

    def down(self) -> None:
        """Nothing stands when no worker does."""

    def list_resources(self) -> tuple[Resource, ...]:
        output = self._demand(
            ("squeue", "--noheader", "--me", f"--states={_STANDING}", "--format=%F|%j|%k"), "Slurm does not say what stands"
        )
        found: dict[str, Resource] = {}
        for array, name, comment in split_rows(output, 3):
            if _read_label(comment, "wherry-sweep") is not None:
                found[array] = Resource(id=array, round=name, detail="an array of Slurm")
        return tuple(found.values())

    def release(self, resource: Resource) -> None:
        self._end((resource.id,), lambda: self._stands(f"--jobs={resource.id}"), 0)

    # -- asking Slurm

    def _end(self, which: tuple[str, ...], stands: Callable[[], bool], grace: float) -> None:
        """Those that wait are taken back, those that run are asked to end, then ended. Returns when none of them runs."""
        if not stands():
            return
        if grace > 0:
            self._cancel("--state=PENDING", *which)
            self._cancel("--full", "--signal=TERM", *which)
            end = time.monotonic() + grace
            while stands() and time.monotonic() < end:
                time.sleep(_PAUSE)
        self._cancel(*which)
        end = time.monotonic() + _PATIENCE
        while stands():
            if time.monotonic() > end:
                raise EngineError(f"Slurm did not end {' '.join(which)} in {_PATIENCE:.0f} s", hint="scancel --signal=KILL --full")
            time.sleep(_PAUSE)

    def _cancel(self, *words: str) -> None:
        """What ended in between is fine; scancel then fails without a word."""
        self._demand(("scancel", "--quiet", *words), "workers cannot be ended", silent=True)

    def _stands(self, which: str) -> bool:
        """Whether anything of that is in Slurm's hands still, its ending processes among it."""
        states = f"--states={_STANDING},COMPLETING"
        done = ask(("squeue", "--noheader", "--me", states, which, "--format=%F"), self._env)
        if done.returncode != 0:
            return b"Invalid job id" not in done.stderr  # what Slurm has forgotten is gone; no answer is no word of an end
        return bool(done.stdout.strip())

    def _demand(self, argv: tuple[str, ...], what: str, *, silent: bool = False) -> str:
        """The output of a command; a controller that is away is waited for, a minute. `silent`: failing mutely is no failure."""
        end = time.monotonic() + _PATIENCE
        while True:
            done = ask(argv, self._env)
            if done.returncode == 0 or (silent and not done.stderr.strip()):
                return done.stdout.decode(errors="replace")
            reachable = _UNREACHABLE.search(done.stderr.decode(errors="replace")) is None
            if reachable or time.monotonic() > end:
                raise EngineError(f"{what}: {_shorten(done)}", hint=self._explain_nodes() if reachable else "wherry sweep resume")
            self._say_once("Slurm's controller does not answer; waiting for it")
            time.sleep(_PAUSE)

    def _list_nodes(self) -> list[tuple[int, int]]:
        """Processors and memory (bytes) of the nodes that take jobs: of the partition that was asked for, else of the default."""
        partition = find_partition(self._engine_args) or self._env.get("SBATCH_PARTITION")
        which = (f"--partition={partition}",) if partition else ()
        argv = ("sinfo", "--noheader", "--Node", "--responding", "--format=%N|%c|%m|%t|%P", *which)
        rows = list(split_rows(self._demand(argv, "Slurm does not tell its nodes"), 5))
        default = [row for row in rows if row[4].endswith("*")] if not partition else []
        found = {name: (int(cpus), int(memory) << 20) for name, cpus, memory, state, _ in default or rows if not is_out(state)}
        return list(found.values())

    def _tell_what_waits(self, rows: Iterable[QueueRow]) -> None:
        for row in rows:
            if row.state == "PENDING" and _STUCK.search(row.reason):
                self._say_once(f"workers wait: {row.reason}\ntry: {self._explain_nodes() or 'sinfo --list-reasons'}")
            elif row.state == "PENDING" and _TOO_LONG.search(row.reason):
                self._say_once(f"workers wait: {row.reason}\ntry: a shorter deadline, or --engine-args '--time=HOURS:00:00'")

    def _explain_nodes(self) -> str | None:
        """How drained nodes are brought back, if there are any: a controller that crashed leaves some behind."""
        done = ask(("sinfo", "--noheader", "--list-reasons", "--format=%N|%t|%E"), self._env)
        for name, state, reason in split_rows(done.stdout.decode(errors="replace"), 3) if done.returncode == 0 else ():
            if is_out(state):
                return f"scontrol update nodename={name} state=resume ({name} is {state}: {reason})"
        return None

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._say(text)


def _judge(row: QueueRow | None) -> TaskEnd:
    """A worker that wrote no end: as Slurm says, and lost where Slurm no longer knows it."""
    if row is None:
        return TaskEnd(state=JobState.LOST)
    return TaskEnd(state=_STATES.get(row.state, JobState.RUNNING))


def _read_end(job: Job, index: int) -> TaskEnd | None:
    try:
        path = task_folder(job.folder, index) / EXIT_CODE
        code, ended = int(path.read_text()), path.stat().st_mtime
    except (OSError, ValueError):
        return None
    states = {0: JobState.SUCCEEDED, TIME_IS_UP: JobState.TIMED_OUT, 137: JobState.LOST, 143: JobState.CANCELLED}
    return TaskEnd(state=states.get(code, JobState.FAILED), exit_code=code, ended=ended)


def _read_asked(folder: Path) -> tuple[int, ...]:
    """The indices that were asked for; none where this is another machine's folder, or nothing was."""
    try:
        return tuple(json.loads((folder / _ASKED).read_bytes())["indices"])
    except (OSError, ValueError, KeyError):
        return ()


def _read_label(comment: str, name: str) -> str | None:
    return dict(part.partition("=")[::2] for part in comment.split(",")).get(name)


def _shorten(done: subprocess.CompletedProcess[bytes]) -> str:
    """What a program of Slurm's said last, but for where its help is."""
    told = b"\n".join(line for line in done.stderr.splitlines() if not line.startswith(b"Try "))
    return shorten_errors(told) if told.strip() else f"exit code {done.returncode}"
