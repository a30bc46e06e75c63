"""Jobs as values: where they go (`Target`), what they are (`Job`), how far a task is (`TaskEnd`), what is kept (`JobRecord`).

A local run is a job of one task. A state that is final never changes again:

    RUNNING ─→ SUCCEEDED | FAILED | CANCELLED | TIMED_OUT | LOST

LOST is a job whose supervisor died without saying how it ended: killed, or gone with the machine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from wherry.model.azure import AzurePool

TIME_IS_UP = 124  # as coreutils' timeout says it
_NUMBER = re.compile(r"-\.?[0-9]")


class BackendKind(Enum):
    LOCAL = "local"
    CONTAINER = "container"
    SLURM = "slurm"
    AZURE_BATCH = "azure-batch"
    RAY = "ray"

    @property
    def is_here(self) -> bool:
        """Whether single jobs go there: this machine. Others take sweeps alone."""
        return self in (BackendKind.LOCAL, BackendKind.CONTAINER)


class JobState(Enum):
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed-out"
    LOST = "lost"

    @property
    def is_final(self) -> bool:
        return self is not JobState.RUNNING


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a job may take; None: as much as there is. `memory` in bytes, `seconds` of wall time, `gpus` is ``all`` or a number."""

    cpus: float | None = None
    memory: int | None = None
    gpus: str | None = None
    seconds: float | None = None

    def narrowed_by(self, other: Limits) -> Limits:
        """These, with what `other` says in their place."""
        pairs = {name: getattr(other, name) for name in self.__dataclass_fields__}
        own = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return Limits(**{name: own[name] if value is None else value for name, value in pairs.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFolder:
    """A folder of the project that jobs see at the same place; read-only unless `writable`."""

    path: str
    writable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where jobs go: ``[targets.NAME]``. `engine` None: the first usable one. `data` None: ``data/`` where there is one.

    `engine_args` are handed to a cluster's own program as they are; `address` is where a cluster is, None: where this machine says.
    `azure` is what Azure Batch is asked for.
    """

    name: str
    backend: BackendKind
    engine: str | None = None
    limits: Limits = Limits()
    env: tuple[tuple[str, str], ...] = ()
    data: tuple[DataFolder, ...] | None = None
    network: str | None = None
    engine_args: tuple[str, ...] = ()
    address: str | None = None
    azure: AzurePool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is to be run. `env` is whole: whatever the job's processes get beyond what the backend itself sets.

    `folder` is the job's own, absolute; `root` the project's. A `worker` of a sweep is wherry's own command,
    started as it is, outside of what tasks run in. `labels` are written on whatever a backend makes for the job, where it can.
    `attempt` is that of a sweep's tasks which the backend runs itself.
    """

    id: str
    root: str
    folder: str
    command: tuple[str, ...]
    limits: Limits = Limits()
    env: tuple[tuple[str, str], ...] = ()
    data: tuple[DataFolder, ...] = ()
    worker: bool = False
    attempt: int = 0
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEnd:
    """How far one task is. Not final: only `state` counts. `ended` is in seconds since 1970."""

    state: JobState
    exit_code: int | None = None
    ended: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A file that a job left in its outputs folder; `path` is below that folder."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """What is kept of a job, and enough to do it again.

    `lock` is the digest of the locked packages of `platform`; `dirty` that of all that differs from `commit`, None where nothing
    does. `seed` is what random numbers were to begin with (`run.variables`); None in records of before. `env` has what was set for
    this job alone: variables that were passed on from a shell are there by name (None). Times are seconds since 1970.
    """

    id: str
    project: str
    name: str
    target: str
    backend: str
    engine: str | None = None
    command: tuple[str, ...]
    parameters: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str | None] = field(default_factory=dict)
    limits: Mapping[str, Any] = field(default_factory=dict)
    data: tuple[str, ...] = ()
    network: str | None = None
    platform: str
    lock: str | None = None
    image: str | None = None
    python: str | None = None
    seed: int | None = None
    commit: str | None = None
    dirty: str | None = None
    again: str | None = None
    host: str
    started: float
    ended: float | None = None
    state: JobState = JobState.RUNNING
    exit_code: int | None = None
    outputs: tuple[Output, ...] = ()

    def count_seconds(self, now: float) -> float | None:
        """From its begin to its end, or to `now`; None where nobody knows its end. Clocks are set back, time does not go there."""
        if self.ended is None and self.state.is_final:
            return None
        return max((now if self.ended is None else self.ended) - self.started, 0.0)


def combine_ends(ends: Sequence[TaskEnd]) -> TaskEnd:
    """A job's end out of those of its tasks: running while one is, else the worst."""
    if any(not end.state.is_final for end in ends):
        return TaskEnd(state=JobState.RUNNING)
    order = (JobState.LOST, JobState.CANCELLED, JobState.TIMED_OUT, JobState.FAILED, JobState.SUCCEEDED)
    worst = min(ends, key=lambda end: order.index(end.state))
    times = [end.ended for end in ends if end.ended is not None]
    return TaskEnd(state=worst.state, exit_code=worst.exit_code, ended=max(times) if times else None)


def read_parameters(command: Sequence[str]) -> dict[str, str]:
    """The parameters on a command line: ``--lr 0.1``, ``--lr=0.1``, ``lr=0.1`` and ``--flag``. The last of a name counts."""
    found: dict[str, str] = {}
    words = list(command[1:])
    for position, word in enumerate(words):
        name, equals, value = word.lstrip("-").partition("=")
        if not name or name[0].isdigit() or not (word.startswith("--") or (equals and word == word.lstrip("-"))):
            continue
        after = words[position + 1] if position + 1 < len(words) else "-"
        if not equals:
            value = "true" if after.startswith("-") and not _NUMBER.match(after) else after
        found[name] = value
    return found
