"""What a container of an image is created with on a device: docker's create options, from the image and the user's flags.

What the image says (entrypoint, user, environment) it says on the device too, so it is not said again. Derived from it:
a named volume for each place that it declares as one, since an anonymous one is lost with each update; one for its cache
of bytecode; a port that it does not expose is exposed before it is published; a release's health command.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Any

from wherry.engines.port import Mount, MountKind, PublishedPort
from wherry.errors import UsageError
from wherry.formats.iotedge import list_mounted, merge_create_options
from wherry.formats.iotedge_rules import ENV_NAME, MAX_TEXT
from wherry.model.layout import PYTHON_CACHE
from wherry.model.oci import ImageConfig
from wherry.model.release import Health

_MEMORY = re.compile(r"([0-9]+)([bkmg]?)b?", re.IGNORECASE)
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_LEAST_MEMORY = 6 << 20  # docker's own
_SECOND = 1_000_000_000
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeOptions:
    """The user's flags. `memory` is in bytes, `cpus` in billionths of one; `extra` goes over everything derived."""

    ports: tuple[PublishedPort, ...] = ()
    mounts: tuple[Mount, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    user: str | None = None
    workdir: str | None = None
    network: str | None = None
    gpus: str | None = None
    read_only: bool = False
    memory: int | None = None
    cpus: int | None = None
    extra: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)


def parse_memory(text: str) -> int:
    """docker's ``--memory``: ``256m``, in bytes."""
    found = _MEMORY.fullmatch(text)
    size = int(found[1]) * _UNITS[found[2].lower()] if found else 0
    if size < _LEAST_MEMORY:
        raise UsageError(f"no limit of memory: {text!r}", where="--memory", hint="256m; at least 6m")
    return size


def parse_cpus(text: str) -> int:
    """docker's ``--cpus``: ``0.5``, in billionths of a processor."""
    try:
        count = int(Decimal(text) * _SECOND)
    except (InvalidOperation, ValueError, OverflowError):
        count = 0
    if not 10_000_000 <= count < 10_000 * _SECOND:
        raise UsageError(f"no number of processors: {text!r}", where="--cpus", hint="0.5")
    return count


def split_env(env: tuple[tuple[str, str], ...]) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
    """Variables that a module's own `env` can hold, and the rest, which create options hold."""
    fits = tuple((key, value) for key, value in env if ENV_NAME.fullmatch(key) and len(value.encode()) <= MAX_TEXT)
    return fits, tuple(pair for pair in env if pair not in fits)


def derive_create_options(
    module: str,
    config: ImageConfig,
    options: EdgeOptions,
    health: Health | None = None,
    former: Mapping[str, Any] = _NOTHING,
) -> dict[str, Any]:
    """docker's create options, without members that say nothing. `former` are those that they are put over."""
    mounted = list_mounted(former) | list_mounted(options.extra) | {mount.target for mount in options.mounts}
    host: dict[str, Any] = {
        "Binds": [*_bind_mounts(options.mounts), *_keep_volumes(module, config, mounted)],
        "Tmpfs": {mount.target: "" for mount in options.mounts if mount.kind is MountKind.TEMPORARY},
        "PortBindings": _bind_ports(options.ports),
        "NetworkMode": options.network,
        "ReadonlyRootfs": options.read_only,
        "Memory": options.memory,
        "NanoCpus": options.cpus,
        "DeviceRequests": _request_gpus(options.gpus) if options.gpus else None,
    }
    known = {port if "/" in port else f"{port}/tcp" for port in config.ports}
    derived: dict[str, Any] = {
        "User": options.user,
        "WorkingDir": options.workdir,
        "Env": [f"{key}={value}" for key, value in split_env(options.env)[1]],
        "ExposedPorts": {port: {} for port in host["PortBindings"] if port not in known},
        "Healthcheck": _check_health(health) if health and health.command else None,
        "NetworkingConfig": {"EndpointsConfig": {options.network: {}}} if options.network else None,
        "HostConfig": _present(host),
    }
    return merge_create_options(_present(derived), options.extra)


def _bind_mounts(mounts: tuple[Mount, ...]) -> list[str]:
    given = [mount for mount in mounts if mount.kind is not MountKind.TEMPORARY]
    return [f"{mount.source}:{mount.target}{':ro' if mount.read_only else ''}" for mount in given]


def _keep_volumes(module: str, config: ImageConfig, mounted: frozenset[str]) -> list[str]:
    declared = list(config.volumes)
    if any(each.startswith(f"PYTHONPYCACHEPREFIX={PYTHON_CACHE}/") for each in config.env):
        declared.append(PYTHON_CACHE)
    return [f"{_name_volume(module, place)}:{place}" for place in dict.fromkeys(declared) if place not in mounted]


def _name_volume(module: str, place: str) -> str:
    return f"{module}-{re.sub(r'[^a-zA-Z0-9_.-]+', '-', place.strip('/'))}".lstrip("_-")


def _bind_ports(ports: tuple[PublishedPort, ...]) -> dict[str, list[dict[str, str]]]:
    bound: dict[str, list[dict[str, str]]] = {}
    for port in ports:
        host = {"HostPort": "" if port.host_port is None else str(port.host_port)}
        address = {"HostIp": port.address.strip("[]")} if port.address else {}
        bound.setdefault(f"{port.container_port}/{port.protocol}", []).append(address | host)
    return bound


def _request_gpus(gpus: str) -> list[dict[str, Any]]:
    if gpus != "all" and not gpus.isdecimal():
        raise UsageError(f"no number of GPUs: {gpus!r}", where="--gpus", hint="all, or a number")
    return [{"Count": -1 if gpus == "all" else int(gpus), "Capabilities": [["gpu"]]}]


def _check_health(health: Health) -> dict[str, Any]:
    """docker's check, for ``--restart on-unhealthy``: ill while the image starts does not count."""
    return {
        "Test": ["CMD", *health.command],
        "Interval": 30 * _SECOND,
        "Timeout": 30 * _SECOND,
        "StartPeriod": health.within * _SECOND,
        "Retries": 3,
    }


def _present(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value not in (None, "", [], {}, False)}
