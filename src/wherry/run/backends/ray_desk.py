"""Speaks with a Ray cluster for `RayBackend`, as a process of its own: ``python -m wherry.run.backends.ray_desk ADDRESS``.

Lines of JSON: ``[verb, arguments]`` come on stdin, ``{"is": …}`` or ``{"error": …}`` go to stdout. It ends with its stdin.
It is a process of its own because Ray takes over whoever connects: it sets handlers of signals, starts threads, and ends the
process when its cluster is gone.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

import ray
from ray import cloudpickle

from wherry.run.backends import ray_round
from wherry.run.backends.ray_round import Asked, begin_round, find_keeper, list_rounds


def main() -> int:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what Ray says is no answer
    cloudpickle.register_pickle_by_value(ray_round)
    connected = False
    for line in sys.stdin:
        verb, arguments = json.loads(line)
        try:
            if not connected:
                ray.init(address=sys.argv[1], namespace=ray_round.NAMESPACE, log_to_driver=False)
                connected = True
            answer = {"is": _VERBS[verb](**arguments)}
        except (ray.exceptions.RayError, ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            answer = {"error": str(error).strip() or type(error).__name__}
        print(json.dumps(answer), file=answers, flush=True)
    return 0


def _list_nodes() -> list[dict[str, float]]:
    """What each node has that lives, as Ray counts it."""
    return [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]


def _begin(asked: Asked) -> None:
    begin_round(asked)


def _look(name: str, known: list[str]) -> Any:
    keeper = find_keeper(name)
    return None if keeper is None else ray.get(keeper.look.remote(known))


def _read(name: str, index: str) -> Any:
    keeper = find_keeper(name)
    return None if keeper is None else ray.get(keeper.read.remote(index))


def _end(name: str, grace: float) -> None:
    keeper = find_keeper(name)
    if keeper is not None:
        ray.get(keeper.end.remote(grace))


def _list() -> list[tuple[str, str]]:
    keepers = [(name, keeper) for name in list_rounds() if (keeper := find_keeper(name)) is not None]
    return [(name, ray.get(keeper.describe.remote())) for name, keeper in keepers]


def _release(name: str) -> None:
    keeper = find_keeper(name)
    if keeper is not None:
        ray.get(keeper.end.remote(0.0))
        ray.kill(keeper)


_VERBS: dict[str, Callable[..., Any]] = {
    "list-nodes": _list_nodes,
    "begin": _begin,
    "look": _look,
    "read": _read,
    "end": _end,
    "list": _list,
    "release": _release,
}

if __name__ == "__main__":
    sys.exit(main())
