"""Examines this machine: engines, registries, networking in containers, clock, disks, what the kernel allows.

Probes run side by side, each with its time; one that does not end in it is a finding too, and nothing waits for it. What they ask
comes in by `HostPorts`, so that each failure can be planted.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Protocol

from wherry.engines.host import (
    judge_cgroups,
    judge_clock,
    judge_emulation,
    judge_engines,
    judge_namespaces,
    judge_space,
)
from wherry.engines.network_probe import Target, Tried
from wherry.engines.port import EngineInfo
from wherry.errors import TransferError, TrustError, WherryError
from wherry.model.host import HostFinding, HostState, Space
from wherry.model.platform import Platform
from wherry.store.host_state import read_cgroup_mode, read_emulators, read_namespace_limits

Probe = Callable[[], Sequence[HostFinding]]
PATIENCE = 30.0
_RUNNERS = ("podman", "docker", "containerd")  # those whose containers have a network of their own


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Something that wherry talks to. `is_registry`: else it is an index of packages."""

    name: str
    url: str
    target: Target
    is_local: bool = False
    is_registry: bool = True

    @property
    def subject(self) -> str:
        return f"{'registry' if self.is_registry else 'index'} {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAnswer:
    """`date` is the server's clock, if it told; `wants_login` whether it answered 401."""

    date: datetime | None
    wants_login: bool = False


class HostPorts(Protocol):
    """What probes ask of the machine and of others."""

    @property
    def root(self) -> Path:
        """Where /proc and /sys begin."""

    @property
    def is_root(self) -> bool: ...

    def probe_engine(self, name: str) -> EngineInfo: ...

    def run_container(self, engine: str, targets: Sequence[Target]) -> Tried:
        """Try the network in a container; an `EngineError` where none runs."""
        ...

    def ask_server(self, server: Server) -> ServerAnswer:
        """One request, without a login. A `TransferError` or `TrustError` where nobody answers."""
        ...

    def try_login(self, server: Server) -> bool:
        """Whether a login is kept for a registry. One that is refused is a `TransferError`."""
        ...

    def read_space(self, place: Path) -> Space: ...

    def now(self) -> datetime: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HostWishes:
    """What to look at: engines by name, folders by what they are for, servers, the platforms of the project."""

    engines: Sequence[str]
    folders: Mapping[str, Path]
    servers: Sequence[Server]
    host: Platform
    platforms: Sequence[Platform] = ()


def examine_host(wishes: HostWishes, ports: HostPorts, patience: float = PATIENCE) -> tuple[HostFinding, ...]:
    """All findings, in one order whatever came first."""
    return run_probes(list_probes(wishes, ports), patience)


def list_probes(wishes: HostWishes, ports: HostPorts) -> dict[str, Probe]:
    """The probes by the subject that stands for one that does not end."""
    engines = _Engines(wishes.engines, ports)
    probes: dict[str, Probe] = {"engines": engines.judge}
    probes["containers"] = partial(_probe_containers, engines, ports, wishes.servers)
    for server in wishes.servers:
        probes[server.subject] = partial(_probe_server, server, ports)
    probes["clock"] = partial(_probe_clock, ports, wishes.servers)
    for name, place in wishes.folders.items():
        probes[f"disk of the {name}"] = partial(_probe_space, name, place, ports)
    probes["cgroups"] = lambda: (judge_cgroups(read_cgroup_mode(ports.root)),)
    probes["user namespaces"] = lambda: (judge_namespaces(read_namespace_limits(ports.root), is_root=ports.is_root),)
    probes["emulation"] = lambda: judge_emulation(wishes.host, wishes.platforms, read_emulators(ports.root))
    return probes


def run_probes(probes: Mapping[str, Probe], patience: float) -> tuple[HostFinding, ...]:
    """Run all at once, and give each `patience` seconds. Threads are daemons: whoever hangs holds up nobody."""
    found: dict[str, Sequence[HostFinding]] = {}

    def run(subject: str, probe: Probe) -> None:
        try:
            found[subject] = probe()
        except WherryError as error:
            what = f"{error.where}: {error.what}" if error.where else error.what
            found[subject] = (_find(subject, HostState.FAILING, what, error.hint or ""),)

    threads = [threading.Thread(target=run, args=pair, daemon=True) for pair in probes.items()]
    for thread in threads:
        thread.start()
    end = time.monotonic() + patience
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    late = "no answer within the time that a probe has"
    return tuple(
        finding
        for subject in probes
        for finding in found.get(subject, (_find(subject, HostState.FAILING, late, "look why it hangs; then the same again"),))
    )


