"""Drives a sweep to its end: asks a backend for workers, looks on, asks again for those that were lost, and gives everything back.

A driver holds nothing that is not in the store: it may be killed at any point, and another one, on another machine, goes on.
What costs money is torn down three times over: by the driver at its end, whatever ends it; by the deadline that the backend was
given; and by `sweep gc`, which finds it by the tag that was written before it was asked for.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from wherry.errors import BudgetError, JobError, WherryError
from wherry.model.job import Job, Limits
from wherry.model.sweep import Grain, Round, SweepSpec
from wherry.run.port import Capacity, SweepBackend
from wherry.run.sweep_foreign import ForeignTasks
from wherry.run.sweep_state import SweepState
from wherry.run.sweep_status import StatusReader, SweepStatus
from wherry.run.sweep_watch import StopSign

_GRACE = 30.0  # for workers: their tasks have ten seconds, and are looked after to their end
_LAST_WORDS = 4096
_SHORTEST = 1.0  # seconds that a round is worth its while
_IDLE_ROUNDS = 3  # rounds in a row after which nothing more was finished
_QUICKLY, _SLOWLY = 0.05, 2.0  # seconds between two looks
Look = Callable[[SweepStatus], None]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """Where a driver stands: who it is, where workers' folders lie here, the command that starts a worker, its variables.

    `keep` is when what was made may be given back at the latest, in seconds since 1970; None: when the driver ends.
    """

    owner: str
    host: str
    folder: Path
    command: tuple[str, ...]
    env: Mapping[str, str]
    keep: float | None = None


class SweepDriver:
    """One sweep's driver. `stop` ends it, and the sweep's workers with it."""

    def __init__(
        self, state: SweepState, spec: SweepSpec, backend: SweepBackend, post: Post, stop: StopSign, say: Say, look: Look
    ) -> None:
        self._state = state
        self._spec = spec
        self._backend = backend
        self._post = post
        self._stop = stop
        self._say = say
        self._look = look
        self._tasks: ForeignTasks | None = None
        self._reader = StatusReader(state, spec, 3 * spec.beat)

    def drive(self) -> SweepStatus:
        """Go on until every task has ended, the sweep is cancelled, or `stop` is given; how far it is then."""
        open_rounds = [made for made in self._state.read_tags() if made.backend == self._spec.backend]
        try:
            status = self._go_on(open_rounds)
        finally:
            self._give_back(open_rounds)
        return self._reader.read() if status.counts.done < status.counts.total else status

    def _go_on(self, rounds: list[Round]) -> SweepStatus:
        idle, finished, pause = 0, -1, _QUICKLY
        while True:
            status = self._reader.read()
            self._look(status)
            if status.counts.done == status.counts.total or status.cancelled or self._stop.given:
                return status
            self._refuse_cost(status)
            if not self._is_worked_on(status, rounds):
                if self._reader.read().counts.done > status.counts.done:
                    continue  # the last ones ended while the backend was asked
                idle = 0 if status.counts.done > finished else idle + 1
                if idle >= _IDLE_ROUNDS:
                    raise _explain(status, self._read_last_words(rounds))
                finished, pause = status.counts.done, _QUICKLY
                self._begin_round(status, rounds)
            self._stop.wait(pause)
            pause = min(pause * 1.3, _SLOWLY)

    def _is_worked_on(self, status: SweepStatus, rounds: list[Round]) -> bool:
        """Whether somebody works: by the backend's word where it knows the workers, else by their signs of life."""
        if self._backend.grain is Grain.TASKS:
            return self._advance(rounds)
        if rounds and (ends := self._backend.poll(job := self.job_of(rounds[-1]))):
            if any(not end.state.is_final for end in ends.values()):
                return True
            dead = [beat for beat in status.workers if beat.round == job.id and not beat.over]
            for beat in dead:
                self._state.write_beat(replace(beat, over=True, trouble="it was lost, and said nothing"))
            return bool(status.alive.difference(beat.worker for beat in dead))
        return bool(status.alive)

    def _read_last_words(self, rounds: list[Round]) -> list[str]:
        """What the last workers said before they could say it in the store."""
        said = []
        for made in rounds[-1:] if self._backend.grain is Grain.WORKERS else ():
            with suppress(OSError):
                told = self._backend.logs(self.job_of(made), 0).stderr.read_bytes()[-_LAST_WORDS:].decode("utf-8", "replace")
                said += told.strip().splitlines()[-1:]
        return said

    def _advance(self, rounds: list[Round]) -> bool:
        """The grain TASKS: what workers do otherwise is done here. Whoever drove the last round, this driver carries it on."""
        if not rounds:
            return False
        if self._tasks is None:
            self._tasks = ForeignTasks(self._state, self._spec, self._backend, partial(self._job_of_attempt, rounds[-1]))
            self._tasks.begin()
        return self._tasks.advance(rounds[-1].workers)

    def _job_of_attempt(self, made: Round, attempt: int) -> Job:
        job = self.job_of(made)
        return replace(job, id=f"{job.id}.{attempt}" if attempt else job.id, worker=False, attempt=attempt)

    def _begin_round(self, status: SweepStatus, rounds: list[Round]) -> None:
        capacity = self._backend.measure(self._spec)
        made = plan_round(self._spec, capacity, self._post, time.time(), status)
        if made.expires - made.begun < _SHORTEST:
            raise _refuse_more(self._spec, status)
        for former in rounds[-1:]:
            self._backend.cancel(self.job_of(former), 0)  # its workers are gone; what they left running is not
        rounds.append(made)  # first, so that whatever happens from here on is given back
        self._state.add_round(made)
        for note in capacity.notes:
            self._say(note)
        self._backend.up()
        job = self.job_of(made, capacity)
        Path(job.folder).mkdir(parents=True, mode=0o700, exist_ok=True)
        if self._backend.grain is Grain.WORKERS:
            self._backend.submit(job, range(made.workers))
        else:
            self._tasks = None
            self._advance(rounds)

    def _give_back(self, rounds: list[Round]) -> None:
        """The first net. What fails here is told, and left to the other two."""
        for made in rounds:
            try:
                self._backend.cancel(self.job_of(made), _GRACE)
                if self._post.keep is None:
                    self._release(made)
            except WherryError as error:
                self._say(f"not everything could be given back: {error}\ntry: wherry sweep gc")

    def _release(self, made: Round) -> None:
        name = self.job_of(made).id
        for resource in self._backend.list_resources():
            if resource.round == name:
                self._backend.release(resource)
        self._backend.down()
        self._state.close_round(made)

    def _refuse_cost(self, status: SweepStatus) -> None:
        sweep = self._spec.sweep
        cost = status.cost(sweep.price)
        if cost is not None and sweep.max_cost is not None and cost >= sweep.max_cost:
            raise _refuse_more(self._spec, status)

    def job_of(self, made: Round, capacity: Capacity | None = None) -> Job:
        """A round as a job of a backend."""
        words = ("--slots", str(capacity.slots), "--of", str(capacity.workers)) if capacity else ()
        labels = {"wherry-sweep": made.sweep, "wherry-round": made.id, "wherry-owner": made.owner}
        name = f"{made.sweep}.{made.id}"
        return Job(
            id=name,
            root=self._spec.root,
            folder=str(self._post.folder / name),
            command=(*self._post.command, self._state.store.url, made.sweep, *words),
            limits=Limits(seconds=max(1.0, made.expires - made.begun)),
            env=tuple(self._post.env.items()),
            worker=True,
            labels=(*labels.items(), ("wherry-expires", f"{made.expires:.0f}")),
        )


