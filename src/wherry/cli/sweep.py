"""`wherry sweep`: one command with many parameters, carried to its end; and what looks after it.

`wherry sweep NAME` is short for `wherry sweep run NAME`: a word that is no command of the group is a sweep's name.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from wherry.cli.epilog import render_examples
from wherry.cli.options import AsJson, DryRun
from wherry.cli.run import CPUS, GPUS, MEMORY, TIME
from wherry.cli.run_job import complete_command, open_once
from wherry.cli.sweep_logs import print_logs
from wherry.cli.sweep_report import SWEEP_SCHEMA, print_plan, print_results, print_status, show_status, tell_price
from wherry.cli.talk import print_json, print_table, say
from wherry.declare.sweep_words import parse_draws, parse_grid, parse_list
from wherry.declare.sweeps import read_sweep, read_sweeps
from wherry.declare.targets import add_engine_args, parse_time, read_targets
from wherry.errors import UsageError
from wherry.model.job import Target
from wherry.model.sweep import Sweep
from wherry.run.sweep_state import SweepState
from wherry.run.sweep_table import make_table, write_csv, write_parquet
from wherry.run.sweep_watch import StopSign
from wherry.sweeps import Sweeps, SweepWish

_STOPPED = 130
_PAUSE = 1.0


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
WORDS = typer.Argument(
    metavar="[NAME] [-- COMMAND…]", help="Its name in wherry.toml; its command, with {name} for parameters.", show_default=False
)
GRID = typer.Option("--grid", metavar="NAME=VALUE,…", help="Each of these values with each other parameter's; again.")
LIST = typer.Option("--list", metavar="NAME=VALUE,…", help="One task's parameters; once for each task.")
CSV = typer.Option("--csv", metavar="FILE", help="Parameters from a CSV of the project.")
RANDOM = typer.Option("--random", metavar="N", min=1, help="Draw so many tasks' parameters, by --draw.")
DRAW = typer.Option("--draw", metavar="NAME=LOW..HIGH", help="What to draw; ,log and ,integer may follow; or values; again.")
SEED = typer.Option("--seed", metavar="N", help="Draw these and no others.")
RETRIES = typer.Option("--retries", metavar="N", min=0, help="Try a failed task so often again.")
CONCURRENCY = typer.Option("--concurrency", metavar="N", min=1, help="So many tasks at once on a worker.")
WORKERS = typer.Option("--workers", metavar="N", min=1, help="So many workers, where there are several.")
MAX_COST = typer.Option("--max-cost", metavar="MONEY", min=0, help="End it when it has cost so much, by its price-per-hour.")
ENGINE_ARGS = typer.Option(
    "--engine-args", metavar="WORDS", help="For the cluster's own program, as they are: '--account=lab --partition=gpu'."
)
KEEP = typer.Option("--keep", metavar="TIME", help="Leave what it was given standing for so long: 2h. It costs meanwhile.")
FOLLOW = typer.Option("-f", "--follow", help="Go on until they have ended.")
STATE = typer.Option("--state", metavar="ADDRESS", help="The object store of the sweep's state: a folder, s3://, az://, gs://.")
ON = typer.Option("--on", metavar="TARGET", help="Where its workers run: local, or a target of wherry.toml.")
PROJECT = typer.Option("--project", metavar="DIR", help="The project's folder.", show_default=False)


_RUN_EXAMPLES = render_examples(
    ("wherry sweep run depth --on local", ""),
    ("wherry sweep run depth --on local --dry-run", "tasks, hours, cost"),
    ("wherry sweep run --grid lr=0.1,0.01 -- train.py --lr {lr}", ""),
)


def register(app: typer.Typer) -> None:
    app.add_typer(sweep_app, name="sweep")


@sweep_app.command("run", context_settings={"allow_interspersed_args": True}, epilog=_RUN_EXAMPLES)
def run_command(
    words: Annotated[list[str] | None, WORDS] = None,
    on: Annotated[str, ON] = "local",
    grid: Annotated[list[str] | None, GRID] = None,
    rows: Annotated[list[str] | None, LIST] = None,
    table: Annotated[Path | None, CSV] = None,
    count: Annotated[int | None, RANDOM] = None,
    draw: Annotated[list[str] | None, DRAW] = None,
    seed: Annotated[int, SEED] = 0,
    cpus: Annotated[float | None, CPUS] = None,
    memory: Annotated[str | None, MEMORY] = None,
    gpus: Annotated[str | None, GPUS] = None,
    time_limit: Annotated[str | None, TIME] = None,
    retries: Annotated[int | None, RETRIES] = None,
    concurrency: Annotated[int | None, CONCURRENCY] = None,
    workers: Annotated[int | None, WORKERS] = None,
    max_cost: Annotated[float | None, MAX_COST] = None,
    engine_args: Annotated[str | None, ENGINE_ARGS] = None,
    state: Annotated[str | None, STATE] = None,
    keep: Annotated[str | None, KEEP] = None,
    dry_run: DryRun = False,
    project: Annotated[Path, PROJECT] = Path(),
    as_json: AsJson = False,
) -> None:
    """Begin a sweep, and watch it to its end; Ctrl-C cancels it. What is said here counts before what wherry.toml says."""
    root, sweeps = project.resolve(), Sweeps(os.environ, say)
    name, command = _split_words(root, words or [])
    said: dict[str, Any] = {
        "command": command,
        "grid": parse_grid(grid) if grid else None,
        "list": parse_list(rows) if rows else None,
        "csv": str(table) if table else None,
        "random": parse_draws(draw or (), count, seed) if draw or count is not None else None,
        "cpus": cpus,
        "memory": memory,
        "gpus": gpus,
        "time": time_limit,
        "retries": retries,
        "concurrency": concurrency,
        "workers": workers,
        "max-cost": max_cost,
        "state": state,
    }
    sweep = _find_sweep(root, name, {key: value for key, value in said.items() if value is not None})
    target = add_engine_args(_find_target(root, on), engine_args or "", "--engine-args")
    wish = SweepWish(root=root, sweep=sweep, target=target, state=_find_state(root, sweep.state) or sweeps.default_state())
    if dry_run:
        print_plan(sweeps.plan(wish), as_json)
        return
    kept = parse_time(keep, "--keep")
    begun = sweeps.begin(wish, open_once(root))
    say(f"sweep {begun.id}: {len(sweep.parameters)} tasks")
    if kept:
        say(f"what it is given stays for {keep}: {tell_price(sweep, sweeps.plan(wish).capacity, kept)}")
    raise typer.Exit(_drive(sweeps, begun, as_json, kept))


@sweep_app.command(
    "resume",
    epilog=render_examples(
        ("wherry sweep resume", "the last one"),
        ("wherry sweep resume depth-3fa2 --state s3://sweeps", "of another machine"),
    ),
)
def resume_command(
    sweep: Id = None,
    max_cost: Annotated[float | None, MAX_COST] = None,
    state: Annotated[str | None, STATE] = None,
    as_json: AsJson = False,
) -> None:
    """Carry a sweep on that was cancelled, or whose driver is gone; finished tasks are not run again."""
    sweeps = Sweeps(os.environ, say)
    raise typer.Exit(_drive(sweeps, sweeps.find(sweep, state), as_json, max_cost=max_cost))


@sweep_app.command(
    "status", epilog=render_examples(("wherry sweep status", "of the last one"), ("wherry sweep status -f", "a live table"))
)
def status_command(
    sweep: Id = None, follow: Annotated[bool, FOLLOW] = False, state: Annotated[str | None, STATE] = None, as_json: AsJson = False
) -> None:
    """Show how far a sweep is."""
    sweeps = Sweeps(os.environ, say)
    found = sweeps.find(sweep, state)
    spec = found.read_spec()
    reader = sweeps.open_reader(found)
    status = reader.read()
    if follow:
        with show_status(spec) as look:
            while status.counts.done < status.counts.total and not status.cancelled:
                look(status)
                time.sleep(_PAUSE)
                status = reader.read()
    print_status(spec, status, as_json)


@sweep_app.command("cancel", epilog=render_examples(("wherry sweep cancel", "what is done stays; wherry sweep resume goes on")))
def cancel_command(sweep: Id = None, state: Annotated[str | None, STATE] = None) -> None:
    """End a sweep's workers, wherever they are. What is finished is kept."""
    sweeps = Sweeps(os.environ, say)
    found = sweeps.find(sweep, state)
    sweeps.cancel(found)
    print(found.id)


