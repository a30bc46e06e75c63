"""A store that fails for the moment: what is tried again, what is told, and what an answer that was lost means."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.store.objects_contract import ObjectStoreContract
from wherry.errors import StoreError, TransferError
from wherry.store.objects import PAGE, Held, Listed, ObjectStore
from wherry.store.objects_memory import MemoryObjects
from wherry.store.objects_patient import PatientObjects


class FailingObjects:
    """Fails so many times; `deaf`: it does what it is asked all the same, and only the answer is lost."""

    def __init__(self, inner: ObjectStore, failures: int, *, deaf: bool = False) -> None:
        self.inner, self.failures, self.deaf = inner, failures, deaf
        self.url = inner.url

    def _fail(self) -> None:
        if self.failures > 0:
            self.failures -= 1
            raise TransferError("503 Service Unavailable")

    def get(self, key: str) -> Held | None:
        self._fail()
        return self.inner.get(key)

    def size(self, key: str) -> int | None:
        self._fail()
        return self.inner.size(key)

    def read(self, key: str, offset: int, length: int) -> bytes:
        self._fail()
        return self.inner.read(key, offset, length)

    def put(self, key: str, source: bytes | Path) -> None:
        self._fail()
        self.inner.put(key, source)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        done = self.deaf and self.inner.put_if_absent(key, data)
        self._fail()
        return done or self.inner.put_if_absent(key, data)

    def put_if_match(self, key: str, data: bytes, version: str) -> bool:
        done = self.deaf and self.inner.put_if_match(key, data, version)
        self._fail()
        return done or self.inner.put_if_match(key, data, version)

    def list(self, prefix: str) -> Iterator[tuple[Listed, ...]]:
        for page in self.inner.list(prefix):
            yield page
            self._fail()

    def folders(self, prefix: str) -> tuple[str, ...]:
        self._fail()
        return self.inner.folders(prefix)

    def delete(self, key: str) -> None:
        self._fail()
        self.inner.delete(key)


class Clock:
    """Time that passes while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.said: list[str] = []

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def patient(self, inner: ObjectStore) -> PatientObjects:
        return PatientObjects(inner, self.said.append, sleep=self.sleep, clock=lambda: self.now)


class TestPatient(ObjectStoreContract):
    """The whole contract, while each call fails twice."""

    @pytest.fixture
    def store(self) -> ObjectStore:
        inner = FailingObjects(MemoryObjects(), 0)

        class FailingTwice(PatientObjects):
            def _persist(self, call):  # type: ignore[no-untyped-def]
                inner.failures = 2
                return super()._persist(call)

        clock = Clock()
        return FailingTwice(inner, clock.said.append, sleep=clock.sleep, clock=lambda: clock.now)


def test_minutes_of_trouble_are_told_once_and_so_is_their_end() -> None:
    clock = Clock()
    clock.patient(FailingObjects(MemoryObjects(), 30)).put("a", b"x")
    assert clock.now > 120
    assert len(clock.said) == 2
    assert "503" in clock.said[0]
    assert "answers again" in clock.said[1]


def test_it_gives_up_at_last() -> None:
    clock = Clock()
    with pytest.raises(TransferError, match="503"):
        clock.patient(FailingObjects(MemoryObjects(), 10_000)).get("a")
    assert 600 <= clock.now < 700


def test_what_will_not_pass_is_not_tried_again() -> None:
    class Refusing(MemoryObjects):
        def get(self, key: str) -> Held | None:
            raise StoreError("no access")

    clock = Clock()
    with pytest.raises(StoreError, match="no access"):
        clock.patient(Refusing()).get("a")
    assert clock.now == 0


def test_an_answer_that_was_lost() -> None:
    inner, clock = MemoryObjects(), Clock()
    assert clock.patient(FailingObjects(inner, 1, deaf=True)).put_if_absent("a", b"mine")
    held = inner.get("a")
    assert held is not None
    assert clock.patient(FailingObjects(inner, 1, deaf=True)).put_if_match("a", b"mine too", held.version)
    assert not clock.patient(FailingObjects(inner, 1)).put_if_absent("a", b"another's")
    assert not clock.patient(FailingObjects(inner, 1)).put_if_match("a", b"another's", held.version)


def test_a_list_that_breaks_off_goes_on() -> None:
    inner, clock = MemoryObjects(), Clock()
    for number in range(2 * PAGE + 5):
        inner.put(f"a/{number:05}", b"")
    found = [one.key for page in clock.patient(FailingObjects(inner, 5)).list("a/") for one in page]
    assert found == [f"a/{number:05}" for number in range(2 * PAGE + 5)]
