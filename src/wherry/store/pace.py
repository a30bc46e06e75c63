"""How many connections a download may have at once: more while more bring more, fewer when the other side is troubled.

Decides only; whoever downloads says how fast it goes, again and again, at times of its own.
"""

from __future__ import annotations

_WORTH = 0.25  # what more connections must bring of what they would bring at best
_HOLD, _CALM = 20, 4  # looks until more are tried again: after they brought nothing, after a trouble


class Pace:
    """`limit` is how many there may be now, from one to `most`."""

    def __init__(self, most: int, first: int = 4) -> None:
        self.limit = min(first, most)
        self._most = most
        self._proven = self.limit  # connections that were worth it
        self._best = 0.0
        self._hold = 0
        self._wary = self._hurt = False

    def take(self, rate: float) -> None:
        """Bytes a second since it was told last."""
        self._hurt = False
        if not rate:
            return  # nothing came yet
        if self._hold:
            self._hold -= 1
            if not self._hold:
                self._best = 0.0
        elif rate > self._best * (1 + _WORTH * (self.limit / self._proven - 1)):
            self._best, self._proven = rate, self.limit
            self.limit = min(self._most, self.limit + 1 if self._wary else self.limit * 2)
        elif self.limit > self._proven:
            self.limit, self._hold = self._proven, _HOLD
        elif self.limit < self._most:
            self._hold = _HOLD

    def slow_down(self) -> None:
        """It was asked for less, or did not answer: half as many, once for all that fail together, and then one by one."""
        if self._hurt:
            return
        self._hurt = self._wary = True
        self.limit = max(1, self.limit // 2)
        self._proven = min(self._proven, self.limit)
        self._hold = _CALM