@sweep_app.command(
    "logs", epilog=render_examples(("wherry sweep logs -f", "all tasks, as they print"), ("wherry sweep logs --task 3", ""))
)
def logs_command(
    sweep: Id = None,
    task: Annotated[list[int] | None, typer.Option("--task", metavar="N", min=0, help="Of this task; again.")] = None,
    follow: Annotated[bool, FOLLOW] = False,
    workers: Annotated[bool, typer.Option("--workers", help="Instead: what keeps workers from going on.")] = False,
    state: Annotated[str | None, STATE] = None,
) -> None:
    """Print what tasks printed; of several, each line after its task's number."""
    found = Sweeps(os.environ, say).find(sweep, state)
    if workers:
        for beat in found.read_beats():
            print(f"{beat.worker} on {beat.host}: {beat.trouble or ('over' if beat.over else 'no trouble')}")
        return
    most = len(found.read_spec())
    if task and max(task) >= most:
        raise UsageError(f"no task {max(task)}", where="--task", hint=f"0 to {most - 1}")
    print_logs(found, task or range(most), follow=follow)


@sweep_app.command(
    "gc", epilog=render_examples(("wherry sweep gc --dry-run", "say what would go"), ("wherry sweep gc depth-3fa2", ""))
)
def gc_command(
    sweep: Id = None,
    state: Annotated[str | None, STATE] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """End and remove what is left standing: of sweeps that are over or past their deadline, or all of the one that is named."""
    found = Sweeps(os.environ, say).collect(sweep, state, dry_run=dry_run)
    if as_json:
        print_json({"schema": SWEEP_SCHEMA, "removed": [asdict(one) for one in found]})
    else:
        for one in found:
            print(f"{one.id}  {one.round}  {one.why}")


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


def _split_words(root: Path, words: list[str]) -> tuple[str | None, list[str] | None]:
    """The sweep's name and its command: one word alone, or a first one that wherry.toml knows, is a name."""
    if len(words) == 1 or (words[:1] and words[0] in read_sweeps(root)):
        return words[0], words[1:] or None
    return None, words or None


def _find_sweep(root: Path, name: str | None, said: Mapping[str, Any]) -> Sweep:
    sweep = read_sweep(root, name, said)
    if sweep is None:
        known = read_sweeps(root)
        hint = f"one of {', '.join(known)}" if known else f"[sweeps.{name or 'NAME'}] in wherry.toml, or -- COMMAND"
        raise UsageError(f"no sweep {name!r} in this project" if name else "which sweep?", hint=hint)
    return replace(sweep, command=complete_command(sweep.command, root))


def _find_state(root: Path, state: str | None) -> str | None:
    """An address as it is; a path is taken from the project's folder."""
    return state if state is None or "://" in state else str(root / state)


def _find_target(root: Path, name: str) -> Target:
    targets = read_targets(root)
    if name not in targets:
        raise UsageError(f"no target {name!r}", where="--on", hint=f"one of {', '.join(targets)}")
    return targets[name]


def _drive(sweeps: Sweeps, state: SweepState, as_json: bool, keep: float | None = None, max_cost: float | None = None) -> int:
    spec = state.read_spec()
    with _stopped_by_signals() as stop, show_status(spec) as look:
        status = sweeps.drive(state, look, stop, keep, max_cost)
    print_status(spec, status, as_json)
    if stop.given:
        sweeps.cancel(state)  # so that those who follow it elsewhere end, too
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
