"""How targets are, asked beside the pages: an engine that does not answer keeps no page waiting.

Each target is asked in a thread of its own. An answer counts for a while; whoever did not answer in time is shown as that, and not
asked again while the former question stands.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from wherry.errors import WherryError
from wherry.run.port import BackendInfo

_COUNTS = 30.0  # seconds that an answer is believed
_PATIENCE = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """`info` None: not answered yet, and `late` when it should have been. `seconds` since it was asked, or answered."""

    info: BackendInfo | None
    late: bool
    seconds: float


class Probes:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._guard = threading.Lock()
        self._asked: dict[str, float] = {}
        self._answers: dict[str, tuple[float, BackendInfo]] = {}

    def look(self, name: str, ask: Callable[[], BackendInfo]) -> Health:
        """What is known by now; asks anew where that is too old."""
        with self._guard:
            now = self._clock()
            answered = self._answers.get(name)
            if name not in self._asked and (answered is None or now - answered[0] > _COUNTS):
                self._asked[name] = now
                threading.Thread(target=self._ask, args=(name, ask), daemon=True).start()
            if answered is not None:
                return Health(info=answered[1], late=False, seconds=now - answered[0])
            waited = now - self._asked[name]
            return Health(info=None, late=waited > _PATIENCE, seconds=waited)

    def _ask(self, name: str, ask: Callable[[], BackendInfo]) -> None:
        try:
            info = ask()
        except WherryError as error:
            info = BackendInfo(usable=False, reason=error.what, hint=error.hint or "")
        with self._guard:
            self._answers[name] = self._clock(), info
            self._asked.pop(name)
