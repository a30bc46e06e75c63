"""`wherry check --host`: each failure is planted, and the line that says so is asserted on."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.simulators.bases import AMD64, ARM64
from wherry.check.host import HostWishes, Server, ServerAnswer, examine_host, run_probes
from wherry.engines.network_probe import Target, Tried
from wherry.engines.port import EngineInfo
from wherry.errors import EngineError, TransferError, TrustError
from wherry.model.host import HostFinding, HostState, Space
from wherry.store.host_state import read_space

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
ROOMY = Space(size=10**12, free=10**11, inodes=10**6, free_inodes=10**5, writable=True)
GHCR = Server(name="ghcr.io", url="https://ghcr.io/v2/", target=Target(host="ghcr.io", port=443))
INDEX = Server(name="index.test", url="https://index.test/simple", target=Target(host="index.test", port=443), is_registry=False)
LOCAL = Server(name="127.0.0.1:5000", url="http://127.0.0.1:5000/v2/", target=Target(host="127.0.0.1", port=5000), is_local=True)
OK, WARNING, FAILING = HostState


@dataclass(kw_only=True)
class Machine:
    """One on which all is well, but for what is planted."""

    root: Path
    is_root: bool = False
    infos: dict[str, EngineInfo] = field(default_factory=dict)
    unreachable: dict[str, Exception] = field(default_factory=dict)
    dates: dict[str, datetime | None] = field(default_factory=dict)
    refused: frozenset[str] = frozenset()
    wants_login: frozenset[str] = frozenset()
    unresolved: frozenset[str] = frozenset()
    blocked: frozenset[str] = frozenset()
    broken_engine: str = ""
    space: Space = ROOMY
    ran: list[str] = field(default_factory=list)

    def probe_engine(self, name: str) -> EngineInfo:
        return self.infos.get(name, EngineInfo(name=name, usable=True, version="9"))

    def run_container(self, engine: str, targets: Sequence[Target]) -> Tried:
        self.ran.append(engine)
        if self.broken_engine:
            raise EngineError(self.broken_engine, hint="look")
        resolved = frozenset(target for target in targets if target.host not in self.unresolved)
        return Tried(resolved=resolved, reached=frozenset(one for one in resolved if one.host not in self.blocked))

    def ask_server(self, server: Server) -> ServerAnswer:
        if server.name in self.unreachable:
            raise self.unreachable[server.name]
        return ServerAnswer(date=self.dates.get(server.name, NOW), wants_login=server.name in self.wants_login)

    def try_login(self, server: Server) -> bool:
        if server.name in self.refused:
            raise TransferError(f"{server.name} does not accept the login", hint="docker login ghcr.io")
        return True

    def read_space(self, place: Path) -> Space:
        assert place == Path("/store")
        return self.space

    def now(self) -> datetime:
        return NOW


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cgroup.controllers").write_text("cpu memory")
    (tmp_path / "proc/sys/fs/binfmt_misc").mkdir(parents=True)
    (tmp_path / "proc/sys/fs/binfmt_misc/qemu-aarch64").write_text("enabled\ninterpreter /usr/bin/qemu\n")
    return Machine(root=tmp_path)


def examine(machine: Machine, *servers: Server) -> dict[str, HostFinding]:
    wishes = HostWishes(
        engines=("podman", "docker", "bubblewrap"),
        folders={"store": Path("/store")},
        servers=servers or (GHCR, INDEX),
        host=AMD64,
        platforms=(AMD64, ARM64),
    )
    found = examine_host(wishes, machine)
    assert len({one.subject for one in found}) == len(found)
    return {one.subject: one for one in found}


def unwell(found: dict[str, HostFinding]) -> dict[str, HostState]:
    return {subject: one.state for subject, one in found.items() if one.state is not OK}


def test_a_machine_on_which_all_is_well(machine: Machine) -> None:
    found = examine(machine)
    assert unwell(found) == {}
    assert list(found) == [
        *("engine podman", "engine docker", "engine bubblewrap", "containers"),
        *("network in containers: ghcr.io", "network in containers: index.test", "registry ghcr.io", "index index.test"),
        *("clock", "disk of the store", "cgroups", "user namespaces", "emulation of linux/arm64"),
    ]
    assert machine.ran == ["podman"]


def test_an_engine_that_is_missing_and_one_whose_daemon_is_down(machine: Machine) -> None:
    machine.infos["podman"] = EngineInfo(name="podman", usable=False, reason="podman is not installed")
    machine.infos["docker"] = EngineInfo(name="docker", usable=False, reason="no daemon", hint="start docker")
    found = examine(machine)
    assert unwell(found) == {"engine docker": WARNING}
    assert found["engine docker"].remedy == "start docker"
    assert machine.ran == [], "bubblewrap has the host's network"
    machine.infos["bubblewrap"] = EngineInfo(name="bubblewrap", usable=False, reason="bubblewrap is not installed")
    assert unwell(examine(machine)) == {"engine docker": FAILING, "engines": FAILING}


def test_containers_that_do_not_start_and_networks_that_are_not_there(machine: Machine) -> None:
    machine.unresolved, machine.blocked = frozenset({"ghcr.io"}), frozenset({"index.test"})
    found = examine(machine, GHCR, INDEX, LOCAL)
    assert unwell(found) == {f"network in containers: {host}": WARNING for host in ("ghcr.io", "index.test")}
    assert "resolve ghcr.io" in found["network in containers: ghcr.io"].what
    assert "reach index.test:443" in found["network in containers: index.test"].what
    machine.broken_engine = "runc: operation not permitted"
    found = examine(machine)
    assert (found["containers"].state, found["containers"].what) == (FAILING, "runc: operation not permitted")


def test_registries_and_indexes_that_cannot_be_reached_or_refuse(machine: Machine) -> None:
    machine.unreachable = {"ghcr.io": TrustError("the server's certificate is not trusted"), "index.test": TransferError("cut")}
    found = examine(machine)
    assert unwell(found) == {"registry ghcr.io": FAILING, "index index.test": FAILING}
    assert "certificate" in found["registry ghcr.io"].what
    assert "ghcr.io:443" in found["registry ghcr.io"].remedy
    assert "no server to hold it against" in found["clock"].what
    machine.unreachable, machine.refused, machine.wants_login = {}, frozenset({"ghcr.io"}), frozenset({"ghcr.io", "index.test"})
    found = examine(machine)
    assert unwell(found) == {"registry ghcr.io": FAILING, "index index.test": WARNING}
    assert found["registry ghcr.io"].remedy == "docker login ghcr.io"


@pytest.mark.parametrize(
    ("offset", "state", "words"),
    [
        (timedelta(minutes=2), OK, "agrees"),
        (timedelta(minutes=-40), WARNING, "40 min ahead of that of ghcr.io"),
        (timedelta(hours=3), WARNING, "3.0 h behind"),
        (timedelta(days=-400), FAILING, "9600.0 h ahead"),
    ],
)
def test_a_clock_that_is_off(machine: Machine, offset: timedelta, state: HostState, words: str) -> None:
    machine.dates = {"ghcr.io": NOW + offset}
    found = examine(machine)["clock"]
    assert (found.state, words in found.what) == (state, True)


def test_a_server_that_tells_no_time_is_passed_over(machine: Machine) -> None:
    machine.dates = {"ghcr.io": None, "index.test": NOW + timedelta(days=2)}
    assert examine(machine)["clock"].state is FAILING


@pytest.mark.parametrize(
    ("space", "state", "words"),
    [
        (Space(size=10**12, free=10**8, inodes=None, free_inodes=None, writable=True), FAILING, "0.1 GB of 1000.0 GB"),
        (Space(size=10**12, free=10**9, inodes=None, free_inodes=None, writable=True), WARNING, "1.0 GB"),
        (Space(size=10**12, free=10**11, inodes=10**6, free_inodes=9_000, writable=True), WARNING, "9000 of 1000000 inodes"),
        (Space(size=10**12, free=10**11, inodes=10**6, free_inodes=10, writable=True), FAILING, "10 inodes"),
        (Space(size=10**12, free=10**11, inodes=None, free_inodes=None, writable=False), FAILING, "cannot be written"),
    ],
)
def test_a_disk_that_is_full(machine: Machine, space: Space, state: HostState, words: str) -> None:
    machine.space = space
    found = examine(machine)["disk of the store"]
    assert (found.state, words in found.what) == (state, True)
    assert found.remedy


def test_what_the_kernel_does_not_have(machine: Machine) -> None:
    (machine.root / "sys/fs/cgroup/cgroup.controllers").unlink()
    (machine.root / "proc/sys/fs/binfmt_misc/qemu-aarch64").unlink()
    (machine.root / "proc/sys/user").mkdir()
    (machine.root / "proc/sys/user/max_user_namespaces").write_text("0\n")
    found = examine(machine)
    assert unwell(found) == {"cgroups": WARNING, "user namespaces": FAILING, "emulation of linux/arm64": WARNING}
    assert "no cgroups" in found["cgroups"].what
    assert found["user namespaces"].remedy == "sysctl -w user.max_user_namespaces=15000"
    machine.is_root = True
    (machine.root / "sys/fs/cgroup/memory").mkdir()
    found = examine(machine)
    assert ("version 1" in found["cgroups"].what, found["user namespaces"].state) == (True, OK)
    (machine.root / "sys/fs/cgroup/unified").mkdir()
    (machine.root / "sys/fs/cgroup/unified/cgroup.controllers").touch()
    assert "hybrid" in examine(machine)["cgroups"].what


def test_a_probe_that_hangs_holds_up_nobody() -> None:
    never = threading.Event()

    def hang() -> Sequence[HostFinding]:
        never.wait()
        return ()

    well = HostFinding(subject="other", state=OK, what="well")
    found = run_probes({"slow": hang, "other": lambda: (well,)}, 0.2)
    assert [(one.subject, one.state) for one in found] == [("slow", FAILING), ("other", OK)]
    never.set()


def test_the_space_of_a_folder_that_is_not_there_yet_is_its_parents(tmp_path: Path) -> None:
    space = read_space(tmp_path / "not/yet")
    assert space.size > space.free >= 0
    assert space.writable
