"""The pages put together: routes to what answers them, errors to pages that say what is wrong, the guard before it all."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from wherry.errors import StoreError, UsageError, WherryError
from wherry.ui.desk import Desk
from wherry.ui.guard import Guard, Secrets
from wherry.ui.pages.compare import compare_jobs
from wherry.ui.pages.images import show_image, show_images, show_update, weigh_updates
from wherry.ui.pages.job import send_log, send_output, show_job, stop_job
from wherry.ui.pages.jobs import show_jobs
from wherry.ui.pages.sweeps import cancel_sweep, send_task_file, show_sweep, show_sweeps, show_task
from wherry.ui.pages.targets import show_targets
from wherry.ui.rendering import render_page

_STATIC = Path(__file__).with_name("static")
Show = Callable[[Desk, Request], Response]


def make_app(desk: Desk, known: Secrets) -> ASGIApp:
    """All of it. Each page is made in a thread of its own, for they read files."""
    pages: dict[str, Show] = {
        "/jobs": show_jobs,
        "/compare": compare_jobs,
        "/jobs/{job}": show_job,
        "/jobs/{job}/outputs/{path:path}": send_output,
        "/jobs/{job}/logs/{stream}": send_log,
        "/sweeps": show_sweeps,
        "/sweeps/{sweep}": show_sweep,
        "/sweeps/{sweep}/tasks/{task}": show_task,
        "/sweeps/{sweep}/tasks/{task}/{path:path}": send_task_file,
        "/images": show_images,
        "/images/show": show_image,
        "/images/update": show_update,
        "/targets": show_targets,
    }
    acts: dict[str, Show] = {
        "/jobs/{job}/stop": stop_job,
        "/sweeps/{sweep}/cancel": cancel_sweep,
        "/images/update/weigh": weigh_updates,
    }
    routes = [Route(path, partial(show, desk), methods=["GET"]) for path, show in pages.items()]
    routes += [Route(path, partial(act, desk), methods=["POST"]) for path, act in acts.items()]
    routes.append(Route("/", partial(_go_to, f"{known.base}jobs")))
    below = Mount(known.base.rstrip("/"), routes=[*routes, Mount("/static", StaticFiles(directory=_STATIC))])
    app = Starlette(routes=[below], exception_handlers={WherryError: _explain, HTTPException: _say_no, Exception: _admit})
    return Guard(app, known)


def _go_to(place: str, _request: Request) -> Response:
    return RedirectResponse(place, status_code=303)


def _explain(request: Request, error: Exception) -> Response:
    assert isinstance(error, WherryError)  # noqa: S101
    status = 400 if isinstance(error, UsageError) else 404 if isinstance(error, StoreError) else 500
    return render_page(request, "error.html", status=status, what=error.what, where=error.where, hint=error.hint)


def _say_no(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    return render_page(request, "error.html", status=error.status_code, what=error.detail, where=request.url.path, hint=None)


def _admit(request: Request, error: Exception) -> Response:
    """A mistake of ours: the server prints what it was, and the page does not."""
    what = f"something went wrong in wherry itself: {type(error).__name__}"
    return render_page(request, "error.html", status=500, what=what, where=None, hint="the terminal of `wherry ui` says more")
