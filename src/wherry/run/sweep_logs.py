"""What tasks print, read from the store as it grows: of one task or of all, each stream from where the last look ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from wherry.run.sweep_results import STDERR, STDOUT
from wherry.run.sweep_state import SweepState

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """Something that a task printed. `attempt` is another one after a retry, and begins anew."""

    task: int
    attempt: int
    stream: str
    data: bytes


class LogReader:
    """Reads on with each call."""

    def __init__(self, state: SweepState) -> None:
        self._state = state
        self._read: dict[tuple[int, int, str], int] = {}

    def read(self, tasks: Iterable[int]) -> Iterator[Printed]:
        """What these tasks printed since the last call: of the attempt that counts, or else of the one that somebody has."""
        for task in tasks:
            attempt = self._find_attempt(task)
            for stream in (STDOUT, STDERR) if attempt is not None else ():
                yield from self._read_stream(task, attempt or 0, stream)

    def _find_attempt(self, task: int) -> int | None:
        done = self._state.read_done(task)
        if done is not None:
            return done.attempt
        held = self._state.read_lease(task)
        return None if held is None else held[0].attempt

    def _read_stream(self, task: int, attempt: int, stream: str) -> Iterator[Printed]:
        place = (task, attempt, stream)
        key, start = self._state.attempt_key(task, attempt, stream), self._read.get(place, 0)
        size = self._state.store.size(key) or 0
        while start < size:
            data = self._state.store.read(key, start, min(_PIECE, size - start))
            if not data:
                return
            start += len(data)
            self._read[place] = start
            yield Printed(task=task, attempt=attempt, stream=stream, data=data)
