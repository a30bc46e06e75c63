"""What a job's own program calls: `log_metric` and `log_params`. Needs nothing but Python's own library.

Each call is one line at the end of the file that `WHERRY_METRICS` names (formats/job_metrics.py), written at once, so that several
processes may write and a killed one loses nothing it had said. Outside of a job both do nothing: a program runs the same without
wherry around it.
"""

from __future__ import annotations

import os
import time

from wherry.formats.job_metrics import render_metric, render_parameters


def log_metric(name: str, value: float, *, step: int | None = None) -> None:
    """Tell one value of a metric."""
    _append(render_metric(name, value, step, time.time()))


def log_params(values: dict[str, object] | None = None, **more: object) -> None:
    """Tell what the job was run with, besides what stands on its command line."""
    _append(render_parameters({**(values or {}), **more}))


def _append(line: bytes) -> None:
    path = os.environ.get("WHERRY_METRICS")
    if not path:
        return
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    try:
        os.write(handle, line)
    finally:
        os.close(handle)
