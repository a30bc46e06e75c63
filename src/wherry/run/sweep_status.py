"""How far a sweep is: read from the store alone, a list of keys and a few documents, whoever asks and however large it is.

That a task is finished is known by its key below ``_DONE``. How it ended is read from the copies that workers make of ends; the few
that were not copied are read one by one. What was read once is not read again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from wherry.model.job import JobState
from wherry.model.sweep import Beat, SweepCounts, SweepSpec, TaskDone
from wherry.run.sweep_claims import is_still
from wherry.run.sweep_state import BLOCK, SweepState

_FINAL = (JobState.SUCCEEDED, JobState.FAILED, JobState.TIMED_OUT, JobState.LOST)
_MOST_FAILURES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepStatus:
    """How far a sweep is. `failures` are some of the tasks that did not succeed; `spent` the seconds of all workers together."""

    counts: SweepCounts
    workers: tuple[Beat, ...]
    alive: frozenset[str]
    failures: tuple[TaskDone, ...]
    spent: float
    cancelled: bool

    def cost(self, price: float | None) -> float | None:
        """What the workers have cost by now, at so much an hour each."""
        return None if price is None else self.spent / 3600 * price


class StatusReader:
    """Reads how far a sweep is, again and again. `patience`: seconds that a beat may stand still while this reader looks on.

    `tell` is told how each task ended, at least once.
    """

    def __init__(
        self,
        state: SweepState,
        spec: SweepSpec,
        patience: float,
        clock: Callable[[], float] = time.monotonic,
        tell: Callable[[TaskDone], None] = lambda _done: None,
    ) -> None:
        self._state = state
        self._spec = spec
        self._patience = patience
        self._clock = clock
        self._tell = tell
        self._ends = bytearray(len(spec))  # 0: not finished, else one more than the place in _FINAL
        self._failures: dict[int, TaskDone] = {}
        self._copies: set[str] = set()
        self._beats: dict[str, tuple[Beat, float]] = {}

    def read(self) -> SweepStatus:
        """How far it is now."""
        beats = self._state.read_beats()
        for done in self._state.read_new_ends(self._copies):
            self._note(done)
        unknown = [task for task in self._state.list_done_beside(self._is_whole) if task < len(self._ends) and not self._ends[task]]
        for done in self._state.read_dones(unknown):
            self._note(done)
        alive = self._find_alive(beats)
        running = sum(not self._ends[one.task] for beat in beats if beat.worker in alive for one in beat.running)
        tally: Mapping[str, int] = {state.name.lower(): self._ends.count(number) for number, state in enumerate(_FINAL, 1)}
        return SweepStatus(
            counts=SweepCounts(total=len(self._spec), running=running, **tally),
            workers=beats,
            alive=alive,
            failures=tuple(self._failures.values()),
            spent=sum(beat.spent for beat in beats),
            cancelled=self._state.is_cancelled(),
        )

    def _is_whole(self, block: int) -> bool:
        """Whether the end of each of these thousand tasks is known already."""
        return 0 not in self._ends[block * BLOCK : (block + 1) * BLOCK]

    def _note(self, done: TaskDone) -> None:
        if done.task >= len(self._ends):
            return  # no task of this sweep, whoever wrote that
        self._tell(done)
        self._ends[done.task] = _FINAL.index(done.state) + 1
        if done.state is not JobState.SUCCEEDED and len(self._failures) < _MOST_FAILURES:
            self._failures[done.task] = done

    def _find_alive(self, beats: tuple[Beat, ...]) -> frozenset[str]:
        """Workers that are not over, and whose beat moved within our patience; one seen for the first time counts as alive."""
        now = self._clock()
        for beat in beats:
            before = self._beats.get(beat.worker)
            if before is None or not is_still(before[0], beat):
                self._beats[beat.worker] = (beat, now)
        return frozenset(beat.worker for beat in beats if not beat.over and now - self._beats[beat.worker][1] < self._patience)
