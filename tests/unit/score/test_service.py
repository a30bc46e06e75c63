"""The HTTP service in this process: answers, limits, order, and whatever bytes a stranger may send."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from tests.unit.score.scripts import BATCHED, TYPED, load_script, open_service
from wherry.model.scoring import ScoreService
from wherry.score.script import Outcome
from wherry.score.service import Service
from wherry.score.worker import Worker


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with open_service(load_script(tmp_path_factory.mktemp("typed"), TYPED), max_body=200) as opened:
        yield opened


def test_a_reading_is_scored(client: TestClient) -> None:
    answer = client.post("/score", content=b'{"temp": 31}')
    assert (answer.status_code, answer.json(), answer.headers["content-type"]) == (200, {"hot": True}, "application/json")
    assert client.get("/health").json() == {"status": "ok"}


def test_a_bad_one_is_told_what_and_where(client: TestClient) -> None:
    answer = client.post("/score", content=b'{"temp": "x"}')
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "temp"]


def test_a_script_that_fails_tells_no_stranger_why(client: TestClient, capfd: pytest.CaptureFixture[str]) -> None:
    answer = client.post("/score", content=b'{"temp": 13}')
    assert answer.status_code == 500
    assert set(answer.json()) == {"error", "id"}
    assert "secret" not in answer.text


@pytest.mark.parametrize("told", [True, False])
def test_a_request_has_a_limit(client: TestClient, told: bool) -> None:
    parts = [b" " * 150, b'{"temp": 31}' + b" " * 50]
    content: Any = b"".join(parts) if told else iter(parts)
    assert client.post("/score", content=content).status_code == 413
    assert client.post("/score", content=b'{"temp": 31}' + b" " * 100).status_code == 200


def test_other_methods_and_places(client: TestClient) -> None:
    assert client.get("/score").status_code == 405
    assert client.get("/nothing").status_code == 404


def test_it_describes_itself(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    body = document["paths"]["/score"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/Reading"}
    assert document["components"]["schemas"]["Answer"]["properties"] == {"hot": {"title": "Hot", "type": "boolean"}}
    page = client.get("/")
    assert "<h1>score</h1>" in page.text
    assert "Reading" in page.text
    assert "{\n  &quot;temp&quot;: 0.0\n}</textarea>" in page.text


def test_before_the_model_is_there_it_says_so() -> None:
    with TestClient(Service(ScoreService(script="score.py"), "score").app) as client:
        for answer in (client.get("/health"), client.post("/score", content=b"{}")):
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


def test_readings_that_come_together_are_scored_together_and_answered_apart(tmp_path: Path) -> None:
    script = load_script(tmp_path, BATCHED)
    with open_service(script, batch_size=8, batch_wait=0.5) as client, ThreadPoolExecutor(16) as pool:
        temps = [31, 1, 13, "x"] * 4
        answers = list(pool.map(lambda temp: client.post("/score", content=json.dumps({"temp": temp})), temps))
    assert [answer.status_code for answer in answers] == [200, 200, 500, 422] * 4
    assert [answer.json().get("hot") for answer in answers] == [True, False, None, None] * 4


class Collected:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.got: list[tuple[int, Outcome]] = []

    def deliver(self, outcomes: Any) -> None:
        self.got += outcomes


def test_the_worker_keeps_the_order_and_finishes_what_it_took(tmp_path: Path) -> None:
    sink, worker = Collected(), Worker(load_script(tmp_path, "def run(raw): return raw"), 7, 0.0)
    for number in range(100):
        assert worker.submit(str(number).encode(), sink, number)
    worker.close()
    assert sink.got == [(number, str(number).encode()) for number in range(100)]


def test_more_than_can_wait_is_refused(tmp_path: Path) -> None:
    gate = threading.Event()
    script = load_script(tmp_path, "gate = None\ndef run(raw):\n    gate.wait(60)\n    return 1\n")
    script._run.__globals__["gate"] = gate  # type: ignore[union-attr]
    worker = Worker(script, 1, 0.0)
    taken = [worker.submit(b"1", Collected(), number) for number in range(5000)]
    assert taken[:4096] == [True] * 4096
    assert not taken[-1]
    assert not worker.close(patience=0)
    gate.set()
    assert worker.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=190),
        st.recursive(st.none() | st.floats() | st.text(max_size=8), st.lists, max_leaves=5).map(
            lambda value: json.dumps({"temp": value}).encode()[:190]
        ),
    )
)
def test_any_bytes_get_an_answer_that_is_json(client: TestClient, body: bytes) -> None:
    answer = client.post("/score", content=body)
    assert answer.status_code in (200, 422)
    answer.json()


def test_what_waits_is_bounded_by_its_bytes(tmp_path: Path) -> None:
    gate = threading.Event()
    script = load_script(tmp_path, "gate = None\ndef run(data: bytes):\n    gate.wait(60)\n    return 1\n")
    script._run.__globals__["gate"] = gate  # type: ignore[union-attr]
    sink, worker = Collected(), Worker(script, 1, 0.0)
    body = bytes(30 << 20)
    taken = [worker.submit(body, sink, number) for number in range(6)]
    assert 2 <= sum(taken) <= 3  # one may be with the script
    gate.set()
    worker.close()
    assert len(sink.got) == sum(taken)
