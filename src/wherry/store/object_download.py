"""Downloads one large object to a file: in ranges, several at once, as many as bring more; goes on where it was broken off.

Rules: every request names the version that the first one saw, so that an object which changes meanwhile is an error and no mixture.
What may pass (a cut, a time-out, 429, 503) is asked for again from the byte where it stopped, with pauses that grow, until nothing
came for `Patience.total` seconds; it also halves the connections. Memory is a few pieces for each connection, however large the
object is. The digest is taken in the order of the bytes, while they come.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from wherry.errors import StoreError, TransferError
from wherry.store.pace import Pace
from wherry.store.part_file import ObjectFacts, PartFile

MOST = 16  # connections
_TICK = 0.25
_GRACE = 2.0  # seconds in which threads may end
_T = TypeVar("_T")
Progress = Callable[[int, int, int], None]  # bytes that are there, of how many, over how many connections


class ObjectSource(Protocol):
    """One object somewhere. What may pass is a `TransferError`; whatever else is raised ends the download."""

    @property
    def address(self) -> str:
        """What may be written and shown."""
        ...

    def describe(self) -> ObjectFacts | None:
        """None where there is no such object."""
        ...

    def stream(self, offset: int, length: int, version: str | None) -> Iterator[bytes]:
        """A range of the object in pieces of at most some MiB. Another version than this one is a `StoreError`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds: the first pause, the longest one, and how long nothing may come at all."""

    first: float = 0.5
    longest: float = 15.0
    total: float = 600.0


class Traffic:
    """What all downloads of a process share: the connections, and the sign that all of them are to end.

    However many objects come at once, no host sees more than `most` connections of ours, and memory is bounded.
    """

    def __init__(self, most: int = MOST, patience: Patience | None = None, stopped: Callable[[], bool] = lambda: False) -> None:
        self.most = most
        self.patience = patience or Patience()
        self.stopped = stopped
        self.gate = threading.BoundedSemaphore(most)

    def check(self) -> None:
        if self.stopped():
            raise TransferError("the download was stopped")

    def persist(self, call: Callable[[], _T]) -> _T:
        """What a small request gives, in the end."""
        failures, since = 0, time.monotonic()
        while True:
            self.check()
            try:
                with self.gate:
                    return call()
            except TransferError:
                if time.monotonic() - since > self.patience.total:
                    raise
                self._sleep(self.pause(failures))
                failures += 1

    def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.check()
            time.sleep(min(left, _TICK))

    def pause(self, failures: int) -> float:
        longest = min(self.patience.longest, self.patience.first * 2.0**failures)
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - so that connections do not come all at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Downloaded:
    """`moved` are the bytes that came over the network, which may be fewer than `size`, or more."""

    sha256: str
    moved: int


def download_object(
    source: ObjectSource, facts: ObjectFacts, part: PartFile, traffic: Traffic, progress: Progress = lambda *_: None
) -> Downloaded:
    """Bring all of `part` that is not there yet. It is whole and durable then, and stays a part until its owner renames it."""
    transfer = _Transfer(source, facts, part, traffic, progress)
    try:
        sha256 = transfer.run()
    finally:
        transfer.end()
    part.sync()
    return Downloaded(sha256=sha256, moved=transfer.moved)


class _Transfer:
    """One download under way. The calling thread takes the digest and sets the pace; others fetch ranges."""

    def __init__(self, source: ObjectSource, facts: ObjectFacts, part: PartFile, traffic: Traffic, progress: Progress) -> None:
        self._source, self._facts, self._part = source, facts, part
        self._traffic, self._progress = traffic, progress
        self._pace = Pace(traffic.most)
        self._there = set(part.kept)
        self._todo = deque(number for number in range(len(part)) if number not in part.kept)
        self._changed = threading.Condition()
        self._over = threading.Event()
        self._failed: BaseException | None = None
        self._threads: list[threading.Thread] = []
        self._alive = self._looked = time.monotonic()  # when something came last, and when it was looked at
        self._seen = 0
        self._kept = sum(part.place(number)[1] for number in part.kept)
        self.moved = 0

    def run(self) -> str:
        hasher, number = hashlib.sha256(), 0
        while number < len(self._part):
            self._begin_threads()
            there = self._wait_for(number)
            self._look()
            if there:
                for data in self._part.read(number):
                    hasher.update(data)
                number += 1
        return hasher.hexdigest()

    def _look(self) -> None:
        """Now and then: set the pace, and tell how far it is."""
        now = time.monotonic()
        if now - self._looked >= _TICK:
            moved = self.moved
            self._pace.take((moved - self._seen) / (now - self._looked))
            self._looked, self._seen = now, moved
            self._progress(min(self._kept + moved, self._part.size), self._part.size, self._pace.limit)

    def end(self) -> None:
        """No thread of ours is left, except one that waits for an answer which does not come; it writes nothing any more."""
        self._over.set()
        with self._changed:
            self._changed.notify_all()
        end = time.monotonic() + _GRACE
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _wait_for(self, number: int) -> bool:
        """Whether a range is there, perhaps after a moment."""
        with self._changed:
            if number not in self._there and self._failed is None:
                self._changed.wait(_TICK)
            if self._failed is not None:
                raise self._failed
            self._traffic.check()
            return number in self._there

    def _begin_threads(self) -> None:
        while len(self._threads) < min(self._pace.limit, len(self._todo) + len(self._threads)):
            place = len(self._threads)
            thread = threading.Thread(target=self._work, args=(place,), name=f"range-{place}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _work(self, place: int) -> None:
        try:
            while (number := self._take(place)) is not None:
                self._fetch(number)
        except BaseException as error:  # noqa: BLE001 - handed to the calling thread, whatever it is
            with self._changed:
                self._failed = self._failed or error
                self._changed.notify_all()

    def _take(self, place: int) -> int | None:
        """The next range; waits while fewer connections are wanted."""
        with self._changed:
            while self._todo and not self._over.is_set():
                if place < self._pace.limit:
                    return self._todo.popleft()
                self._changed.wait(_TICK)
        return None

    def _fetch(self, number: int) -> None:
        """One range, over as many requests as it takes."""
        start, length = self._part.place(number)
        got = crc = failures = 0
        while got < length and not self._over.is_set():
            before = got
            try:
                with self._traffic.gate:
                    for piece in self._source.stream(start + got, length - got, self._facts.version):
                        got, crc = self._keep(start, length, got, piece, crc)
                if got < length and not self._over.is_set():
                    raise TransferError(f"the answer ended after {start + got} bytes", where=self._source.address)
            except TransferError as error:
                failures = 0 if got > before else failures + 1
                if self._facts.version is None:
                    got = crc = 0  # what comes now may be of another one
                self._bear(error, failures)
        if got == length:
            self._part.note(number, crc)
            with self._changed:
                self._there.add(number)
                self._changed.notify_all()

    def _keep(self, start: int, length: int, got: int, piece: bytes, crc: int) -> tuple[int, int]:
        self._traffic.check()
        if self._over.is_set():
            raise TransferError("the download was stopped")
        if len(piece) > length - got:
            raise StoreError("the answer is longer than what was asked for", where=self._source.address)
        self._part.write(start + got, piece)
        with self._changed:
            self.moved += len(piece)
            self._alive = time.monotonic()
        return got + len(piece), zlib.crc32(piece, crc)

    def _bear(self, error: TransferError, failures: int) -> None:
        """Wait after a failure, or raise it when nothing came for too long."""
        if self._over.is_set() or self._traffic.stopped() or time.monotonic() - self._alive > self._traffic.patience.total:
            raise error
        self._pace.slow_down()
        self._over.wait(self._traffic.pause(failures))
