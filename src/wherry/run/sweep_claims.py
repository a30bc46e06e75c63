"""Which task a worker takes next: first those that nobody had, then those whose worker is gone.

A worker is gone when it said so, or when its beat stood still while this one looked on for a while, by its own clock alone. A wrong
guess costs time and nothing else, for of two attempts one commits. A task whose workers are lost again and again is given up.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterable

from wherry.formats.job_metrics import JobMetrics
from wherry.model.job import JobState
from wherry.model.sweep import ATTEMPTS, TRY_AGAIN, Beat, Lease, SweepSpec, TaskDone
from wherry.run.sweep_state import SweepState
from wherry.run.sweep_watch import StopSign

_LONGEST_PAUSE = 30.0
LOST = "each of its workers was lost with it: too little memory, or a machine that fails"


class Claims:
    """The tasks of `indices` for the worker of this name. `patience` is how long a beat must stand still, in seconds.

    `share` spreads workers over the tasks: worker 1 of 4 begins a quarter in, and comes round to the others'.
    """

    def __init__(
        self,
        state: SweepState,
        worker: str,
        indices: Iterable[int],
        stop: StopSign,
        patience: float,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self._state = state
        self._worker = worker
        self._stop = stop
        self._patience = patience
        self._lock = threading.Lock()
        left = sorted(set(indices).difference(state.list_done()))
        leased = set(state.list_leased()).intersection(left)
        fresh = [task for task in left if task not in leased]
        start = len(fresh) * share[0] // share[1]
        self._fresh = deque(fresh[start:] + fresh[:start])
        self._taken = leased  # by others
        self._orphans: deque[tuple[Lease, str]] = deque()
        self._searched = False

    def next(self) -> Lease | None:
        """A task that is this worker's from now on; None: there is none for it."""
        while (task := self._pop_fresh()) is not None:
            lease = Lease(task=task, worker=self._worker)
            if self._state.claim(lease):
                return lease
            self._taken.add(task)
        with self._lock:
            while not self._stop.given:
                if not self._orphans and not self._search():
                    return None
                adopted = self._adopt(*self._orphans.popleft())
                if adopted is not None:
                    return adopted
        return None

    def _pop_fresh(self) -> int | None:
        try:
            return None if self._stop.given else self._fresh.popleft()
        except IndexError:
            return None

    def _search(self) -> bool:
        """Look for tasks whose workers are gone; once, for a worker that is alive now is the driver's to watch."""
        if self._searched:
            return False
        self._searched = True
        self._taken.difference_update(self._state.list_done())
        held = [found for task in sorted(self._taken) if (found := self._state.read_lease(task))]
        gone = self._find_gone({lease.worker for lease, _ in held})
        self._orphans.extend(found for found in held if found[0].worker in gone)
        return bool(self._orphans)

    def _find_gone(self, workers: set[str]) -> set[str]:
        before = {worker: self._state.read_beat(worker) for worker in workers}
        gone = {worker for worker, beat in before.items() if beat is not None and beat.over}
        if gone != workers:
            self._stop.wait(self._patience)
            gone |= {worker for worker in workers - gone if is_still(before[worker], self._state.read_beat(worker))}
        return gone

    def _adopt(self, lease: Lease, version: str) -> Lease | None:
        beat = self._state.read_beat(lease.worker)
        ended = beat is not None and beat.over and all(one.task != lease.task for one in beat.running)
        lost = lease.lost + (0 if ended else 1)
        mine = Lease(task=lease.task, attempt=lease.attempt + 1, worker=self._worker, failures=lease.failures, lost=lost)
        # It may have been finished since we looked, and its worker have ended then.
        if self._state.is_done(lease.task) or not self._state.claim(mine, version):
            return None
        if lost < ATTEMPTS:
            return mine
        self._state.commit(TaskDone(task=mine.task, attempt=lease.attempt, state=JobState.LOST, worker=lease.worker, note=LOST))
        return None


def may_try_again(spec: SweepSpec, lease: Lease, state: JobState, exit_code: int | None) -> bool:
    """Whether an attempt that ended by itself is followed by another one."""
    if state is JobState.SUCCEEDED:
        return False
    most = spec.sweep.retries
    return lease.failures < (max(most, ATTEMPTS - 1) if exit_code == TRY_AGAIN else most)


def pause_before(spec: SweepSpec, lease: Lease, exit_code: int | None) -> float:
    """Seconds to wait before the attempt after this one: what asked for it may need a while."""
    return min(_LONGEST_PAUSE, spec.beat * 2**lease.failures) if exit_code == TRY_AGAIN else 0.0


def keep_numbers(metrics: JobMetrics) -> dict[str, float]:
    """The last values that JSON has, too: neither infinite nor no number at all."""
    return {name: value for name, value in metrics.last.items() if math.isfinite(value)}


def is_still(before: Beat | None, after: Beat | None) -> bool:
    """Whether a worker gave no sign of life between two looks, or said that it is over."""
    return before is None if after is None else after.over or (before is not None and before.number == after.number)
