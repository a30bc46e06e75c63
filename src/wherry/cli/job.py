"""`wherry job`: the jobs that `wherry run --on` began: list, logs, show, compare, stop, rm."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from wherry.cli.epilog import render_examples
from wherry.cli.options import AsJson
from wherry.cli.run_job import follow_logs
from wherry.cli.talk import print_json, print_table, say
from wherry.jobs import Jobs
from wherry.model.job import JobRecord
from wherry.run.records import record_values

JOB_SCHEMA = 1
_GRACE = 10.0
_SHORT = 19  # of a digest: "sha256:" and twelve digits
_LONGEST_COMMAND = 48
job_app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="List, watch, compare, stop and remove jobs.")

Id = Annotated[str, typer.Argument(metavar="ID", help="A job's ID, or enough of its beginning.", show_default=False)]
Ids = Annotated[list[str], typer.Argument(metavar="ID…", help="IDs of jobs, or enough of their beginnings.", show_default=False)]
MOST = typer.Option("-n", metavar="N", min=1, help="Show so many, the youngest first.")
ALL = typer.Option("--all", help="Show all of them.")
OF_PROJECT = typer.Option("--project", metavar="DIR", help="Only jobs of this project's folder.", show_default=False)
FOLLOW = typer.Option("-f", "--follow", help="Go on until the job has ended.")


def register(app: typer.Typer) -> None:
    app.add_typer(job_app, name="job")


@job_app.command("ls", epilog=render_examples(("wherry job ls --project .", "this project's"), ("wherry job ls --all --json", "")))
def list_command(
    most: Annotated[int, MOST] = 20,
    everything: Annotated[bool, ALL] = False,
    project: Annotated[Path | None, OF_PROJECT] = None,
    as_json: AsJson = False,
) -> None:
    """List jobs, the youngest first."""
    found = Jobs(os.environ, say).list(project, None if everything else most)
    if as_json:
        print_json({"schema": JOB_SCHEMA, "jobs": [record_values(record) for record in found]})
    elif found:
        rows = [(one.id, one.state.value, _render_code(one), one.target, _render_length(one), _shorten(one)) for one in found]
        print_table([("ID", "STATE", "CODE", "TARGET", "TIME", "COMMAND"), *rows])
    else:
        say("no jobs yet: wherry run --on local COMMAND makes one")


@job_app.command("logs", epilog=render_examples(("wherry job logs -f 3fa2", "read along until its end")))
def logs_command(job: Id, follow: Annotated[bool, FOLLOW] = False) -> None:
    """Print what a job printed: its stdout to stdout, its stderr to stderr."""
    jobs = Jobs(os.environ, say)
    follow_logs(jobs, jobs.find(job), once=not follow)


@job_app.command("show", epilog=render_examples(("wherry job show 3fa2 --json", "all of the record, for programs")))
def show_command(job: Id, as_json: AsJson = False) -> None:
    """Show what is known of a job: what it ran in, parameters, metrics, outputs."""
    jobs = Jobs(os.environ, say)
    record = jobs.find(job)
    if as_json:
        print_json({"schema": JOB_SCHEMA, "job": _describe(jobs, record)})
        return
    described = _flatten(_describe(jobs, record))
    print_table([(name, value) for name, value in described.items() if value])
    print(f"\noutputs in {jobs.place / record.id / 'outputs'}")
    if record.outputs:
        print_table([(output.path, str(output.size), output.sha256[:12]) for output in record.outputs], indent="  ")


@job_app.command("compare", epilog=render_examples(("wherry job compare 3fa2 77c0 a1b2", "what differs between three")))
def compare_command(jobs: Ids, as_json: AsJson = False) -> None:
    """Compare jobs: rows that differ, one column a job."""
    known = Jobs(os.environ, say)
    records = [known.find(text) for text in jobs]
    if as_json:
        print_json({"schema": JOB_SCHEMA, "jobs": [_describe(known, record) for record in records]})
        return
    columns = [_flatten(_describe(known, record)) for record in records]
    names = list(dict.fromkeys(name for column in columns for name in column))
    rows = [(name, *(column.get(name, "") for column in columns)) for name in names]
    differing = [row for row in rows if len(set(row[1:])) > 1 and row[0] != "id"]
    print_table([("", *(record.id for record in records)), *differing])


@job_app.command("stop", epilog=render_examples(("wherry job stop 3fa2", "SIGTERM, and SIGKILL after ten seconds")))
def stop_command(jobs: Ids) -> None:
    """Stop running jobs; their records, logs and outputs stay."""
    known = Jobs(os.environ, say)
    for record in [known.find(text) for text in jobs]:
        known.cancel(record, _GRACE)
        print(record.id)


@job_app.command("rm", epilog=render_examples(("wherry job rm 3fa2 77c0", "records, logs and outputs")))
def remove_command(jobs: Ids) -> None:
    """Remove jobs that have ended: records, logs, outputs."""
    known = Jobs(os.environ, say)
    for record in [known.find(text) for text in jobs]:
        known.remove(record)
        print(record.id)


def _describe(jobs: Jobs, record: JobRecord) -> dict[str, Any]:
    metrics, values = jobs.read_metrics(record), record_values(record)
    parameters = {**values["parameters"], **metrics.parameters}
    last = {name: value if math.isfinite(value) else str(value) for name, value in metrics.last.items()}
    return {**values, "parameters": parameters, "metrics": last, "folder": str(jobs.place / record.id)}


def _flatten(described: dict[str, Any]) -> dict[str, str]:
    """Lines for people: digests shortened, times as lengths, tables opened."""
    found: dict[str, str] = {}
    for name, value in described.items():
        if name in ("outputs", "folder", "started", "ended"):
            continue
        if isinstance(value, dict):
            found |= {f"{name}.{key}": _render_value(inner) for key, inner in value.items()}
        else:
            found[name] = _render_value(value)
    found["started"] = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(described["started"]))
    if described["ended"] is not None:
        found["seconds"] = f"{max(described['ended'] - described['started'], 0.0):.1f}"
    found |= {f"output.{output['path']}": output["sha256"][:12] for output in described["outputs"]}
    return found


def _render_value(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text[:_SHORT] if text.startswith("sha256:") else text


def _render_code(record: JobRecord) -> str:
    return "" if record.exit_code is None else str(record.exit_code)


def _render_length(record: JobRecord) -> str:
    seconds = record.count_seconds(time.time())
    if seconds is None:
        return ""
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds // 3600)}:{int(seconds // 60 % 60):02}:{int(seconds % 60):02}"


def _shorten(record: JobRecord) -> str:
    text = " ".join(record_values(record)["command"])
    return text if len(text) <= _LONGEST_COMMAND else text[: _LONGEST_COMMAND - 1] + "…"
