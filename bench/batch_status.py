"""`python -m bench.batch_status TASKS`: reads the status of a sweep of so many finished tasks, once, and prints the seconds."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from wherry.formats.sweep_json import render_document, render_journal
from wherry.model.job import JobState, Output
from wherry.model.sweep import Axis, Beat, Parameters, Sweep, SweepSpec, TaskDone
from wherry.run.sweep_state import BLOCK, SweepState
from wherry.run.sweep_status import StatusReader
from wherry.store.objects import PAGE, Held, Listed

_COPY = 500
_ROOT = "sweeps/big"


class SimulatedObjects:
    """A store that has the state of a finished sweep."""

    url = "memory://"

    def __init__(self, tasks: int) -> None:
        self.tasks = tasks
        self.copies = [render_journal(map(make_end, range(first, min(first + _COPY, tasks)))) for first in range(0, tasks, _COPY)]

    def list(self, prefix: str) -> Iterator[tuple[Listed, ...]]:
        names: Iterator[str] = iter(())
        if found := re.fullmatch(f"{_ROOT}/_DONE/([0-9]{{5}})/", prefix):
            first = int(found[1]) * BLOCK
            names = (f"{number:03}" for number in range(min(BLOCK, self.tasks - first)))
        elif prefix == f"{_ROOT}/ends/":
            names = (f"w/{number:06}" for number in range(-(-self.tasks // _COPY)))
        elif prefix == f"{_ROOT}/workers/":
            names = iter(("w",))
        while page := tuple(Listed(f"{prefix}{name}", 300) for name, _ in zip(names, range(PAGE), strict=False)):
            yield page

    def get(self, key: str) -> Held | None:
        if key == f"{_ROOT}/workers/w":
            return Held(render_document(Beat(worker="w", number=9, slots=2, spent=5000.0, done=self.tasks, over=True)), "1")
        if not key.startswith(f"{_ROOT}/ends/"):
            return None
        return Held(self.copies[int(key.rpartition("/")[2])], "1")

    def size(self, key: str) -> int | None:
        return None

    def read(self, key: str, offset: int, length: int) -> bytes:
        raise NotImplementedError

    def put(self, key: str, source: bytes | Path) -> None:
        raise NotImplementedError

    def put_if_absent(self, key: str, data: bytes) -> bool:
        raise NotImplementedError

    def put_if_match(self, key: str, data: bytes, version: str) -> bool:
        raise NotImplementedError

    def folders(self, prefix: str) -> tuple[str, ...]:
        return tuple(f"{block:05}" for block in range(-(-self.tasks // BLOCK))) if prefix.endswith("/_DONE/") else ()

    def delete(self, key: str) -> None:
        raise NotImplementedError


def make_end(task: int) -> TaskDone:
    """How a task of the sweep ended: one of a hundred failed."""
    state = JobState.FAILED if task % 100 == 7 else JobState.SUCCEEDED
    outputs = (Output(path="model.pkl", size=6000, sha256="0" * 64),)
    return TaskDone(
        task=task, attempt=0, state=state, exit_code=int(task % 100 == 7), worker="w", metrics={"loss": 0.5}, outputs=outputs
    )


def main() -> None:
    tasks = int(sys.argv[1])
    parameters = Parameters(axes=(Axis(name="number", values=tuple(range(tasks))),))
    sweep = Sweep(name="big", command=("true",), parameters=parameters)
    spec = SweepSpec(id="big", sweep=sweep, target="t", backend="local", root="/p", owner="me", created=0.0)
    reader = StatusReader(SweepState(SimulatedObjects(tasks), "big"), spec, 15.0)
    start = time.perf_counter()
    status = reader.read()
    seconds = time.perf_counter() - start
    assert (status.counts.succeeded, status.counts.failed) == (tasks - tasks // 100, tasks // 100)
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
