"""What tasks print, read from the store as it grows: of one task or of all, each stream from where the last look ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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
    """Reads on with each call, of `tasks`: those that have ended since, and those that workers say they have in hand."""

    def __init__(self, state: SweepState, tasks: Iterable[int]) -> None:
        self._state = state
        self._left = set(tasks)
        self._copies: set[str] = set()
        self._offsets: dict[tuple[int, int, str], int] = {}

    @property
    def is_over(self) -> bool:
        """Whether all of the tasks have ended, and what they printed was given."""
        return not self._left

    def read(self) -> Iterator[Printed]:
        """What was printed since the last call: of the attempt that counts, or else of the one that somebody has."""
        ended = self._find_ended()
        running = {one.task: one.attempt for beat in self._state.read_beats() for one in beat.running if one.task in self._left}
        for task, attempt in sorted({**running, **ended}.items()):
            for stream in (STDOUT, STDERR):
                yield from self._read_stream(task, attempt, stream)
        self._left.difference_update(ended)

    def _find_ended(self) -> Mapping[int, int]:
        """Tasks that have ended, each with the attempt that counts."""
        found = {done.task: done.attempt for done in self._state.read_new_ends(self._copies) if done.task in self._left}
        uncopied = [task for task in self._state.list_done() if task in self._left and task not in found]
        return {**found, **{done.task: done.attempt for done in self._state.read_dones(uncopied)}}

    def _read_stream(self, task: int, attempt: int, stream: str) -> Iterator[Printed]:
        place = (task, attempt, stream)
        key, start = self._state.attempt_key(task, attempt, stream), self._offsets.get(place, 0)
        size = self._state.store.size(key) or 0
        while start < size:
            data = self._state.store.read(key, start, min(_PIECE, size - start))
            if not data:
                return
            start += len(data)
            self._offsets[place] = start
            yield Printed(task=task, attempt=attempt, stream=stream, data=data)
