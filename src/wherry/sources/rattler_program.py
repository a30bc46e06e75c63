"""py-rattler, driven as a program of its own: a package that makes it panic or abort ends that process, never ours.

`run_rattler` starts `wherry.sources.rattler_worker` with the request as JSON on stdin and reads the answer as JSON from
stdout. What the worker raises on purpose arrives as the same error here. Of what it says beside that, only its
last words are passed on, without logins and tokens. Nothing of the user's rattler or conda configuration reaches it:
who asks for channels is us.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from wherry.errors import DeclarationError, FormatError, LockError, StoreError, TransferError, TrustError, UsageError, WherryError
from wherry.formats.urls import scrub_text
from wherry.store.posix import KILL

WORKER = "wherry.sources.rattler_worker"
_LAST_WORDS = 300  # characters
_FOREIGN = ("CONDA_", "MAMBA_", "PIXI_", "RATTLER_", "RUST_", "RUNTIME_CONFIG")

_KINDS: dict[str, type[WherryError]] = {
    kind.__name__: kind for kind in (DeclarationError, FormatError, LockError, StoreError, TransferError, TrustError, UsageError)
}


def run_rattler(command: str, request: Mapping[str, Any], *, timeout: float) -> dict[str, Any]:
    """Let the worker answer `command`, within `timeout` seconds.

    Raises what the worker raised; `FormatError` where its process ended abruptly or stood still, which a hostile package
    can bring about; `StoreError` where the system ended it; `UsageError` where py-rattler is not installed.
    """
    require_rattler()
    worker = [sys.executable, "-P", "-m", WORKER, command]
    try:
        done = subprocess.run(
            worker, input=json.dumps(request).encode(), capture_output=True, timeout=timeout, env=_environment(), check=False
        )
    except subprocess.TimeoutExpired:
        raise FormatError(f"py-rattler did not finish in {timeout:g} s", where=command) from None
    except OSError as error:
        raise StoreError(f"py-rattler's process cannot be started: {error.strerror}") from error
    if done.returncode != 0:
        raise _explain_end(command, done.returncode, done.stderr)
    return _read_answer(command, done.stdout)


def require_rattler() -> None:
    """Say what to install where py-rattler, which only conda environments need, is missing."""
    if importlib.util.find_spec("rattler") is None:
        raise UsageError("conda environments need py-rattler, which is not installed", hint='pip install "wherry[conda]"')


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}


def _explain_end(command: str, code: int, stderr: bytes) -> WherryError:
    lines = [line for line in stderr.decode("utf-8", "replace").splitlines() if line.strip() and "RUST_BACKTRACE" not in line]
    words = scrub_text(" ".join(lines[-3:]))[-_LAST_WORDS:]
    if code == -KILL:
        return StoreError("the system ended py-rattler's process", where=command, hint="there may be too little memory")
    how = f"by {signal.Signals(-code).name}" if code < 0 and -code in list(signal.Signals) else f"with exit code {code}"
    said = f"; it said: {words}" if words else ""
    return FormatError(
        f"py-rattler's process ended {how}{said}", where=command, hint="one of the packages may be damaged or hostile"
    )


def _read_answer(command: str, stdout: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(stdout)
        problem = answer.get("error")
        if problem is None:
            return dict(answer["result"])
        kind = _KINDS[problem["kind"]]
        raised = kind(str(problem["what"]), where=problem.get("where"), hint=problem.get("hint"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise FormatError("py-rattler's process gave no answer that can be read", where=command) from None
    raise raised
