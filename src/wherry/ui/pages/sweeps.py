"""The pages of sweeps: all of them, one as a grid of its tasks with parameters against metrics, and one task of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from wherry.errors import StoreError, UsageError
from wherry.model.sweep import SweepSpec, TaskDone, render_value
from wherry.run.sweep_state import SweepState
from wherry.run.sweep_status import SweepStatus
from wherry.ui.charts import Chart, scatter_values
from wherry.ui.desk import Desk
from wherry.ui.downloads import send_object
from wherry.ui.log_tail import TAILS, LogTail, cut_tail
from wherry.ui.rendering import render_page
from wherry.ui.sweep_readings import SweepView

_MOMENT = 0.15  # seconds that a page waits for a store
_SOON, _OFTEN, _SELDOM, _RARELY = 1, 2, 5, 15  # seconds between looks
_MOST_SWEEPS, _MOST_TASKS, _MOST_ROWS, _MOST_COLUMNS = 40, 2000, 100, 40
WAITING, RUNNING = "waiting", "running"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One task of the grid. `words` are its parameters."""

    task: int
    state: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """Seconds of workers and what they cost, by now and, judged by the tasks that are finished, in the end. None: not known."""

    seconds: float
    seconds_expected: float | None
    cost: float | None
    cost_expected: float | None
    most: float | None


def show_sweeps(desk: Desk, request: Request) -> Response:
    states = [desk.sweeps.find(name, address) for name, address in desk.sweeps.list(None)[:_MOST_SWEEPS]]
    views = desk.sweep_readings.look(states, _MOMENT)
    bills = {view.id: make_bill(view.spec, view.status) for view in views if view.spec and view.status}
    every = min(map(_choose_pause, views), default=_RARELY)
    return render_page(request, "sweeps.html", page="sweeps", views=views, bills=bills, every=every)


def show_sweep(desk: Desk, request: Request) -> Response:
    view = _look(desk, _find(desk, request))
    if view.spec is None or view.status is None:
        return render_page(request, "sweep_unread.html", page="sweeps", view=view, every=_SOON)
    spec, query = view.spec, request.query_params
    metrics = list(dict.fromkeys(name for done in view.ends.values() for name in done.metrics))
    metric = query.get("metric") if query.get("metric") in metrics else next(iter(metrics), None)
    cells = list_cells(spec, view.status, view.ends)
    return render_page(
        request,
        "sweep.html",
        page="sweeps",
        view=view,
        spec=spec,
        counts=view.status.counts,
        bill=make_bill(spec, view.status),
        cells=cells,
        columns=_find_columns(spec, cells),
        metrics=metrics,
        metric=metric,
        charts=_draw_parameters(spec, view.ends, metric) if metric else [],
        rows=_rank(view.ends, metric, falling=query.get("order") == "falling"),
        falling=query.get("order") == "falling",
        every=_choose_pause(view),
    )


def show_task(desk: Desk, request: Request) -> Response:
    state = _find(desk, request)
    view = _look(desk, state)
    if view.spec is None:
        return render_page(request, "sweep_unread.html", page="sweeps", view=view, every=_SOON)
    task = _read_task(request, view.spec)
    done = view.ends.get(task) or state.read_done(task)
    lease = None if done else state.read_lease(task)
    attempt = done.attempt if done else lease[0].attempt if lease else None
    return render_page(
        request,
        "sweep_task.html",
        page="sweeps",
        view=view,
        task=task,
        command=view.spec.sweep.command_of(task),
        parameters=view.spec.sweep.parameters.at(task),
        done=done,
        attempt=attempt,
        state=done.state.value if done else _guess_state(task, view),
        logs={name: _read_log(state, task, attempt, name) for name in ("stdout", "stderr")},
        every=None if done else _OFTEN,
    )


def cancel_sweep(desk: Desk, request: Request) -> Response:
    desk.sweeps.cancel(_find(desk, request))
    return RedirectResponse(request.url.path.removesuffix("/cancel"), status_code=303)


def send_task_file(desk: Desk, request: Request) -> Response:
    """An output or a stream of the attempt that counts. Only what the task's end names, and the streams, have addresses."""
    state = _find(desk, request)
    task, path = _read_task(request, state.read_spec()), request.path_params["path"]
    done = state.read_done(task)
    known = {"stdout", "stderr", *(f"outputs/{output.path}" for output in done.outputs)} if done else set()
    if done is None or path not in known:
        raise StoreError("there is no such file of this task", where=path)
    key = state.attempt_key(task, done.attempt, path)
    return send_object(state.store, key, state.store.size(key) or 0, path.rpartition("/")[2])


