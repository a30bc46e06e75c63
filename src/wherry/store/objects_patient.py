"""A store that is patient with the one behind it: what fails for the moment (down, slow, 409, 429, 503) is tried again.

Pauses grow to a quarter of a minute; the first one of a trouble is told, and its end. A conditional put whose answer was lost
may have succeeded: then what lies there is ours, because what is put so is written by nobody else in the same words.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

from wherry.errors import TransferError
from wherry.store.objects import Held, Listed, ObjectStore

PATIENCE = 600.0
_FIRST, _LONGEST = 0.5, 15.0
_T = TypeVar("_T")


class PatientObjects:
    """`patience`: seconds from the first failure of a call to giving it up."""

    def __init__(
        self,
        inner: ObjectStore,
        say: Callable[[str], None],
        *,
        patience: float = PATIENCE,
        sleep: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inner = inner
        self._say = say
        self._patience = patience
        self._sleep = sleep
        self._clock = clock

    @property
    def url(self) -> str:
        return self._inner.url

    def get(self, key: str) -> Held | None:
        return self._persist(partial(self._inner.get, key))[0]

    def size(self, key: str) -> int | None:
        return self._persist(partial(self._inner.size, key))[0]

    def read(self, key: str, offset: int, length: int) -> bytes:
        return self._persist(partial(self._inner.read, key, offset, length))[0]

    def put(self, key: str, source: bytes | Path) -> None:
        self._persist(partial(self._inner.put, key, source))

    def put_if_absent(self, key: str, data: bytes) -> bool:
        done, again = self._persist(partial(self._inner.put_if_absent, key, data))
        return done or (again and self._holds(key, data))

    def put_if_match(self, key: str, data: bytes, version: str) -> bool:
        done, again = self._persist(partial(self._inner.put_if_match, key, data, version))
        return done or (again and self._holds(key, data))

    def list(self, prefix: str) -> Iterator[tuple[Listed, ...]]:
        """A list that breaks off is begun again, and what was given is left out."""
        last = ""
        pages = self._inner.list(prefix)

        def turn() -> tuple[Listed, ...]:
            nonlocal pages
            try:
                for page in pages:
                    if fresh := tuple(one for one in page if one.key > last):
                        return fresh
            except TransferError:
                pages = self._inner.list(prefix)
                raise
            return ()

        while page := self._persist(turn)[0]:
            last = page[-1].key
            yield page

    def folders(self, prefix: str) -> tuple[str, ...]:
        return self._persist(partial(self._inner.folders, prefix))[0]

    def delete(self, key: str) -> None:
        self._persist(partial(self._inner.delete, key))

    def _holds(self, key: str, data: bytes) -> bool:
        held = self.get(key)
        return held is not None and held.data == data

    def _persist(self, call: Callable[[], _T]) -> tuple[_T, bool]:
        """What a call gives, and whether it had to be made again."""
        pause, first = _FIRST, self._clock()
        told = False
        while True:
            try:
                found = call()
            except TransferError as error:
                if self._clock() - first >= self._patience:
                    raise
                if not told:
                    self._say(f"{error.what}; trying again for up to {self._patience / 60:.0f} minutes")
                    told = True
                self._sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - so that workers do not come all at once
                pause = min(_LONGEST, pause * 2)
            else:
                if told:
                    self._say(f"{self._inner.url} answers again")
                return found, told
