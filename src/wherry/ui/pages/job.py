"""The page of one job: what it ran and in what, its metrics as drawings, its outputs, and its logs as they grow."""

from __future__ import annotations

import math
import time
from pathlib import Path

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from wherry.errors import StoreError, TrustError, UsageError
from wherry.model.job import JobRecord
from wherry.run.variables import OUTPUTS
from wherry.store.folder_tree import FolderBase
from wherry.ui.charts import draw_chart
from wherry.ui.desk import Desk
from wherry.ui.downloads import send_file, send_picture
from wherry.ui.log_tail import TAILS, read_tail
from wherry.ui.rendering import render_page

_OFTEN = 1  # seconds between looks while it runs
_MOST_CHARTS = 60
_MOST_OUTPUTS = 1000
_MOST_PICTURES, _LARGEST_PICTURE = 12, 8 << 20
# What browsers draw and cannot run: no SVG.
_PICTURES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp"}


def show_job(desk: Desk, request: Request) -> Response:
    record = find_job(desk, request)
    course = desk.readings.look(desk.jobs.metrics_file(record))
    last = course.metrics.last
    charts = (draw_chart(name, [(record.id, course.points_of(name))]) for name in list(last)[:_MOST_CHARTS])
    more = _read_more(request)
    outputs = list_output_files(desk, record)
    logs = desk.jobs.backend_of(record).logs(desk.jobs.job_of(record), 0)
    return render_page(
        request,
        "job.html",
        page="jobs",
        job=record,
        parameters={**record.parameters, **course.metrics.parameters},
        charts=[chart for chart in charts if chart is not None],
        last=last,
        odd={name: value for name, value in last.items() if not math.isfinite(value)},
        outputs=outputs,
        pictures=[path for path, size, _ in outputs if _find_kind(path) and size <= _LARGEST_PICTURE][:_MOST_PICTURES],
        logs={name: read_tail(path, TAILS[more]) for name, path in (("stdout", logs.stdout), ("stderr", logs.stderr))},
        more=more + 1 if more + 1 < len(TAILS) else None,
        stopping=not record.state.is_final and (desk.jobs.place / record.id / "tasks/0/cancelled").exists(),
        trouble=desk.troubles.get(record.id),
        now=None if record.state.is_final else time.time(),
        every=None if record.state.is_final else _OFTEN,
    )


def stop_job(desk: Desk, request: Request) -> Response:
    """Back to the job's page at once; there one sees it end."""
    record = find_job(desk, request)
    desk.stop_job(record)
    return RedirectResponse(request.url.path.removesuffix("/stop"), status_code=303)


def send_output(desk: Desk, request: Request) -> Response:
    """A file below the job's outputs folder: opened step by step, no link followed."""
    record = find_job(desk, request)
    folder, path = desk.jobs.place / record.id / OUTPUTS, request.path_params["path"]
    try:
        file = FolderBase(folder).open_file(path)
    except TrustError as error:
        raise StoreError("there is no such file among the job's outputs", where=path) from error
    kind = _find_kind(path)
    return send_picture(file, kind) if kind and "show" in request.query_params else send_file(file, Path(path).name)


def send_log(desk: Desk, request: Request) -> Response:
    """A whole stream, as it was written."""
    record = find_job(desk, request)
    logs = desk.jobs.backend_of(record).logs(desk.jobs.job_of(record), 0)
    path = {"stdout": logs.stdout, "stderr": logs.stderr}.get(request.path_params["stream"])
    if path is None or not path.is_file():
        raise StoreError("the job has no such stream", where=request.path_params["stream"])
    return send_file(path.open("rb"), f"{record.id}-{path.name}.txt")


def find_job(desk: Desk, request: Request) -> JobRecord:
    return desk.jobs.find(request.path_params["job"])


def list_output_files(desk: Desk, record: JobRecord) -> list[tuple[str, int, str]]:
    """Path, size, digest. Of a job that runs: what is there by now, and no digests."""
    if record.state.is_final:
        return [(output.path, output.size, output.sha256) for output in record.outputs[:_MOST_OUTPUTS]]
    files = FolderBase(desk.jobs.place / record.id / OUTPUTS).list_files("", _MOST_OUTPUTS)
    return sorted((file.path, file.size, "") for file in files)


def _find_kind(path: str) -> str | None:
    return _PICTURES.get(Path(path).suffix.lower())


def _read_more(request: Request) -> int:
    text = request.query_params.get("more", "0")
    if text not in map(str, range(len(TAILS))):
        raise UsageError(f"{text!r} is no length of a log")
    return int(text)
