"""Sweeps as they are by now, read beside the pages: their state may lie in a store that is far away, or does not answer.

Each sweep is read by a thread of its own, on from where the last look ended. A page waits a moment for it, and shows what was
known before where that is not enough. What went wrong is shown beside what is known.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace

from wherry.errors import WherryError
from wherry.model.sweep import SweepSpec, TaskDone
from wherry.run.sweep_state import SweepState
from wherry.run.sweep_status import StatusReader, SweepStatus

_FRESH = 1.0  # seconds that a look counts
_MOST_SWEEPS, _AT_ONCE = 64, 8
_PATIENCE = 3  # beats that a worker may leave out


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepView:
    """What is known of a sweep; nothing yet where `spec` is None. `ends` are the tasks that are finished.

    `late`: it is being read just now, and this is what was known before.
    """

    id: str
    spec: SweepSpec | None = None
    status: SweepStatus | None = None
    ends: Mapping[int, TaskDone]
    error: WherryError | None = None
    late: bool = False


class SweepReadings:
    """The sweeps that were looked at last."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._turns = threading.Semaphore(_AT_ONCE)
        self._known: OrderedDict[tuple[str, str], _Reading] = OrderedDict()

    def look(self, states: list[SweepState], moment: float) -> list[SweepView]:
        """What is known of each within a moment, in seconds."""
        end = time.monotonic() + moment
        readings = [self._find(state) for state in states]
        for reading in readings:
            reading.begin(self._turns)
        return [reading.view(max(0.0, end - time.monotonic())) for reading in readings]

    def _find(self, state: SweepState) -> _Reading:
        key = (state.store.url, state.id)
        with self._guard:
            reading = self._known.pop(key, None) or _Reading(state)
            self._known[key] = reading
            while len(self._known) > _MOST_SWEEPS:
                self._known.popitem(last=False)
            return reading


class _Reading:
    def __init__(self, state: SweepState) -> None:
        self._state = state
        self._guard = threading.Lock()
        self._idle = threading.Event()
        self._idle.set()
        self._looked = float("-inf")
        self._ends: dict[int, TaskDone] = {}
        self._reader: StatusReader | None = None
        self._view = SweepView(id=state.id, ends={})

    def begin(self, turns: threading.Semaphore) -> None:
        with self._guard:
            if self._idle.is_set() and time.monotonic() - self._looked > _FRESH:
                self._idle.clear()
                threading.Thread(target=self._go_on, args=(turns,), daemon=True).start()

    def view(self, moment: float) -> SweepView:
        in_time = self._idle.wait(moment)
        return self._view if in_time else replace(self._view, late=True)

    def _go_on(self, turns: threading.Semaphore) -> None:
        try:
            with turns:
                self._view = self._read()
        except WherryError as error:
            self._view = replace(self._view, error=error)
        finally:
            self._looked = time.monotonic()
            self._idle.set()

    def _read(self) -> SweepView:
        spec = self._view.spec or self._state.read_spec()
        if self._reader is None:
            self._reader = StatusReader(self._state, spec, _PATIENCE * spec.beat, tell=self._note)
        status = self._reader.read()
        return SweepView(id=spec.id, spec=spec, status=status, ends=dict(self._ends))

    def _note(self, done: TaskDone) -> None:
        self._ends[done.task] = done
