"""Looks after a pool that has no node at work: says within seconds why, instead of waiting in silence.

What Azure says of quotas stands in the pool's resize errors, what a start task says in its output on the node. A pool that is
still being made after `patience` seconds is given up. The driver gives everything back then.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from azure.batch import BatchClient, models
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from wherry.errors import EngineError
from wherry.model.azure import AzurePool
from wherry.run.backends.azure_batch_account import explain_code

_TAIL = 2000
_AT_WORK = (models.BatchNodeState.IDLE, models.BatchNodeState.RUNNING)


class PoolWatch:
    """One round's pool; the time runs while nothing else does."""

    def __init__(self, pool: AzurePool, say: Callable[[str], None], patience: float) -> None:
        self._pool = pool
        self._say = say
        self._patience = patience
        self._since: float | None = None
        self._said = False

    def rest(self) -> None:
        """Something runs."""
        self._since = None

    def look(self, client: BatchClient, job: models.BatchJob) -> None:
        """An error where no task of `job` will ever begin."""
        if self._since is None:
            self._since = time.monotonic()
        info = job.execution_info
        if info is not None and info.scheduling_error is not None:
            raise explain_code(str(info.scheduling_error.code), str(info.scheduling_error.message or ""), self._pool.account)
        if info is not None and info.pool_id and self._has_nodes(client, info.pool_id):
            return
        if time.monotonic() - self._since > self._patience:
            what = f"no node of {self._pool.vm_size} came in {self._patience / 60:.0f} minutes"
            raise EngineError(what, where=self._pool.account, hint="another vm-size or region, or later")

    def _has_nodes(self, client: BatchClient, name: str) -> bool:
        try:
            pool = client.get_pool(name)
        except ResourceNotFoundError:
            return False
        nodes = list(client.list_nodes(name))
        self._refuse_errors(pool, nodes)
        for node in nodes:
            if node.state == models.BatchNodeState.START_TASK_FAILED:
                raise self._explain_start(client, name, node)
        broken = [node for node in nodes if node.state == models.BatchNodeState.UNUSABLE]
        if broken and len(broken) == len(nodes):
            errors = "; ".join(f"{one.code}: {one.message}" for one in broken[0].errors or ())
            raise EngineError(f"the nodes cannot be used: {errors}", where=self._pool.account, hint="the image of the target")
        return any(node.state in _AT_WORK for node in nodes)

    def _refuse_errors(self, pool: models.BatchPool, nodes: list[models.BatchNode]) -> None:
        if not pool.resize_errors:
            return
        first = pool.resize_errors[0]
        error = explain_code(str(first.code), str(first.message or ""), self._pool.account)
        if not nodes:
            raise error
        if not self._said:
            self._said = True
            self._say(f"only {len(nodes)} nodes: {error}")

    def _explain_start(self, client: BatchClient, pool: str, node: models.BatchNode) -> EngineError:
        info = node.start_task_info
        code = info.exit_code if info else None
        try:
            told = b"".join(client.download_node_file(pool, node.id, "startup/stderr.txt"))
        except HttpResponseError:
            told = b""
        text = told[-_TAIL:].decode(errors="replace").strip()
        return EngineError(
            f"the start task failed with exit code {code}\n{text}".strip(), where=node.id, hint="start-task of the target"
        )
