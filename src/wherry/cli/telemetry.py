"""`wherry telemetry`: what scoring services send, taken and laid out for the next training."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wherry.cli.epilog import render_examples
from wherry.cli.options import AsJson
from wherry.cli.talk import format_size, print_json, say
from wherry.declare.lengths import parse_time
from wherry.errors import DeclarationError, UsageError
from wherry.model.scoring import Broker

if TYPE_CHECKING:
    from wherry.collect.collector import Collected

TELEMETRY_SCHEMA = 1
_TOPIC = "wherry/+/telemetry"

telemetry_app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Collect what scoring services send, as Parquet.")
EXAMPLES = render_examples(
    ("wherry telemetry collect data --broker mqtt://127.0.0.1", "until Ctrl-C"),
    ("wherry telemetry collect data --broker env:HUB --idle 5s", "what waits"),
    before="Files lie at DIR/date=2026-07-14/device=NAME/: pandas, polars and DuckDB read the folder as one table.",
)


def register(app: typer.Typer) -> None:
    app.add_typer(telemetry_app, name="telemetry")


@telemetry_app.command("collect", epilog=EXAMPLES)
def collect_telemetry(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of the tables; made if need be.", show_default=False)],
    broker: Annotated[
        str, typer.Option("--broker", metavar="URL", help="mqtt://HOST:PORT, mqtts://HOST:PORT, env:NAME or file:/path.")
    ],
    topic: Annotated[str, typer.Option("--topic", metavar="FILTER", help="Where services send to.")] = _TOPIC,
    user: Annotated[str | None, typer.Option("--user", metavar="REFERENCE", help="env:NAME or file:/path.")] = None,
    password: Annotated[str | None, typer.Option("--password", metavar="REFERENCE", help="env:NAME or file:/path.")] = None,
    authority: Annotated[
        str | None, typer.Option("--authority", metavar="FILE", help="The certificate that signed the broker's.")
    ] = None,
    certificate: Annotated[str | None, typer.Option("--certificate", metavar="FILE", help="Our own certificate.")] = None,
    key: Annotated[str | None, typer.Option("--key", metavar="FILE", help="Its key.")] = None,
    every: Annotated[str, typer.Option("--every", metavar="TIME", help="Write files so often.")] = "10m",
    rows: Annotated[int, typer.Option("--rows", metavar="N", min=1, help="Or as soon as so many records wait.")] = 50_000,
    idle: Annotated[str | None, typer.Option("--idle", metavar="TIME", help="End when nothing came for so long.")] = None,
    remember: Annotated[
        int, typer.Option("--remember", metavar="DAYS", min=1, help="So long a record that comes again is known.")
    ] = 30,
    as_json: AsJson = False,
) -> None:
    """Take what scoring services send and write it to Parquet files, by day and device, each record once."""
    try:
        from wherry.collect.collector import CollectWish, collect
    except ImportError:
        raise UsageError("a collector needs paho-mqtt and pyarrow", hint="pip install 'wherry[score]'") from None
    for name, given in (("--user", user), ("--password", password)):
        if given is not None and not given.startswith(("env:", "file:")):
            raise UsageError("not a reference", where=name, hint="env:NAME or file:/path: what stands here others can see")
    wish = CollectWish(
        broker=Broker(url=broker, user=user, password=password, authority=authority, certificate=certificate, key=key),
        topic=topic,
        every=_seconds(every, "--every"),
        rows=rows,
        idle=None if idle is None else _seconds(idle, "--idle"),
        remember=remember,
    )
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    report_collected(collect(folder, wish, os.environ, say, ended), as_json)


def report_collected(done: Collected, as_json: bool) -> None:
    if as_json:
        lost = {device: dict(counts) for device, counts in done.lost.items()}
        counts = {"records": done.records, "again": done.again, "refused": done.refused, "files": done.files}
        print_json({"schema": TELEMETRY_SCHEMA, **counts, "lost": lost})
        return
    print(f"{done.records} records in {done.files} files, {done.again} that came again, {done.refused} messages passed over")
    for device, losses in done.lost.items():
        print(f"{device}: {', '.join(f'{value} {name}' for name, value in losses.items())}")


@telemetry_app.command(
    "estimate", epilog=render_examples(("wherry telemetry estimate readings.jsonl --topic plant/a/readings", ""))
)
def estimate_telemetry(
    readings: Annotated[
        Path, typer.Argument(metavar="FILE", help="Readings as a device gets them, one a line.", show_default=False)
    ],
    topic: Annotated[str, typer.Option("--topic", metavar="TOPIC", help="Where they would have come from.")] = "readings",
    project: Annotated[Path, typer.Option("--project", metavar="DIR", help="The project's folder.")] = Path(),
    as_json: AsJson = False,
) -> None:
    """Say what the rules under [[score.mqtt.reduce]] would save, of readings that you have."""
    from wherry.declare.project import read_declaration

    try:
        from wherry.collect.estimate import estimate_reduction
    except ImportError:
        raise UsageError("telemetry needs paho-mqtt", hint="pip install 'wherry[score]'") from None

    declared = read_declaration(project, os.environ)
    if declared.score is None or declared.score.mqtt is None:
        raise DeclarationError("no module of MQTT is declared", where=declared.origin, hint="[score.mqtt]")
    try:
        with readings.open("rb") as file:
            lines = (line.strip() for line in file)
            found = estimate_reduction(declared.score.mqtt, topic, (line for line in lines if line), time.time())
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(readings)) from error
    saved = 1 - found.sent_bytes / found.came_bytes if found.came_bytes else 0.0
    if as_json:
        print_json({"schema": TELEMETRY_SCHEMA, **asdict(found), "saved": round(saved, 4)})
        return
    before = f"{found.came} records, {format_size(found.came_bytes)}"
    print(f"{before} → {found.sent} records, {format_size(found.sent_bytes)}: {saved:.1%} less")
    if found.unmatched:
        say(f"no rule is for {topic}")


def _seconds(text: str, where: str) -> float:
    try:
        return parse_time(text, where)
    except DeclarationError as error:
        raise UsageError(error.what, where=where, hint=error.hint) from None
