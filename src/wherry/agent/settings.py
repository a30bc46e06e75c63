"""`agent.toml`: what the owner of a device says about it (docs/reference/agent-toml.md).

Every member is known or refused. Paths that are not absolute begin at the file's own folder.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from wherry.agent.windows import Window, parse_window
from wherry.engines.device_choice import NAMES
from wherry.engines.port import Mount, MountKind, PublishedPort
from wherry.errors import DeviceError, WherryError
from wherry.formats.tariff import parse_size, parse_tariff
from wherry.model.platform import Platform
from wherry.model.release import Health
from wherry.model.tariff import Tariff
from wherry.store.host import read_host_platform

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSettings:
    """How the container is started; `options` are the engine's own. With `start` False images are brought and no more:
    who else runs containers on this device, such as IoT Edge, starts them as ``NAME:`` and twelve digits of the manifest."""

    name: str = "app"
    start: bool = True
    env: tuple[tuple[str, str], ...] = ()
    mounts: tuple[Mount, ...] = ()
    ports: tuple[PublishedPort, ...] = ()
    network: str | None = None
    user: str | None = None
    read_only: bool = False
    options: tuple[str, ...] = ()
    grace: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSettings:
    """Where releases come from, and what is believed at first. `poll` and `max_age` are times."""

    url: str = ""
    root: Path
    poll: timedelta = timedelta(days=1)
    max_age: timedelta = timedelta(0)
    certificates: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateSettings:
    """`lock` is a file that the application holds while it must not be stopped; `memory` bounds the decoder, in bytes."""

    lock: Path | None = None
    health: Health | None = None
    memory: int = 34 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetSettings:
    """`month` is in bytes as billed; None: no bound."""

    month: int | None = None
    windows: tuple[Window, ...] = ()
    tariff: Tariff | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    state: Path
    platform: Platform
    engine: str
    container: ContainerSettings
    channel: ChannelSettings
    update: UpdateSettings
    budget: BudgetSettings


def read_settings(path: Path) -> AgentSettings:
    """Read `agent.toml`. Whatever is wrong in it is a `DeviceError` that says where."""
    try:
        value = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DeviceError(f"cannot be read: {reason}", where=str(path), hint="wherry-agent --config FILE") from error
    try:
        return _parse_settings(_Table(value, str(path)), path.absolute().parent)
    except DeviceError:
        raise
    except WherryError as error:
        raise DeviceError(error.what, where=str(path), hint=error.hint) from error


def _parse_settings(table: _Table, folder: Path) -> AgentSettings:
    engine = table.take("engine", str, "podman")
    if engine not in NAMES:
        raise table.refuse("engine", f"no engine {engine!r}", ", ".join(NAMES))
    platform = table.take("platform", str, "")
    state = folder / table.take("state", str, "/var/lib/wherry-agent")
    settings = AgentSettings(
        state=state,
        platform=Platform.parse(platform) if platform else read_host_platform(),
        engine=engine,
        container=_parse_container(table.table("container")),
        channel=_parse_channel(table.table("channel"), folder),
        update=_parse_update(table.table("update"), folder),
        budget=_parse_budget(table.table("budget"), folder),
    )
    table.expect_end()
    return settings


def _parse_container(table: _Table) -> ContainerSettings:
    parsed = ContainerSettings(
        name=table.take("name", str, "app"),
        start=table.take("start", bool, True),
        env=tuple((key, str(value)) for key, value in table.take("env", dict, {}).items()),
        mounts=tuple(_parse_mount(text, table) for text in table.texts("volumes")),
        ports=tuple(_parse_port(text, table) for text in table.texts("ports")),
        network=table.take("network", str, "") or None,
        user=table.take("user", str, "") or None,
        read_only=table.take("read-only", bool, False),
        options=table.texts("options"),
        grace=float(table.take("grace", int, 10)),
    )
    table.expect_end()
    return parsed


def _parse_channel(table: _Table, folder: Path) -> ChannelSettings:
    certificates = table.take("certificates", str, "")
    parsed = ChannelSettings(
        url=table.take("url", str, ""),
        root=folder / table.take("root", str, "root.json"),
        poll=timedelta(minutes=table.take("poll-minutes", int, 24 * 60)),
        max_age=timedelta(days=table.take("max-age-days", int, 0)),
        certificates=folder / certificates if certificates else None,
    )
    table.expect_end()
    return parsed


def _parse_update(table: _Table, folder: Path) -> UpdateSettings:
    lock = table.take("lock", str, "")
    health = table.take("health", dict, {})
    parsed = UpdateSettings(
        lock=folder / lock if lock else None,
        health=_parse_health(_Table(health, f"{table.where}.health")) if health else None,
        memory=table.take("memory-mb", int, 34) << 20,
    )
    table.expect_end()
    return parsed


def _parse_health(table: _Table) -> Health:
    parsed = Health(
        command=table.texts("command"),
        http=table.take("http", str, ""),
        log=table.take("log", str, ""),
        within=table.take("within", int, 120),
        seconds=table.take("seconds", int, 30),
    )
    table.expect_end()
    return parsed


def _parse_budget(table: _Table, folder: Path) -> BudgetSettings:
    month, tariff = table.take("month", str, ""), table.take("tariff", str, "")
    try:
        budget = parse_size(month) if month else None
    except ValueError as error:
        raise table.refuse("month", str(error), "5 MB") from error
    windows = tuple(parse_window(text, f"{table.where}.windows") for text in table.texts("windows"))
    parsed = BudgetSettings(
        month=budget,
        windows=windows,
        tariff=_read_tariff(folder / tariff) if tariff else None,
    )
    table.expect_end()
    return parsed


def _read_tariff(path: Path) -> Tariff:
    try:
        return parse_tariff(path.read_bytes(), str(path))
    except OSError as error:
        raise DeviceError(f"cannot be read: {error.strerror}", where=str(path)) from error


def _parse_mount(text: str, table: _Table) -> Mount:
    """``SOURCE:TARGET[:ro]``; a source with a slash at its start is a folder or file of this machine."""
    source, _, rest = text.partition(":")
    target, _, mode = rest.partition(":")
    if not source or not target.startswith("/") or mode not in ("", "ro", "rw"):
        raise table.refuse("volumes", f"not a volume: {text!r}", "/srv/data:/data or data:/data:ro")
    kind = MountKind.BIND if source.startswith("/") else MountKind.VOLUME
    return Mount(kind=kind, source=source, target=target, read_only=mode == "ro")


def _parse_port(text: str, table: _Table) -> PublishedPort:
    """``[ADDRESS:]HOST:CONTAINER`` or ``PORT``."""
    *rest, container = text.split(":")
    host = rest[-1] if rest else container
    if not container.isdigit() or not host.isdigit() or len(rest) > 2:
        raise table.refuse("ports", f"not a port: {text!r}", "8080:80 or 127.0.0.1:8080:80")
    return PublishedPort(container_port=int(container), host_port=int(host), address=rest[0] if len(rest) == 2 else "")


class _Table:
    """A table of the file, of which nothing may be left over."""

    def __init__(self, value: Mapping[str, Any], where: str) -> None:
        self._left = dict(value)
        self.where = where

    def take(self, name: str, kind: type[_T], default: _T) -> _T:
        value = self._left.pop(name, default)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.refuse(name, f"expected {kind.__name__}, got {type(value).__name__}")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        values = self.take(name, list, [])
        if not all(isinstance(value, str) for value in values):
            raise self.refuse(name, "expected strings")
        return tuple(values)

    def table(self, name: str) -> _Table:
        return _Table(self.take(name, dict, {}), f"{self.where}: {name}")

    def expect_end(self) -> None:
        if self._left:
            raise self.refuse(next(iter(self._left)), "not known here")

    def refuse(self, name: str, what: str, hint: str | None = None) -> DeviceError:
        return DeviceError(what, where=f"{self.where}.{name}", hint=hint)
