"""Speaks with a Ray cluster for `RayBackend`, as a process of its own: ``python -m wherry.run.backends.ray_desk ADDRESS``.

Lines of JSON: ``[verb, arguments]`` come on stdin, ``{"is": …}`` or ``{"error": …}`` go to stdout. It ends with its stdin.
It is a process of its own because Ray takes over whoever connects: it sets handlers of signals, starts threads, and ends the
process when its cluster is gone.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import ray
from ray import cloudpickle

from wherry.run.backends import ray_round
from wherry.run.backends.ray_round import Asked, begin_round, find_keeper, list_rounds

_PATIENCE = 30.0
_PAUSE = 0.5
_SOON = 10.0


def main() -> int:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what Ray says is no answer
    cloudpickle.register_pickle_by_value(ray_round)
    connected = False
    for line in sys.stdin:
        verb, arguments = json.loads(line)
        try:
            if not connected:
                _connect(sys.argv[1])
                connected = True
            answer = {"is": _VERBS[verb](**arguments)}
        except (ray.exceptions.RayError, ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            answer = {"error": str(error).strip() or type(error).__name__}
        print(json.dumps(answer), file=answers, flush=True)
    return 0


def _connect(address: str) -> None:
    host, _, port = address.rpartition(":")
    if host and "/" not in host:
        try:  # Ray would wait for more than a minute where nobody listens, and then end this process
            socket.create_connection((host, int(port)), _SOON).close()
        except OSError as error:
            raise ConnectionError(f"nobody answers ({error.strerror or error})") from error
    ray.init(address=address, namespace=ray_round.NAMESPACE, log_to_driver=False)


def _list_nodes() -> list[dict[str, float]]:
    """What each node has that lives, as Ray counts it."""
    return [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]


def _begin(asked: Asked) -> None:
    begin_round(asked)


def _look(name: str, known: list[str]) -> Any:
    return _ask(name, "look", known)


def _read(name: str, index: str) -> Any:
    return _ask(name, "read", index)


def _end(name: str, grace: float) -> None:
    _ask(name, "end", grace)


def _list() -> list[tuple[str, str]]:
    return [(name, told) for name in list_rounds() if (told := _ask(name, "describe")) is not None]


def _release(name: str) -> None:
    _ask(name, "end", 0.0)
    keeper = find_keeper(name)
    if keeper is not None:
        ray.kill(keeper)


def _ask(name: str, method: str, *arguments: Any) -> Any:
    """What a round's keeper answers; None where it is gone. One that cannot be reached may be again in a while."""
    end = time.monotonic() + _PATIENCE
    while (keeper := find_keeper(name)) is not None:
        try:
            return ray.get(getattr(keeper, method).remote(*arguments))
        except ray.exceptions.ActorDiedError:
            return None
        except ray.exceptions.ActorUnavailableError:
            if time.monotonic() > end:
                raise
            time.sleep(_PAUSE)
    return None


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
