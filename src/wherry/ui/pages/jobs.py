"""The page of jobs: the youngest first, some at a time, chosen by project, state and target."""

from __future__ import annotations

import time
from urllib.parse import urlencode

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from wherry.errors import UsageError
from wherry.model.job import JobState
from wherry.run.records import JobFilter
from wherry.ui.desk import Desk
from wherry.ui.rendering import render_page

A_PAGE = 50
_OFTEN, _SELDOM = 2, 5  # seconds between looks: when something runs, and when nothing does


def show_jobs(desk: Desk, request: Request) -> Response:
    wanted, number = _read_filter(request.query_params), _read_page(request.query_params)
    records, count = desk.jobs.read_page(wanted, skip=(number - 1) * A_PAGE, most=A_PAGE)
    projects, targets = desk.jobs.records.list_choices()
    running = any(not record.state.is_final for record in records)
    return render_page(
        request,
        "jobs.html",
        page="jobs",
        records=records,
        count=count,
        first=(number - 1) * A_PAGE + 1,
        newer=_link(request.query_params, number - 1) if number > 1 else None,
        older=_link(request.query_params, number + 1) if number * A_PAGE < count else None,
        wanted=wanted,
        projects=projects,
        targets=targets,
        states=tuple(JobState),
        now=time.time() if running else None,
        every=_OFTEN if running else _SELDOM,
    )


def _read_filter(query: QueryParams) -> JobFilter:
    """What is not chosen is sent as an empty text."""
    state = query.get("state") or None
    if state is not None and state not in {known.value for known in JobState}:
        raise UsageError(f"there is no state {state!r}", hint=", ".join(known.value for known in JobState))
    return JobFilter(
        project=query.get("project") or None, state=JobState(state) if state else None, target=query.get("target") or None
    )


def _read_page(query: QueryParams) -> int:
    text = query.get("page", "1")
    if not text.isascii() or not text.isdecimal() or not 0 < len(text) < 8:
        raise UsageError(f"{text!r} is no number of a page")
    return max(1, int(text))


def _link(query: QueryParams, number: int) -> str:
    chosen = {key: value for key, value in query.items() if key in ("project", "state", "target") and value}
    return "jobs?" + urlencode({**chosen, "page": number})
