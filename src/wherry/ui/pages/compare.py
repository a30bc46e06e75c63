"""The page that puts jobs side by side: what they were run with, what came out, and their metrics in one drawing each."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from wherry.errors import UsageError
from wherry.formats.metric_series import MetricCourse
from wherry.model.job import JobRecord
from wherry.model.size import format_size
from wherry.ui.charts import draw_chart
from wherry.ui.desk import Desk
from wherry.ui.rendering import format_length, format_number, render_page, shorten_digest

_MOST_JOBS, _MOST_CHARTS = 12, 24
_OFTEN = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One thing of all jobs, in their order."""

    name: str
    values: tuple[str, ...]

    @property
    def differs(self) -> bool:
        return len(set(self.values)) > 1


def compare_jobs(desk: Desk, request: Request) -> Response:
    names = list(dict.fromkeys(request.query_params.getlist("id")))
    if not 2 <= len(names) <= _MOST_JOBS:
        raise UsageError(f"{len(names)} jobs are chosen", hint=f"tick two to {_MOST_JOBS} in the list of jobs")
    records = sorted((desk.jobs.find(name) for name in names), key=lambda record: record.started)
    courses = [desk.readings.look(desk.jobs.metrics_file(record)) for record in records]
    metrics = dict.fromkeys(name for course in courses for name in course.metrics.last)
    pairs = list(zip(records, courses, strict=True))
    charts = (draw_chart(name, [(record.id, course.points_of(name)) for record, course in pairs]) for name in metrics)
    running = any(not record.state.is_final for record in records)
    return render_page(
        request,
        "compare.html",
        page="jobs",
        jobs=records,
        parts={
            "Parameters": _list_rows([{**record.parameters, **course.metrics.parameters} for record, course in pairs]),
            "Metrics, as last told": _list_rows([_name_last(course) for course in courses]),
            "Ran with": _list_rows([_name_facts(record) for record in records]),
            "Outputs": _list_rows([{output.path: output.sha256[:12] for output in record.outputs} for record in records]),
        },
        only=request.query_params.get("only") == "differing",
        charts=[chart for chart in charts if chart is not None][:_MOST_CHARTS],
        every=_OFTEN if running else None,
    )


def _list_rows(columns: Sequence[Mapping[str, str]]) -> list[Row]:
    names = dict.fromkeys(name for column in columns for name in column)
    rows = (Row(name=name, values=tuple(column.get(name, "") for column in columns)) for name in names)
    return [row for row in rows if any(row.values)]


def _name_last(course: MetricCourse) -> dict[str, str]:
    return {name: format_number(value) for name, value in course.metrics.last.items()}


def _name_facts(record: JobRecord) -> dict[str, str]:
    given = {name: value for name, value in record.limits.items() if value is not None}
    limits = {f"limit: {name}": format_size(value) if name == "memory" else str(value) for name, value in given.items()}
    seconds = record.count_seconds(time.time())
    return {
        "command": " ".join(record.command),
        "took": "" if seconds is None else format_length(seconds),
        "exit code": "" if record.exit_code is None else str(record.exit_code),
        "seed": "" if record.seed is None else str(record.seed),
        "target": record.target,
        "locked packages": shorten_digest(record.lock or ""),
        "image": shorten_digest(record.image or ""),
        "Python": record.python or "",
        "platform": record.platform,
        "commit": (record.commit or "")[:12],
        "not in the commit": shorten_digest(record.dirty or ""),
        "machine": record.host,
        "project": record.project,
        **limits,
    }
