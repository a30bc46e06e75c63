"""The process that loads py-rattler: reads one request from stdin, answers it on stdout (see `rattler_program`).

`python -m wherry.sources.rattler_worker COMMAND`. A command is a function of another module, which is loaded only when it
is asked for; it takes the request and gives the result, both plain JSON, or raises a `WherryError`. Whatever
libraries print goes to stderr, so that the answer stands alone on stdout.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from wherry.errors import UsageError, WherryError
from wherry.formats.urls import scrub_text
from wherry.store.posix import end_with_parent

_LAST_WORDS = 300  # characters

_COMMANDS = {
    "find": ("wherry.sources.rattler_solve", "find_records"),
    "solve": ("wherry.sources.rattler_solve", "solve_records"),
    "stage": ("wherry.sources.rattler_stage", "stage_records"),
}


def answer_request(command: str, request: dict[str, Any]) -> dict[str, Any]:
    """`{"result": …}`, or `{"error": …}` with the kind of a `WherryError` and its three texts.

    What py-rattler raises and the command did not expect is told in its words: it comes of what was read.
    """
    try:
        return {"result": _find_command(command)(request)}
    except WherryError as error:
        return {"error": {"kind": type(error).__name__, "what": error.what, "where": error.where, "hint": error.hint}}
    except Exception as error:  # noqa: BLE001 - py-rattler's own have no common root but this
        said = scrub_text(" ".join(str(error).split()))[:_LAST_WORDS]
        what = f"py-rattler cannot {command}: {type(error).__name__}: {said}"
        return {"error": {"kind": "FormatError", "what": what, "where": None, "hint": None}}


def _find_command(command: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    if command not in _COMMANDS:
        raise UsageError(f"no such command: {command}", where="py-rattler's process")
    module, function = _COMMANDS[command]
    found: Callable[[dict[str, Any]], dict[str, Any]] = getattr(importlib.import_module(module), function)
    return found


def main() -> None:
    end_with_parent()
    with os.fdopen(os.dup(1), "wb") as answer:
        os.dup2(2, 1)
        found = answer_request(sys.argv[1], json.load(sys.stdin.buffer))
        answer.write(json.dumps(found).encode())
    os._exit(0)  # the threads of py-rattler outlive an error, and would crash in an interpreter that is being torn down


if __name__ == "__main__":
    main()
