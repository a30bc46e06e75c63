"""Watches whether a container that was just started is well: what the release asks for has to come true, and then to stay so.

A container that is not running is not well. Without a check that is all that is asked.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from wherry.agent.settings import ContainerSettings
from wherry.engines.device import DeviceEngine
from wherry.errors import EngineError
from wherry.model.release import Health

_INTERVAL = 1.0
_PATIENCE = 10.0
_SECONDS_RUNNING = 30
_LONGEST_LINE = 4096


class Time(Protocol):
    """A clock that is never set, and waiting."""

    def monotonic(self) -> float: ...

    def sleep(self, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    well: bool
    reason: str = ""


def watch_container(engine: DeviceEngine, settings: ContainerSettings, health: Health | None, time: Time) -> Verdict:
    """Wait until it can be said. Takes the health check's times together at most. What somebody else starts is his to watch."""
    if not settings.start:
        return Verdict(well=True)
    within, seconds = (health.within, health.seconds) if health else (0, _SECONDS_RUNNING)
    check = _choose_check(engine, settings, health)
    begun = time.monotonic()
    well_since: float | None = None
    while True:
        problem = _find_problem(engine, settings.name, check)
        now = time.monotonic()
        if problem is None:
            well_since = now if well_since is None else well_since
            if now - well_since >= seconds:
                return Verdict(well=True)
        elif well_since is not None or problem.final or now - begun >= within:
            return Verdict(well=False, reason=problem.what)
        time.sleep(_INTERVAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Problem:
    """`final`: waiting will not help."""

    what: str
    final: bool = False


_Check = Callable[[], str | None]  # what is wrong, if anything


def _find_problem(engine: DeviceEngine, name: str, check: _Check) -> _Problem | None:
    container = engine.find_container(name)
    if container is None or not container.running:
        return _Problem(what="the container has ended", final=True)
    what = check()
    return _Problem(what=what) if what else None


def _choose_check(engine: DeviceEngine, settings: ContainerSettings, health: Health | None) -> _Check:
    if health is None:
        return lambda: None
    if health.command:
        return lambda: _check_command(engine, settings.name, health.command)
    if health.http:
        return lambda: _check_http(settings, health.http)
    return _LogCheck(engine, settings.name, health.log)


def _check_command(engine: DeviceEngine, name: str, command: tuple[str, ...]) -> str | None:
    try:
        code = engine.execute(name, command, _PATIENCE)
    except EngineError as error:
        return f"the health command failed: {error.what}"
    return f"the health command ended with {code}" if code else None


def _check_http(settings: ContainerSettings, place: str) -> str | None:
    port, _, path = place.partition("/")
    published = next((item for item in settings.ports if str(item.container_port) == port), None)
    address = (published.address if published else "") or "127.0.0.1"
    number = published.host_port if published and published.host_port else int(port)
    try:
        status = _ask_status(address, number, path)
    except (OSError, ValueError, IndexError) as error:
        return f"http port {port} does not answer: {error}"
    return None if 200 <= status < 300 else f"http port {port} answers {status}"


def _ask_status(address: str, port: int, path: str) -> int:
    """One GET of this machine's own container: its status line is all that counts, so no HTTP client is loaded."""
    with socket.create_connection((address, port), timeout=_PATIENCE) as connection:
        connection.sendall(f"GET /{path} HTTP/1.1\r\nHost: {address}:{port}\r\nConnection: close\r\n\r\n".encode())
        line = b""
        while b"\n" not in line and len(line) < _LONGEST_LINE:
            piece = connection.recv(256)
            if not piece:
                break
            line += piece
    return int(line.split(None, 2)[1])


class _LogCheck:
    """Once the text was printed it counts, however much is printed after it."""

    def __init__(self, engine: DeviceEngine, name: str, text: str) -> None:
        self._engine, self._name, self._text, self._seen = engine, name, text.encode(), False

    def __call__(self) -> str | None:
        self._seen = self._seen or self._text in self._engine.read_log(self._name)
        return None if self._seen else f"its output does not say {self._text.decode()!r}"
