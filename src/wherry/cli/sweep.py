"""`wherry sweep`: one command with many parameters, carried to its end; and what looks after it.

`wherry sweep NAME` is short for `wherry sweep run NAME`: a word that is no command of the group is a sweep's name.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from wherry.cli.epilog import render_examples
from wherry.cli.options import AsJson, DryRun
from wherry.cli.run_job import complete_command, open_once
from wherry.cli.sweep_report import SWEEP_SCHEMA, print_results, print_status, show_status
from wherry.cli.talk import print_json, print_table, say
from wherry.declare.sweeps import read_sweeps
from wherry.declare.targets import read_targets
from wherry.errors import UsageError
from wherry.model.job import Target
from wherry.model.sweep import Sweep
from wherry.run.sweep_state import SweepState
from wherry.run.sweep_table import make_table, write_csv, write_parquet
from wherry.run.sweep_watch import StopSign
from wherry.sweeps import SweepPlan, Sweeps, SweepWish

_STOPPED = 130


class SweepGroup(TyperGroup):
    """A word that is none of the commands is the name of a sweep to run."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args = ["run", *args]
        return super().resolve_command(ctx, args)


sweep_app = typer.Typer(
    cls=SweepGroup,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Run one command with many parameters, and look after that.",
    epilog=render_examples(
        ("wherry sweep depth --on local", "short for: sweep run depth"),
        ("wherry sweep depth --on local --dry-run", "tasks, hours, cost"),
    ),
)

Id = Annotated[
    str | None,
    typer.Argument(metavar="ID", help="A sweep's ID, or enough of its beginning; else the last one.", show_default=False),
]
STATE = typer.Option("--state", metavar="ADDRESS", help="The object store of the sweep's state: a folder, s3://, az://, gs://.")
ON = typer.Option("--on", metavar="TARGET", help="Where its workers run: local, or a target of wherry.toml.")
PROJECT = typer.Option("--project", metavar="DIR", help="The project's folder.", show_default=False)


def register(app: typer.Typer) -> None:
    app.add_typer(sweep_app, name="sweep")


@sweep_app.command("run", epilog=render_examples(("wherry sweep run depth --on local", "until its end; Ctrl-C cancels it")))
def run_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The sweep's name in wherry.toml.", show_default=False)],
    on: Annotated[str, ON] = "local",
    state: Annotated[str | None, STATE] = None,
    dry_run: DryRun = False,
    project: Annotated[Path, PROJECT] = Path(),
    as_json: AsJson = False,
) -> None:
    """Begin a sweep of the project's, and watch it to its end."""
    root = project.resolve()
    sweeps = Sweeps(os.environ, say)
    sweep = _find_sweep(root, name)
    wish = SweepWish(root=root, sweep=sweep, target=_find_target(root, on), state=state or sweep.state or sweeps.default_state())
    if dry_run:
        _print_plan(sweeps.plan(wish), as_json)
        return
    begun = sweeps.begin(wish, open_once(root))
    say(f"sweep {begun.id}: {len(sweep.parameters)} tasks")
    raise typer.Exit(_drive(sweeps, begun, as_json))


@sweep_app.command(
    "resume",
    epilog=render_examples(
        ("wherry sweep resume", "the last one"),
        ("wherry sweep resume depth-3fa2 --state s3://sweeps", "of another machine"),
    ),
)
def resume_command(sweep: Id = None, state: Annotated[str | None, STATE] = None, as_json: AsJson = False) -> None:
    """Carry a sweep on that was cancelled, or whose driver is gone; finished tasks are not run again."""
    sweeps = Sweeps(os.environ, say)
    raise typer.Exit(_drive(sweeps, sweeps.find(sweep, state), as_json))


@sweep_app.command("status", epilog=render_examples(("wherry sweep status", "of the last one")))
def status_command(sweep: Id = None, state: Annotated[str | None, STATE] = None, as_json: AsJson = False) -> None:
    """Show how far a sweep is."""
    sweeps = Sweeps(os.environ, say)
    found = sweeps.find(sweep, state)
    spec = found.read_spec()
    print_status(spec, sweeps.read_status(found), as_json)


@sweep_app.command("cancel", epilog=render_examples(("wherry sweep cancel", "what is done stays; wherry sweep resume goes on")))
def cancel_command(sweep: Id = None, state: Annotated[str | None, STATE] = None) -> None:
    """End a sweep's workers, wherever they are. What is finished is kept."""
    sweeps = Sweeps(os.environ, say)
    found = sweeps.find(sweep, state)
    sweeps.cancel(found)
    print(found.id)


@sweep_app.command("ls", epilog=render_examples(("wherry sweep ls --state s3://sweeps", "all that lie there")))
def list_command(state: Annotated[str | None, STATE] = None, as_json: AsJson = False) -> None:
    """List sweeps, the youngest first: those that were begun on this machine, or those of a store."""
    found = Sweeps(os.environ, say).list(state)
    if as_json:
        print_json({"schema": SWEEP_SCHEMA, "sweeps": [{"id": name, "state": address} for name, address in found]})
    elif found:
        print_table([("ID", "STATE"), *found])
    else:
        say("no sweeps yet: wherry sweep NAME --on local makes one")


@sweep_app.command(
    "results",
    epilog=render_examples(
        ("wherry sweep results --csv > results.csv", ""), ("wherry sweep results --parquet results.parquet", "")
    ),
)
def results_command(
    sweep: Id = None,
    state: Annotated[str | None, STATE] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the table as CSV.")] = False,
    parquet: Annotated[Path | None, typer.Option("--parquet", metavar="FILE", help="Write the table as Parquet.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show one table: each task's parameters, how it ended, its metrics and outputs."""
    found = Sweeps(os.environ, say).find(sweep, state)
    table = make_table(found.read_spec(), found.read_ends())
    if parquet is not None:
        write_parquet(table, parquet)
    elif as_csv:
        write_csv(table, sys.stdout)
    elif as_json:
        rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
        print_json({"schema": SWEEP_SCHEMA, "id": found.id, "columns": list(table.columns), "rows": rows})
    else:
        print_results(table)


def _find_sweep(root: Path, name: str) -> Sweep:
    known = read_sweeps(root)
    if name not in known:
        hint = f"one of {', '.join(known)}" if known else f"[sweeps.{name}] in wherry.toml"
        raise UsageError(f"no sweep {name!r} in this project", hint=hint)
    sweep = known[name]
    return replace(sweep, command=complete_command(sweep.command, root))


def _find_target(root: Path, name: str) -> Target:
    targets = read_targets(root)
    if name not in targets:
        raise UsageError(f"no target {name!r}", where="--on", hint=f"one of {', '.join(targets)}")
    return targets[name]


def _drive(sweeps: Sweeps, state: SweepState, as_json: bool) -> int:
    spec = state.read_spec()
    with _stopped_by_signals() as stop, show_status(spec) as look:
        status = sweeps.drive(state, look, stop)
    print_status(spec, status, as_json)
    if stop.given:
        say(f"cancelled; to go on: wherry sweep resume {state.id}")
        return _STOPPED
    return 0 if status.counts.succeeded == status.counts.total else 1


@contextmanager
def _stopped_by_signals() -> Iterator[StopSign]:
    """Ctrl-C and SIGTERM end the sweep in order: its workers first."""
    stop = StopSign()
    former = {number: signal.signal(number, lambda _number, _frame: stop.give()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, action in former.items():
            signal.signal(number, action)


def _print_plan(plan: SweepPlan, as_json: bool) -> None:
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
