"""The page over jobs that were made by hand: a record and a folder each, as a supervisor leaves them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from wherry.jobs import Jobs
from wherry.model.job import JobRecord, JobState, Output
from wherry.store.disk import DiskStore
from wherry.store.host import read_host_name
from wherry.sweeps import Sweeps
from wherry.ui.app import make_app
from wherry.ui.desk import Desk
from wherry.ui.guard import COOKIE, Secrets

PLACE = "http://127.0.0.1:8910"
KNOWN = Secrets(place="p", token="t", once="o", session="s")


@dataclass(frozen=True, slots=True)
class World:
    """A desk, and a browser that was let in."""

    desk: Desk
    browser: TestClient

    def add_job(
        self,
        job: str,
        *,
        state: JobState = JobState.SUCCEEDED,
        started: float = 1000.0,
        stdout: bytes = b"",
        outputs: Mapping[str, bytes] | None = None,
        metrics: Sequence[Mapping[str, Any]] = (),
        **more: Any,
    ) -> JobRecord:
        folder = self.desk.jobs.place / job
        for part in ("tasks/0", "outputs", "metrics"):
            (folder / part).mkdir(parents=True)
        (folder / "tasks/0/stdout").write_bytes(stdout)
        (folder / "metrics/0.jsonl").write_text("".join(json.dumps(line) + "\n" for line in metrics))
        for path, data in (outputs or {}).items():
            (folder / "outputs" / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / "outputs" / path).write_bytes(data)
        kept = tuple(Output(path=path, size=len(data), sha256="0" * 64) for path, data in (outputs or {}).items())
        ended = {"ended": started + 5, "exit_code": 0} if state.is_final else {}
        values = {
            "id": job,
            "project": "/work/anomaly",
            "name": "anomaly",
            "target": "local",
            "backend": "local",
            "command": ("python", "train.py"),
            "platform": "linux/amd64",
            "host": read_host_name(),
            **ended,
            **more,
        }
        record = JobRecord(**values, started=started, state=state, outputs=kept)  # type: ignore[arg-type]
        self.desk.jobs.records.add(record)
        return record

    def read(self, path: str, status: int = 200) -> str:
        answer = self.browser.get(f"/p/{path}")
        assert answer.status_code == status, answer.text
        return answer.text


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    env = {"WHERRY_JOBS": str(tmp_path / "jobs"), "WHERRY_CACHE": str(tmp_path / "cache"), "PATH": ""}
    return Desk(env=env, root=tmp_path, jobs=Jobs(env), sweeps=Sweeps(env), store=DiskStore(tmp_path / "store"))


@pytest.fixture
def world(desk: Desk) -> World:
    browser = TestClient(make_app(desk, KNOWN), base_url=PLACE, follow_redirects=False, cookies={COOKIE: "s"})
    return World(desk, browser)
