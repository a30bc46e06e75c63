"""Sweeps while the world around them fails: the store, the disk, a clock, a worker's connection."""

from __future__ import annotations

import random
import shutil
import threading
from collections import namedtuple
from pathlib import Path

import pytest

from tests.unit.run.sweeps import Crew, make_state
from wherry.errors import TransferError
from wherry.run import sweep_process, sweep_watch
from wherry.run.sweep_state import SweepState
from wherry.run.sweep_status import StatusReader
from wherry.store.objects import ObjectStore
from wherry.store.objects_memory import MemoryObjects
from wherry.store.objects_patient import PatientObjects

Usage = namedtuple("Usage", "total used free")


class Weather(MemoryObjects):
    """A store that fails at every third call or so, before or after it did what it was asked; `down`: always."""

    def __init__(self) -> None:
        super().__init__()
        self.dice = random.Random(5)
        self.down = False

    def _storm(self) -> None:
        if self.down or self.dice.random() < 0.15:
            raise TransferError("429 Too Many Requests")

    def put(self, key: str, source: bytes | Path) -> None:
        self._storm()
        super().put(key, source)
        self._storm()

    def put_if_absent(self, key: str, data: bytes) -> bool:
        self._storm()
        done = super().put_if_absent(key, data)
        self._storm()
        return done

    def put_if_match(self, key: str, data: bytes, version: str) -> bool:
        self._storm()
        done = super().put_if_match(key, data, version)
        self._storm()
        return done


def patient(store: ObjectStore, said: list[str]) -> PatientObjects:
    passed = [0.0]
    return PatientObjects(
        store, said.append, sleep=lambda seconds: passed.__setitem__(0, passed[0] + seconds), clock=lambda: passed[0]
    )


def ran(folder: Path) -> list[int]:
    return sorted(map(int, (folder / "ran").read_text().split()))


def test_a_store_that_fails_all_the_time_loses_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    script = f'echo out; echo {{i}} > "$WHERRY_OUTPUTS/m"; echo {{i}} >> {tmp_path}/ran'
    crew = Crew(make_state(tmp_path, script, 20, patient(Weather(), said)), tmp_path / "scratch")
    threads = [threading.Thread(target=crew.work, args=(f"w{number}",)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert crew.errors == []
    assert ran(tmp_path) == list(range(20))
    assert len(crew.state.read_ends()) == 20
    assert [crew.text(task, "outputs/m") for task in range(20)] == [f"{task}\n" for task in range(20)]
    assert any("429" in text for text in said)
    assert any("answers again" in text for text in said)


def test_a_store_that_is_gone_for_good_ends_the_worker_and_no_task(tmp_path: Path) -> None:
    weather, said = Weather(), [""]
    state = make_state(
        tmp_path, f"echo {{i}} >> {tmp_path}/ran; while test {{i}} = 0 -a ! -e {tmp_path}/go; do sleep 0.02; done", 4, weather
    )
    crew = Crew(SweepState(patient(weather, said), state.id), tmp_path / "scratch")
    worker = threading.Thread(target=crew.work)
    worker.start()
    while not (tmp_path / "ran").exists():
        pass
    weather.down = True
    (tmp_path / "go").touch()
    worker.join()
    assert [type(error) for error in crew.errors] == [TransferError]
    weather.down = False
    done = {task for task, end in state.read_ends().items() if end.state.value == "succeeded"}
    other = Crew(SweepState(patient(weather, said), state.id), tmp_path / "scratch")
    other.work("w2")
    assert {end.state.value for end in state.read_ends().values()} == {"succeeded"}
    assert len(state.read_ends()) == 4
    assert all(ran(tmp_path).count(task) == 1 for task in done)


def test_a_disk_that_is_full_fails_no_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = make_state(tmp_path, "exit 1", 3)
    crew = Crew(state, tmp_path / "scratch")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(1, 1, 0))
    assert crew.work(slots=1) is None
    assert "full" in str(crew.errors[0])
    assert state.read_ends() == {}
    beat = state.read_beat(crew.name("w1"))
    assert beat is not None
    assert beat.over
    assert "full" in (beat.trouble or "")
    monkeypatch.undo()
    other = Crew(state, tmp_path / "scratch")
    other.work("w2")
    assert {end.exit_code for end in state.read_ends().values()} == {1}


def test_no_room_for_what_a_task_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    state = make_state(tmp_path, "echo much", 1)
    crew = Crew(state, tmp_path / "scratch")
    monkeypatch.setattr(sweep_watch.KeptStream, "take", refuse)
    assert crew.work() is None
    assert "full" in str(crew.errors[0])
    assert state.read_ends() == {}


@pytest.mark.parametrize("skew", [-86400.0, 86400.0])
def test_clocks_that_differ_by_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, skew: float) -> None:
    import time

    now = time.time
    state = make_state(tmp_path, f"echo {{i}} >> {tmp_path}/ran", 6)
    Crew(state, tmp_path / "scratch").work("w1", indices=range(3))
    monkeypatch.setattr(time, "time", lambda: now() + skew)
    Crew(state, tmp_path / "scratch").work("w2")
    status = StatusReader(state, state.read_spec(), 1.0).read()
    assert (status.counts.succeeded, status.alive) == (6, frozenset())
    assert ran(tmp_path) == list(range(6))


def test_one_that_fails_does_not_hide_the_others(tmp_path: Path) -> None:
    state = make_state(tmp_path, 'echo {i} > "$WHERRY_OUTPUTS/m"; test {i} != 1 || kill -SEGV $$', 3)
    crew = Crew(state, tmp_path / "scratch")
    crew.work()
    ends = state.read_ends()
    assert [(ends[task].state.value, ends[task].exit_code) for task in range(3)] == [
        ("succeeded", 0),
        ("failed", 139),
        ("succeeded", 0),
    ]
    assert [crew.text(task, "outputs/m") for task in range(3)] == ["0\n", "1\n", "2\n"]


def test_no_descriptor_is_left_for_a_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(24, "Too many open files")

    state = make_state(tmp_path, "true", 1)
    crew = Crew(state, tmp_path / "scratch")
    monkeypatch.setattr(sweep_process, "list_variables", refuse)
    assert crew.work() is None
    assert "Too many open files" in str(crew.errors[0])
    assert state.read_ends() == {}