def plan_round(spec: SweepSpec, capacity: Capacity, post: Post, now: float, status: SweepStatus | None = None) -> Round:
    """The next round of workers, and when it expires: by the sweep's deadline, by its cost, or when it is kept for longer."""
    left = spec.sweep.deadline
    if spec.sweep.price and spec.sweep.max_cost is not None:
        spent = (status.cost(spec.sweep.price) if status else None) or 0.0
        left = min(left, (spec.sweep.max_cost - spent) / (spec.sweep.price * capacity.workers) * 3600)
    return Round(
        sweep=spec.id,
        id=os.urandom(4).hex(),
        backend=spec.backend,
        target=spec.target,
        owner=post.owner,
        begun=now,
        expires=max(now + left, post.keep or 0.0),
        workers=capacity.workers,
        price=spec.sweep.price,
        host=post.host,
    )


def _refuse_more(spec: SweepSpec, status: SweepStatus) -> BudgetError:
    cost, most = status.cost(spec.sweep.price) or 0.0, spec.sweep.max_cost or 0.0
    return BudgetError(f"it has cost {cost:.2f}, and may cost {most:.2f}", where=spec.id, hint="wherry sweep resume --max-cost")


def _explain(status: SweepStatus, last_words: list[str]) -> JobError:
    troubles = {beat.trouble for beat in status.workers if beat.trouble} or set(last_words)
    what = f"{status.counts.total - status.counts.done} tasks are not done, and workers end without doing them"
    return JobError("\n".join([what, *sorted(troubles)]), hint="wherry sweep logs --workers, then wherry sweep resume")
