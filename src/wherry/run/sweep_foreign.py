"""Tasks that a backend runs by itself, one by one, because it leaves no choice: they are leased and committed here, in the driver.

Such a backend starts each task's command with its variables, and has what it leaves sent below the attempt: ``stdout``, ``stderr``,
``metrics``, ``outputs/…`` (`SweepState.attempt_key`). A task's lease is the round's, not this process's: another driver finds the
round by its tag and goes on. Digests of outputs are not known here, because nobody here has seen the bytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from wherry.formats.job_metrics import JobMetrics, summarise
from wherry.model.job import Job, JobState, Output, TaskEnd
from wherry.model.sweep import ATTEMPTS, Beat, Lease, Running, SweepSpec, TaskDone
from wherry.run.port import SweepBackend
from wherry.run.sweep_claims import LOST, keep_numbers, may_try_again, pause_before
from wherry.run.sweep_results import METRICS_FILE, OUTPUTS_FOLDER
from wherry.run.sweep_state import SweepState, unspell

_AT_ONCE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """A task that the round has. `not_before`: when its attempt may begin; None: it was asked for."""

    lease: Lease
    since: float
    not_before: float | None = None


class ForeignTasks:
    """The tasks of one round. `job_of` makes the job that the tasks of one attempt are submitted as."""

    def __init__(
        self,
        state: SweepState,
        spec: SweepSpec,
        backend: SweepBackend,
        job_of: Callable[[int], Job],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state = state
        self._spec = spec
        self._backend = backend
        self._job_of = job_of
        self._clock = clock
        self._round = job_of(0).id
        self._held: dict[int, _Held] = {}
        self._began = clock()
        self._number = self._done = self._copies = 0

    def begin(self) -> None:
        """Take all tasks that have no end: those that nobody had, those of rounds before, and those that this round has already."""
        left = sorted(set(range(len(self._spec))).difference(self._state.list_done()))
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            leases = [lease for lease in pool.map(self._take, left) if lease is not None]
        now = self._clock()
        self._held = {lease.task: _Held(lease=lease, since=now, not_before=now) for lease in leases}
        for attempt in sorted({lease.attempt for lease in leases}):
            for task in self._backend.poll(self._job_of(attempt)):
                if task in self._held and self._held[task].lease.attempt == attempt:
                    self._held[task] = replace(self._held[task], not_before=None)  # a driver before us asked for it
        self._submit()

    def advance(self, workers: int) -> bool:
        """Settle what has ended, ask for what may begin; whether something is under way."""
        ended: list[TaskDone] = []
        for attempt in sorted({held.lease.attempt for held in self._held.values() if held.not_before is None}):
            ends = self._backend.poll(self._job_of(attempt))
            for held in [one for one in self._held.values() if one.lease.attempt == attempt and one.not_before is None]:
                end = ends.get(held.lease.task)
                if end is not None and end.state.is_final:
                    ended += self._settle(held.lease, end)
        self._submit()
        if ended:
            self._copies += 1
            self._state.write_ends(self._round, self._copies, ended)
        self._beat(workers)
        return bool(self._held)

    def _take(self, task: int) -> Lease | None:
        """The round's lease of a task. One that the round has already is the same attempt, whoever drove it then."""
        fresh = Lease(task=task, worker=self._round)
        if self._state.claim(fresh):
            return fresh
        held = self._state.read_lease(task)
        if held is None or held[0].worker == self._round:
            return held[0] if held else None
        following = replace(held[0], worker=self._round, attempt=held[0].attempt + 1)
        return following if not self._state.is_done(task) and self._state.claim(following, held[1]) else None

    def _submit(self) -> None:
        now = self._clock()
        ready = [held.lease for held in self._held.values() if held.not_before is not None and held.not_before <= now]
        for attempt in sorted({lease.attempt for lease in ready}):
            tasks = [lease.task for lease in ready if lease.attempt == attempt]
            self._backend.submit(self._job_of(attempt), tasks)
            for task in tasks:
                self._held[task] = replace(self._held[task], not_before=None)

    def _settle(self, lease: Lease, end: TaskEnd) -> Iterator[TaskDone]:
        del self._held[lease.task]
        if end.state is JobState.CANCELLED:
            return
        lost = end.state is JobState.LOST
        if lost and lease.lost + 1 < ATTEMPTS:
            self._hold(lease, replace(lease, attempt=lease.attempt + 1, lost=lease.lost + 1), 0.0)
        elif not lost and may_try_again(self._spec, lease, end.state, end.exit_code):
            following = replace(lease, attempt=lease.attempt + 1, failures=lease.failures + 1)
            self._hold(lease, following, pause_before(self._spec, lease, end.exit_code))
        else:
            done = self._describe(lease, end)
            if self._state.commit(done):
                self._done += 1
                yield done

    def _hold(self, lease: Lease, following: Lease, pause: float) -> None:
        held = self._state.read_lease(lease.task)
        if held is not None and held[0] == lease and self._state.claim(following, held[1]):
            now = self._clock()
            self._held[lease.task] = _Held(lease=following, since=now, not_before=now + pause)

    def _describe(self, lease: Lease, end: TaskEnd) -> TaskDone:
        metrics = self._read_metrics(lease)
        return TaskDone(
            task=lease.task,
            attempt=lease.attempt,
            state=end.state,
            exit_code=end.exit_code,
            worker=self._round,
            ended=end.ended or 0.0,
            metrics=keep_numbers(metrics),
            told=metrics.parameters,
            outputs=tuple(self._list_outputs(lease)),
            note=LOST if end.state is JobState.LOST else None,
        )

    def _read_metrics(self, lease: Lease) -> JobMetrics:
        held = self._state.store.get(self._state.attempt_key(lease.task, lease.attempt, METRICS_FILE))
        return JobMetrics() if held is None else summarise(held.data.splitlines())

    def _list_outputs(self, lease: Lease) -> Iterable[Output]:
        prefix = self._state.attempt_key(lease.task, lease.attempt, OUTPUTS_FOLDER) + "/"
        for page in self._state.store.list(prefix):
            for one in page:
                yield Output(path=unspell(one.key[len(prefix) :]), size=one.size, sha256="")

    def _beat(self, workers: int) -> None:
        now = self._clock()
        self._number += 1
        running = tuple(
            Running(task=held.lease.task, attempt=held.lease.attempt, seconds=round(now - held.since, 3))
            for held in self._held.values()
            if held.not_before is None
        )
        spent = round((now - self._began) * workers, 3)
        beat = Beat(worker=self._round, round=self._round, number=self._number, slots=workers, spent=spent, running=running)
        self._state.write_beat(replace(beat, done=self._done, over=not self._held))
