"""How a sweep's state is shown: live while it runs, a table at its end, JSON for programs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from wherry.cli.talk import print_json, print_table, say
from wherry.model.sweep import Sweep, SweepSpec, TaskDone, render_value
from wherry.run.port import Capacity
from wherry.run.sweep_driver import Look
from wherry.run.sweep_status import SweepStatus
from wherry.run.sweep_table import Cell, ResultTable
from wherry.sweeps import SweepPlan

SWEEP_SCHEMA = 1
_MOST = 10


def print_status(spec: SweepSpec, status: SweepStatus, as_json: bool) -> None:
    """How far a sweep is."""
    if as_json:
        print_json(describe_status(spec, status))
        return
    counts = status.counts
    rows = [("sweep", spec.id), ("tasks", str(counts.total)), ("succeeded", str(counts.succeeded))]
    rows += [
        (name.replace("_", "-"), str(number))
        for name in ("running", "waiting", "failed", "timed_out", "lost")
        if (number := getattr(counts, name))
    ]
    cost = status.cost(spec.sweep.price)
    rows += [("cost", f"{cost:.2f}")] if cost is not None else []
    print_table(rows)
    for done in status.failures[:_MOST]:
        print(_tell_failure(spec, done))


def describe_status(spec: SweepSpec, status: SweepStatus) -> dict[str, Any]:
    """The same for programs."""
    counts = status.counts
    names = ("total", "waiting", "running", "succeeded", "failed", "timed_out", "lost")
    return {
        "schema": SWEEP_SCHEMA,
        "id": spec.id,
        "name": spec.sweep.name,
        "target": spec.target,
        "counts": {name: getattr(counts, name) for name in names},
        "cancelled": status.cancelled,
        "cost": status.cost(spec.sweep.price),
        "failures": [
            {"task": done.task, "state": done.state.value, "exit_code": done.exit_code, "note": done.note}
            for done in status.failures
        ],
        "workers": [
            {
                "worker": beat.worker,
                "host": beat.host,
                "alive": beat.worker in status.alive,
                "done": beat.done,
                "running": [one.task for one in beat.running],
                "trouble": beat.trouble,
            }
            for beat in status.workers
        ],
    }


def print_results(table: ResultTable) -> None:
    """For people: numbers shortened, columns that tell nothing left out."""
    told = [name for place, name in enumerate(table.columns) if any(row[place] not in (None, "", 0) for row in table.rows)]
    shown = table.select(["task", *(name for name in told if name != "task")])
    print_table([tuple(map(str.upper, shown.columns)), *(tuple(map(_render_cell, row)) for row in shown.rows)])


def _render_cell(cell: Cell) -> str:
    return "" if cell is None else f"{cell:.5g}" if isinstance(cell, float) else str(cell)


def _tell_failure(spec: SweepSpec, done: TaskDone) -> str:
    code = "" if done.exit_code is None else f", exit code {done.exit_code}"
    note = f": {done.note}" if done.note else ""
    return f"task {done.task} ({_tell_parameters(spec, done.task)}) {done.state.value}{code}{note}"


def _tell_parameters(spec: SweepSpec, task: int) -> str:
    return " ".join(f"{name}={render_value(value)}" for name, value in spec.sweep.parameters.at(task).items())


@contextmanager
def show_status(spec: SweepSpec) -> Iterator[Look]:
    """A `Look` that redraws a table where somebody watches, and says nothing elsewhere."""
    if not sys.stderr.isatty() or os.environ.get("CI") or os.environ.get("TERM") == "dumb":
        yield lambda _status: None
        return
    # Lazily: drawing costs more start-up time than many a command.
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(stderr=True), transient=True, auto_refresh=False) as live:
        yield lambda status: live.update(Text("\n".join(render_live(spec, status))), refresh=True)


def render_live(spec: SweepSpec, status: SweepStatus) -> list[str]:
    """What a person watches: the counts, then the tasks that run, those that run longest first."""
    counts, cost = status.counts, status.cost(spec.sweep.price)
    failed = counts.done - counts.succeeded
    told = [f"{counts.done} of {counts.total} done", f"{counts.running} running"]
    told += [f"{failed} failed"] if failed else []
    told += [f"{cost:.2f} so far"] if cost is not None else []
    running = [(one, beat.host) for beat in status.workers if beat.worker in status.alive for one in beat.running]
    running.sort(key=lambda found: -found[0].seconds)
    lines = [", ".join(told)]
    lines += [
        f"  task {one.task}  {one.seconds:.0f} s  {host}  {_tell_parameters(spec, one.task)}" for one, host in running[:_MOST]
    ]
    return [*lines, f"  … and {len(running) - _MOST} more"] if len(running) > _MOST else lines


def print_plan(plan: SweepPlan, as_json: bool) -> None:
    """What a sweep would be."""
    values: dict[str, Any] = {
        "schema": SWEEP_SCHEMA,
        "tasks": plan.tasks,
        "workers": plan.capacity.workers,
        "at_once": plan.capacity.workers * plan.capacity.slots,
        "hours_at_most": None if plan.seconds is None else round(plan.seconds / 3600, 3),
        "cost_at_most": None if plan.cost is None else round(plan.cost, 2),
        "notes": list(plan.capacity.notes),
    }
    if as_json:
        print_json(values)
        return
    unknown = "unknown: no time limit" if plan.seconds is None else "unknown: no price-per-hour"
    rows = [
        ("tasks", str(plan.tasks)),
        ("at once", f"{values['at_once']} on {plan.capacity.workers} worker{'' if plan.capacity.workers == 1 else 's'}"),
        ("hours, at most", "unknown: no time limit" if plan.seconds is None else f"{plan.seconds / 3600:.2f}"),
        ("cost, at most", unknown if plan.cost is None else f"{plan.cost:.2f}"),
    ]
    print_table(rows)
    for note in plan.capacity.notes:
        say(note)


def tell_price(sweep: Sweep, capacity: Capacity, seconds: float) -> str:
    """What it costs to leave the workers' machines standing for so long."""
    if sweep.price is None:
        return "what that costs is unknown, for there is no price-per-hour"
    return f"at most {sweep.price * capacity.workers * seconds / 3600:.2f}"