class _Engines:
    """The engines, probed once and side by side, for whoever asks first."""

    def __init__(self, names: Sequence[str], ports: HostPorts) -> None:
        self._names, self._ports = names, ports
        self._guard = threading.Lock()
        self._infos: Sequence[EngineInfo] | None = None

    def infos(self) -> Sequence[EngineInfo]:
        with self._guard:
            if self._infos is None:
                with ThreadPoolExecutor(max_workers=len(self._names)) as pool:
                    self._infos = tuple(pool.map(self._ports.probe_engine, self._names))
            return self._infos

    def judge(self) -> Sequence[HostFinding]:
        return judge_engines(self.infos())


def _probe_containers(engines: _Engines, ports: HostPorts, servers: Sequence[Server]) -> Sequence[HostFinding]:
    """The network as containers of the first usable engine have it."""
    usable = next((info.name for info in engines.infos() if info.usable and info.name in _RUNNERS), None)
    if usable is None:
        return ()
    targets = tuple(dict.fromkeys(server.target for server in servers if not server.is_local))
    tried = ports.run_container(usable, targets)
    findings = [_find("containers", HostState.OK, f"{usable} runs containers")]
    for target in targets:
        subject, at = f"network in containers: {target.host}", f"{target.host}:{target.port}"
        if target in tried.reached:
            findings.append(_find(subject, HostState.OK, f"containers reach {at}"))
        elif target not in tried.resolved:
            hint = f"{usable}'s DNS settings (--dns, or the host's /etc/resolv.conf: 127.0.0.53 is nobody in a container)"
            findings.append(_find(subject, HostState.WARNING, f"containers cannot resolve {target.host}", hint))
        else:
            hint = "forwarding and firewall (net.ipv4.ip_forward=1), or --network host; with a proxy, -e HTTPS_PROXY"
            findings.append(_find(subject, HostState.WARNING, f"containers cannot reach {at}", hint))
    return findings


def _probe_server(server: Server, ports: HostPorts) -> Sequence[HostFinding]:
    try:
        answer = ports.ask_server(server)
    except (TransferError, TrustError) as error:
        return (_find(server.subject, HostState.FAILING, f"{server.name}: {error.what}", error.hint or _reach_hint(server)),)
    if not server.is_registry and answer.wants_login:
        what, hint = f"{server.name} wants another login", "user and password in the index's address, or in ~/.netrc"
        return (_find(server.subject, HostState.WARNING, what, hint),)
    if not server.is_registry:
        return (_find(server.subject, HostState.OK, f"{server.name} answers"),)
    try:
        kept = ports.try_login(server)
    except TransferError as error:
        if not answer.wants_login:
            raise
        return (_find(server.subject, HostState.FAILING, error.what, error.hint or f"docker login {server.name}"),)
    what = "accepts the login" if kept else "answers; no login is kept for it"
    return (_find(server.subject, HostState.OK, f"{server.name} {what}"),)


def _reach_hint(server: Server) -> str:
    return f"its name, the network, HTTPS_PROXY and NO_PROXY ({server.target.host}:{server.target.port})"


def _probe_clock(ports: HostPorts, servers: Sequence[Server]) -> Sequence[HostFinding]:
    """Held against the first server that tells the time."""
    for server in servers:
        try:
            date = ports.ask_server(server).date
        except (TransferError, TrustError):
            continue
        if date is not None:
            return (judge_clock(ports.now(), date, server.name),)
    return (judge_clock(ports.now(), None, ""),)


def _probe_space(name: str, place: Path, ports: HostPorts) -> Sequence[HostFinding]:
    return (judge_space(name, str(place), ports.read_space(place)),)


def _find(subject: str, state: HostState, what: str, remedy: str = "") -> HostFinding:
    return HostFinding(subject=subject, state=state, what=what, remedy=remedy)
