"""The program `wherry-agent`: words in, one call, result on stdout and talk on stderr. Light: argparse, no colours."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from wherry.agent.doctor import examine_device
from wherry.agent.memory import return_freed_blocks
from wherry.agent.parcel_source import open_parcel_file
from wherry.agent.processes import run_apart, work_apart
from wherry.agent.report import describe_status, render_lines
from wherry.agent.service import Service
from wherry.agent.settings import AgentSettings, read_settings
from wherry.agent.state import StateFolder
from wherry.agent.unit import render_unit
from wherry.agent.update import SystemClock, Updater
from wherry.engines.device import DeviceEngine
from wherry.engines.device_choice import make_device_engine
from wherry.errors import DeviceError, WherryError
from wherry.store.posix import explain_os_errors
from wherry.version import VERSION

_CONFIG = "/etc/wherry/agent.toml"


def main() -> None:
    """The entry point."""
    return_freed_blocks()
    try:
        code = run_agent(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output went away; give the interpreter nothing to flush into the closed pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    sys.exit(code)


def run_agent(words: Sequence[str]) -> int:
    """Do what the words say; the exit code (docs/reference/exit-codes.md)."""
    arguments = _make_parser().parse_args(words)
    try:
        settings = read_settings(Path(arguments.config))
        engine = make_device_engine(settings.engine, os.environ, settings.state / "engine")
        return int(arguments.call(arguments, settings, engine))
    except WherryError as error:
        _say(f"error: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        return 130


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="wherry-agent", description="Takes a device's updates, and takes them back.")
    parser.add_argument("--version", action="version", version=f"wherry-agent {VERSION}")
    parser.add_argument("--config", metavar="FILE", default=os.environ.get("WHERRY_AGENT_CONFIG", _CONFIG), help="agent.toml")
    verbs = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    apply = verbs.add_parser("apply", help="update by a parcel that is here, such as on a stick")
    apply.add_argument("parcel", metavar="FILE")
    apply.add_argument("--again", action="store_true", help="also a release that was taken back before")
    _add_wait(apply)
    apply.set_defaults(call=_apply)
    status = verbs.add_parser("status", help="what is on, what was before, what was taken back")
    status.add_argument("--json", action="store_true", help="as one JSON document")
    status.set_defaults(call=_show_status)
    rollback = verbs.add_parser("rollback", help="put the former image back, without the link")
    _add_wait(rollback)
    rollback.set_defaults(call=_roll_back)
    adopt = verbs.add_parser("adopt", help="begin with an image that the engine has already")
    adopt.add_argument("manifest", metavar="MANIFEST", help="its manifest for this platform, as published")
    adopt.add_argument("image_config", metavar="IMAGE-CONFIG", help="the config that the manifest names")
    adopt.set_defaults(call=_adopt)
    recover = verbs.add_parser("recover", help="after a start: end what was begun, have the container running")
    recover.set_defaults(call=_recover)
    once = verbs.add_parser("once", help="look for news on the channel, and take them")
    _add_wait(once)
    once.set_defaults(call=_update_once)
    run = verbs.add_parser("run", help="the service: look for news at its times, have the container running")
    run.set_defaults(call=_run)
    ledger = verbs.add_parser("ledger", help="what the link moved this month, and what that is billed")
    ledger.add_argument("--json", action="store_true", help="as one JSON document")
    ledger.set_defaults(call=_show_ledger)
    unit = verbs.add_parser("unit", help="print a systemd unit for the service")
    unit.set_defaults(call=_print_unit)
    doctor = verbs.add_parser("doctor", help="what would be in an update's way")
    doctor.add_argument("--link", action="store_true", help="also ask the channel; that is a kilobyte or more on the link")
    doctor.set_defaults(call=_examine)
    return parser


def _add_wait(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--wait", metavar="SECONDS", type=float, default=0.0, help="for the update lock; without it, not at all")


def _make_updater(settings: AgentSettings, engine: DeviceEngine) -> Updater:
    return Updater(settings, engine, run_apart, SystemClock(), _say)


def _make_service(settings: AgentSettings, engine: DeviceEngine) -> Service:
    if not settings.channel.url:
        raise DeviceError("no channel", where="agent.toml: channel.url", hint="wherry-agent apply FILE needs none")
    return Service(settings, _make_updater(settings, engine), run_apart, _say)


def _apply(arguments: argparse.Namespace, settings: AgentSettings, engine: DeviceEngine) -> int:
    with open_parcel_file(Path(arguments.parcel)) as source:
        outcome = _make_updater(settings, engine).apply(source, patience=arguments.wait, again=arguments.again)
    print(outcome.value)
    return 0


def _roll_back(arguments: argparse.Namespace, settings: AgentSettings, engine: DeviceEngine) -> int:
    print(_make_updater(settings, engine).roll_back(patience=arguments.wait).value)
    return 0


def _adopt(arguments: argparse.Namespace, settings: AgentSettings, engine: DeviceEngine) -> int:
    manifest, config = (_read_file(Path(name)) for name in (arguments.manifest, arguments.image_config))
    print(_make_updater(settings, engine).adopt(manifest, config).target.manifest)
    return 0


def _read_file(path: Path) -> bytes:
    with explain_os_errors(path):
        return path.read_bytes()


def _recover(_arguments: argparse.Namespace, settings: AgentSettings, engine: DeviceEngine) -> int:
    _make_updater(settings, engine).recover()
    return 0


def _update_once(arguments: argparse.Namespace, settings: AgentSettings, engine: DeviceEngine) -> int:
    print(_make_service(settings, engine).update_once(patience=arguments.wait).value)
    return 0


def _run(_arguments: argparse.Namespace, settings: AgentSettings, engine: DeviceEngine) -> int:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    _make_service(settings, engine).run(stop)
    return 0


def _show_ledger(arguments: argparse.Namespace, settings: AgentSettings, _engine: DeviceEngine) -> int:
    told = work_apart(run_apart, "read_ledger", settings)
    if arguments.json:
        print(json.dumps(told))
        return 0
    budget = f" of {told['budget']}" if told["budget"] is not None else ""
    print(f"{told['month']}: {told['sent'] + told['received']} bytes at the socket, {told['wire']} on the wire")
    print(f"billed: {told['billed']} bytes{budget}, {told['amount']} {told['currency']}, in {told['sessions']} sessions")
    return 0


def _print_unit(arguments: argparse.Namespace, _settings: AgentSettings, _engine: DeviceEngine) -> int:
    print(render_unit(Path(sys.argv[0]), Path(arguments.config)), end="")
    return 0


def _show_status(arguments: argparse.Namespace, settings: AgentSettings, engine: DeviceEngine) -> int:
    status = describe_status(settings, engine, StateFolder(settings.state).read())
    print(json.dumps(status) if arguments.json else "\n".join(render_lines(status)))
    return 0


def _examine(arguments: argparse.Namespace, settings: AgentSettings, engine: DeviceEngine) -> int:
    ask = partial(work_apart, run_apart, "ask_channel", settings) if arguments.link else None
    findings = examine_device(settings, engine, datetime.now(UTC), ask)
    for finding in findings:
        print(f"{'ok' if finding.well else 'no'}  {finding.what}" + (f"\n    try: {finding.hint}" if finding.hint else ""))
    return 0 if all(finding.well for finding in findings) else 17


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
