"""How long a pool without nodes is waited for, and what Azure's errors become. What needs a service is in tests/engines."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

pytest.importorskip("azure.batch")

from azure.batch import models
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ServiceRequestError

from wherry.errors import EngineError, TransferError
from wherry.model.azure import AzurePool
from wherry.run.backends import azure_batch_watch
from wherry.run.backends.azure_batch_account import explain_azure
from wherry.run.backends.azure_batch_watch import PoolWatch

POOL = AzurePool(account="https://mine.example", vm_size="Standard_D4s_v5", image="registry.example/m")
JOB = models.BatchJob({"executionInfo": {"poolId": "p", "startTime": "2026-01-01T00:00:00Z"}})


class Service:
    def __init__(self, *states: str) -> None:
        self.states = states

    def get_pool(self, _name: str) -> models.BatchPool:
        return models.BatchPool({"id": "p"})

    def list_nodes(self, _name: str) -> list[models.BatchNode]:
        return [models.BatchNode({"id": "n", "state": state}) for state in self.states]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    now = SimpleNamespace(value=0.0)
    monkeypatch.setattr(azure_batch_watch, "time", SimpleNamespace(monotonic=lambda: now.value))
    return now


def look(watch: PoolWatch, *states: str) -> None:
    watch.look(cast(Any, Service(*states)), JOB)


def test_the_time_runs_while_nothing_else_does(clock: SimpleNamespace) -> None:
    watch = PoolWatch(POOL, lambda _text: None, 60.0)
    look(watch)
    clock.value = 50
    look(watch, "creating")
    watch.rest()  # a task ran, and its node was taken away
    clock.value = 100
    look(watch, "preempted")
    clock.value = 159
    look(watch, "preempted")
    clock.value = 161
    with pytest.raises(EngineError, match="no node of Standard_D4s_v5 came in 1 minutes"):
        look(watch, "preempted")


def test_nodes_that_begin_are_waited_for_however_long(clock: SimpleNamespace) -> None:
    watch = PoolWatch(POOL, lambda _text: None, 60.0)
    look(watch)
    clock.value = 1000
    look(watch, "idle")


def test_nodes_that_cannot_be_used(clock: SimpleNamespace) -> None:
    with pytest.raises(EngineError, match="cannot be used"):
        look(PoolWatch(POOL, lambda _text: None, 60.0), "unusable", "unusable")


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (ServiceRequestError("https://x.blob.example/c?sig=s3cret&sp=w refused"), TransferError, "does not answer"),
        (ClientAuthenticationError("DefaultAzureCredential failed"), EngineError, "no login to Azure"),
        (HttpResponseError("at https://x.blob.example/c?sig=s3cret"), EngineError, "at https://x.blob.example/c?…"),
    ],
)
def test_errors_are_told_without_signatures(error: Exception, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind) as caught, explain_azure("https://mine.example"):
        raise error
    assert says in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None
