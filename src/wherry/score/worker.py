"""One thread that runs the script, however many ask: in the order in which they asked, and together what came together.

Models are seldom safe for several threads, and gain nothing by them where Python computes. What is asked is bounded: more than the
queue holds is refused at once, not kept until everybody has given up.
"""

from __future__ import annotations

import queue
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from wherry.score.script import Outcome, Script

_LONGEST_QUEUE = 4096
_MOST_BYTES = 64 << 20


class Sink(Protocol):
    """Who asked."""

    def deliver(self, outcomes: Sequence[tuple[Any, Outcome]]) -> None:
        """Take outcomes, each with the ticket it was asked for under. Called in the worker's thread, once for a batch."""
        ...


@dataclass(frozen=True, slots=True)
class _Asked:
    body: bytes
    sink: Sink
    ticket: Any


class Worker:
    """Scores what is submitted, until it is closed."""

    def __init__(self, script: Script, size: int, wait: float) -> None:
        self._script = script
        self._size = max(size, 1)
        self._wait = wait if script.gathers else 0.0
        self._queue: queue.Queue[_Asked | None] = queue.Queue()
        self._guard = threading.Lock()
        self._bytes = 0  # of what waits
        self._thread = threading.Thread(target=self._work, name="score", daemon=True)
        self._thread.start()

    def submit(self, body: bytes, sink: Sink, ticket: Any) -> bool:
        """Ask for a score; False when too many wait already."""
        with self._guard:
            if self._queue.qsize() >= _LONGEST_QUEUE or (self._bytes and self._bytes + len(body) > _MOST_BYTES):
                return False
            self._bytes += len(body)
        self._queue.put(_Asked(body, sink, ticket))
        return True

    def close(self, patience: float | None = None) -> bool:
        """Finish what was asked, then end; False when that took longer than `patience` seconds."""
        self._queue.put(None)
        self._thread.join(patience)
        return not self._thread.is_alive()

    def _work(self) -> None:
        open_ = True
        while open_:
            batch, open_ = self._gather()
            if not batch:
                continue
            with self._guard:
                self._bytes -= sum(len(asked.body) for asked in batch)
            outcomes = self._script.score([asked.body for asked in batch])
            for sink in {id(asked.sink): asked.sink for asked in batch}.values():
                told = [(asked.ticket, outcome) for asked, outcome in zip(batch, outcomes, strict=True) if asked.sink is sink]
                try:
                    sink.deliver(told)
                except Exception:  # noqa: BLE001 - what goes wrong with who asked ends nothing for others
                    traceback.print_exc()

    def _gather(self) -> tuple[list[_Asked], bool]:
        """The next batch; False with the last one."""
        first = self._queue.get()
        if first is None:
            return [], False
        batch = [first]
        end = time.monotonic() + self._wait
        while len(batch) < self._size:
            left = end - time.monotonic()
            try:
                asked = self._queue.get(timeout=left) if left > 0 else self._queue.get_nowait()
            except queue.Empty:
                break
            if asked is None:
                return batch, False
            batch.append(asked)
        return batch, True
