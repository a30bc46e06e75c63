"""Scoring scripts for tests, and a service around one without a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from starlette.testclient import TestClient

from wherry.model.scoring import ScoreService
from wherry.score.script import Script
from wherry.score.service import Service
from wherry.score.worker import Worker

TYPED = """\
from pydantic import BaseModel
class Reading(BaseModel):
    temp: float
class Answer(BaseModel):
    hot: bool
def run(reading: Reading) -> Answer:
    if reading.temp == 13:
        raise RuntimeError("the secret of 13")
    return Answer(hot=reading.temp > 30)
"""
BATCHED = (
    TYPED
    + """\
SIZES = []
def run_batch(readings: list[Reading]) -> list[Answer]:
    SIZES.append(len(readings))
    return [run(reading) for reading in readings]
"""
)


def load_script(folder: Path, text: str) -> Script:
    """Under a name of its own: a module is loaded once."""
    path = folder / f"script_{abs(hash((str(folder), text)))}.py"
    path.write_text(text)
    try:
        return Script(path)
    finally:
        sys.path.remove(str(folder.resolve()))
        del sys.modules[path.stem]


@contextmanager
def open_service(script: Script, **settings: float) -> Iterator[TestClient]:
    asked = ScoreService(script="score.py", **settings)  # type: ignore[arg-type]
    service, worker = Service(asked, "score"), Worker(script, asked.batch_size, asked.batch_wait)
    service.open(script, worker)
    with TestClient(service.app) as client:
        yield client
    worker.close()