def _find(desk: Desk, request: Request) -> SweepState:
    return desk.sweeps.find(request.path_params["sweep"])


def _look(desk: Desk, state: SweepState) -> SweepView:
    (view,) = desk.sweep_readings.look([state], _MOMENT)
    return view


def _choose_pause(view: SweepView) -> int:
    """Until there may be something new to see."""
    if view.status is None or view.late:
        return _SOON
    if view.status.alive:
        return _OFTEN
    return _SELDOM if view.status.counts.done < view.status.counts.total else _RARELY


def make_bill(spec: SweepSpec, status: SweepStatus) -> Bill:
    """What the sweep cost so far, and what it will if the tasks to come are like those that are finished."""
    done, total = status.counts.done, status.counts.total
    expected = status.spent * total / done if done else None
    cost, most = status.cost(spec.sweep.price), spec.sweep.max_cost
    priced = None if expected is None or cost is None else cost * total / done
    return Bill(
        seconds=status.spent,
        seconds_expected=expected,
        cost=cost,
        cost_expected=priced if priced is None or most is None else min(priced, most),
        most=most,
    )


def list_cells(spec: SweepSpec, status: SweepStatus, ends: Mapping[int, TaskDone]) -> list[Cell]:
    running = {one.task for beat in status.workers if beat.worker in status.alive for one in beat.running}
    cells = []
    for task in range(min(len(spec), _MOST_TASKS)):
        done = ends.get(task)
        state = done.state.value if done else RUNNING if task in running else WAITING
        cells.append(Cell(task=task, state=state, words=_describe(spec, task)))
    return cells


def _describe(spec: SweepSpec, task: int) -> str:
    return ", ".join(f"{name} {render_value(value)}" for name, value in spec.sweep.parameters.at(task).items())


def _guess_state(task: int, view: SweepView) -> str:
    """Of a task that is not finished."""
    hands = {one.task for beat in view.status.workers for one in beat.running} if view.status else set()
    return RUNNING if task in hands else WAITING


def _find_columns(spec: SweepSpec, cells: Sequence[Cell]) -> tuple[str, ...]:
    """Of a grid of two parameters that fits: the values of the second, above the columns."""
    parameters = spec.sweep.parameters
    plain = len(parameters.axes) == 2 and not parameters.columns and not parameters.draws and parameters.count == 1
    if not plain or len(cells) < len(spec) or len(parameters.axes[1].values) > _MOST_COLUMNS:
        return ()
    return tuple(map(render_value, parameters.axes[1].values))


def _draw_parameters(spec: SweepSpec, ends: Mapping[int, TaskDone], metric: str) -> list[Chart]:
    told = {task: done.metrics[metric] for task, done in sorted(ends.items())[:_MOST_TASKS] if _has(done, metric)}
    values = {task: spec.sweep.parameters.at(task) for task in told}
    charts = []
    for name in spec.sweep.parameters.names:
        points = [(values[task][name], told[task], f"task {task}: {_describe(spec, task)}") for task in told]
        chart = scatter_values(name, points)
        if chart is not None:
            charts.append(chart)
    return charts


def _rank(ends: Mapping[int, TaskDone], metric: str | None, *, falling: bool) -> list[TaskDone]:
    """Finished tasks by a metric, those without it last."""
    told = [done for done in ends.values() if _has(done, metric)]
    rest = sorted((done for done in ends.values() if not _has(done, metric)), key=lambda done: done.task)
    told.sort(key=lambda done: done.metrics[str(metric)], reverse=falling)
    return [*told, *rest][:_MOST_ROWS]


def _has(done: TaskDone, metric: str | None) -> bool:
    return math.isfinite(done.metrics.get(metric or "", math.nan))


def _read_task(request: Request, spec: SweepSpec) -> int:
    text = request.path_params["task"]
    if not text.isascii() or not text.isdecimal() or len(text) > 9 or int(text) >= len(spec):
        raise UsageError(f"the sweep has no task {text!r}", hint=f"0 to {len(spec) - 1}")
    return int(text)


def _read_log(state: SweepState, task: int, attempt: int | None, name: str) -> LogTail:
    """The end of a stream. That of an attempt that goes on is its worker's until it ends."""
    key = state.attempt_key(task, attempt or 0, name)
    size = state.store.size(key) or 0
    start = max(0, size - TAILS[0])
    return cut_tail(state.store.read(key, start, TAILS[0]) if size else b"", start, size)
