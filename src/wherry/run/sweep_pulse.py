"""A worker's sign of life: at each beat it says what it has in hand, sends on what tasks have printed, and hears whether to end.

Also copies the ends of tasks together, so that lists are read quickly. Nothing that is decided depends on it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from wherry.errors import WherryError
from wherry.model.sweep import Beat, Lease, Running, SweepSpec, TaskDone
from wherry.run.sweep_results import send_streams
from wherry.run.sweep_state import SweepState
from wherry.run.sweep_streams import KeptStream
from wherry.run.sweep_watch import StopSign

_FIRST = 0.25  # seconds to the first beat after the beginning, when somebody looks
_MOST_ENDS = 500  # in one copy


class Pulse:
    """The pulse of one worker; `idle` is what it says with nothing in hand. `trouble` keeps it from taking more tasks."""

    def __init__(self, state: SweepState, spec: SweepSpec, idle: Beat, stop: StopSign) -> None:
        self.trouble: WherryError | None = None
        self._state = state
        self._spec = spec
        self._idle = idle
        self._stop = stop
        self._began = time.monotonic()
        self._number = self._copies = self._done = 0
        self._running: dict[Lease, tuple[float, tuple[KeptStream, ...]]] = {}
        self._sent: dict[KeptStream, int] = {}
        self._ends: list[TaskDone] = []
        self._lock = threading.Lock()
        self._sending = threading.Lock()  # an attempt's files are there for as long as they are sent

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Beat meanwhile. The first beat is there before anything is done, the last one says that it is over."""
        self._beat()
        over = threading.Event()
        thread = threading.Thread(target=self._go_on, args=(over,), name="pulse", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self._beat(over=True)

    def begin(self, lease: Lease, streams: tuple[KeptStream, ...]) -> None:
        with self._lock:
            self._running[lease] = (time.monotonic(), streams)

    def finish(self, lease: Lease) -> None:
        with self._sending, self._lock:
            _, streams = self._running.pop(lease)
            for stream in streams:
                self._sent.pop(stream, None)

    def add(self, done: TaskDone) -> None:
        """A task that this worker has committed."""
        with self._lock:
            self._done += 1
            self._ends.append(done)
            full = self._take_ends() if len(self._ends) >= _MOST_ENDS else None
        if full:
            self._copy(*full)

    def tell(self) -> Beat:
        """How this worker is."""
        now = time.monotonic()
        with self._lock:
            running = tuple(
                Running(task=lease.task, attempt=lease.attempt, seconds=round(now - since, 3))
                for lease, (since, _) in self._running.items()
            )
        return replace(
            self._idle,
            number=self._number,
            spent=round(now - self._began, 3),
            running=running,
            done=self._done,
            trouble=str(self.trouble) if self.trouble else None,
        )

    def _go_on(self, over: threading.Event) -> None:
        pause = min(_FIRST, self._spec.beat)
        while not over.wait(pause):
            pause = min(pause * 2, self._spec.beat)
            try:
                self._send_grown()
                self._beat()
                if not self._stop.given and self._state.is_cancelled():
                    self._stop.give()
            except WherryError as error:
                self.trouble = self.trouble or error

    def _beat(self, *, over: bool = False) -> None:
        with self._lock:
            left = self._take_ends() if self._ends else None
        if left:
            self._copy(*left)
        self._number += 1
        beat = self.tell()
        self._state.write_beat(replace(beat, over=over))

    def _take_ends(self) -> tuple[int, list[TaskDone]]:
        ends, self._ends = self._ends, []
        self._copies += 1
        return self._copies, ends

    def _copy(self, number: int, ends: list[TaskDone]) -> None:
        self._state.write_ends(self._idle.worker, number, ends)

    def _send_grown(self) -> None:
        """What was printed since the last beat, for those who read along."""
        with self._lock:
            grown = [
                (lease, stream)
                for lease, (_, streams) in self._running.items()
                for stream in streams
                if stream.size > self._sent.get(stream, 0)
            ]
        for lease, stream in grown:
            with self._sending:
                if lease in self._running:
                    self._sent[stream] = stream.size
                    send_streams(self._state, lease, (stream,))
