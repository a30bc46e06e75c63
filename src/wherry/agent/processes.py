"""Does a piece of work in a process of its own, and takes its outcome back: so what the work needs of memory goes with it.

The verifier, the decoder and whatever feeds the engine run so. What comes back is JSON, or one of our errors by its name:
a process that read foreign bytes hands over nothing that could run here.
"""

from __future__ import annotations

import importlib
import json
import os
import traceback
from collections.abc import Callable
from typing import Any

from wherry import errors
from wherry.errors import DeviceError, WherryError
from wherry.store.posix import fork_process, wait_for_process

# Does a piece of work and gives what it returned; tests do it in place.
Apart = Callable[[Callable[[], Any]], Any]
_LONGEST = 1 << 20


def run_apart(work: Callable[[], Any]) -> Any:
    """Run `work` in a child process; its value, or its error raised here. The value is what JSON can say."""
    reading, writing = os.pipe()
    child = fork_process()
    if child == 0:
        os.close(reading)
        _report(work, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        raw = pipe.read(_LONGEST)
    code = wait_for_process(child)
    if code != 0 or not raw:
        raise DeviceError(f"a process of the agent's ended with {code}", hint="more memory, or see the log")
    value = json.loads(raw)
    if "error" in value:
        raise _revive(value["error"])
    return value["value"]


def run_in_place(work: Callable[[], Any]) -> Any:
    """The same without a process."""
    return work()


def work_apart(apart: Apart, name: str, *arguments: object) -> Any:
    """Do a function of `wherry.agent.work` apart. The module is loaded there, for what it brings along needs memory."""

    def work() -> Any:
        function: Callable[..., Any] = getattr(importlib.import_module("wherry.agent.work"), name)
        return function(*arguments)

    return apart(work)


def _report(work: Callable[[], Any], writing: int) -> None:
    """The child's whole life."""
    code = 1
    try:
        try:
            value = {"value": work()}
        except WherryError as error:
            value = {"error": {"kind": type(error).__name__, "what": error.what, "where": error.where, "hint": error.hint}}
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(json.dumps(value).encode())
        code = 0
    except BaseException:  # noqa: BLE001 - it goes no further than this process
        traceback.print_exc()
    finally:
        os._exit(code)


def _revive(told: dict[str, Any]) -> WherryError:
    kind = getattr(errors, str(told["kind"]), DeviceError)
    if not (isinstance(kind, type) and issubclass(kind, WherryError)):
        kind = DeviceError
    return kind(str(told["what"]), where=told["where"], hint=told["hint"])
