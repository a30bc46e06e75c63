"""The port behind which backends stay: where jobs go (DESIGN decision 12).

What crosses it are the values of `model/job.py`. Every backend passes one contract suite (tests/unit/run/backend_contract.py).

Rules that all keep: `up` makes ready whatever a job needs, and never something else than the lock says; `submit` returns when the
tasks are on their way; the streams of a task are files of the job's folder that anybody may read meanwhile; a task that is gone
without a word is LOST, and what is left of it is ended by `cancel`; the job's folder tells all, so that any process may poll,
cancel and read the logs of a job that another one submitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from wherry.model.grain import Grain
from wherry.model.job import Job, TaskEnd

if TYPE_CHECKING:  # a single job begins without knowing what a sweep is
    from wherry.model.sweep import SweepSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendInfo:
    """What a probe found. Not `usable`: `reason` says why and `hint` what to try."""

    usable: bool
    reason: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What jobs run in, once `up` has made it: digest of the locked packages, image ID, version of Python, where they are known."""

    lock: str | None = None
    image: str | None = None
    python: str | None = None
    engine: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskLogs:
    """The files that a task's streams go to."""

    stdout: Path
    stderr: Path


class Backend(Protocol):
    """Where jobs go. Whatever keeps a job from running is a `WherryError` with a remedy."""

    def probe(self) -> BackendInfo:
        """Say whether jobs can go there, without raising and without making anything."""
        ...

    def up(self) -> Prepared:
        """Make ready what jobs need; quick when it is ready already."""
        ...

    def submit(self, job: Job, indices: Sequence[int]) -> None:
        """Start one task for each index. What cannot be started at all is an error, and then nothing of the job runs."""
        ...

    def poll(self, job: Job) -> dict[int, TaskEnd]:
        """How far each task is that was submitted."""
        ...

    def logs(self, job: Job, index: int) -> TaskLogs:
        """Where a task's streams are."""
        ...

    def cancel(self, job: Job, grace: float) -> None:
        """Ask all tasks to end, and end them after `grace` seconds. One that has ended is fine."""
        ...

    def down(self) -> None:
        """Give back whatever `up` took that costs something while it stands."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """How a sweep would be spread: so many workers, each with so many tasks at once. `notes` tell people of quotas and sizes."""

    workers: int
    slots: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """Something that a backend made for a round of a sweep's workers, and that stands. `round` is the job's ID, off its labels."""

    id: str
    round: str
    detail: str = ""


class SweepBackend(Backend, Protocol):
    """A backend that sweeps can be sent to: as jobs with `worker` set, one index for each worker; or, of the grain TASKS, as jobs
    of one attempt, one index for each task (run/sweep_foreign.py says what it has to do then).

    What a job's `limits.seconds` says is a deadline that the backend itself keeps, should nobody be there any more to end the job.
    What costs money is made by `submit`, which has the labels and the deadline, and shows in `list_resources` from then on.
    """

    @property
    def grain(self) -> Grain: ...

    def measure(self, spec: SweepSpec) -> Capacity:
        """How many workers the sweep would get, asked of the backend where it has quotas, without making anything."""
        ...

    def list_resources(self) -> tuple[Resource, ...]:
        """Whatever stands of any sweep, found by labels alone."""
        ...

    def release(self, resource: Resource) -> None:
        """End and remove it; one that is gone is fine."""
        ...
