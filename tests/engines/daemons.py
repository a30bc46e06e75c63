"""Real engines, private and on loopback: started by the session that needs them, stopped by their process numbers.

Each gives a `Daemon`: the variables that make the engine's own command line (and wherry) talk to it, and wherry's engine.
Nothing of the machine's own podman, docker or containerd is touched. Only root can start them here.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import cannot_run, require_tool
from wherry.engines.choice import make_engine
from wherry.engines.port import Engine

_CONTAINERS_CONF = """
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "netavark"
network_config_dir = "{folder}/networks"
"""


@dataclass(frozen=True, kw_only=True)
class Daemon:
    """`env` is a whole environment for processes; `socket` is None where there is no daemon."""

    name: str
    env: Mapping[str, str]
    socket: Path | None
    engine: Engine
    folder: Path
    plain_http: list[str] = field(default_factory=list)

    def call(self, *argv: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        """Run a command with the daemon's environment."""
        return subprocess.run(argv, env=dict(self.env), input=stdin, capture_output=True, check=False, timeout=300)


@contextmanager
def private_folder(name: str) -> Iterator[Path]:
    """A short path: sockets may have 108 bytes."""
    folder = Path(tempfile.mkdtemp(prefix=f"wherry-{name}-"))
    try:
        yield folder
    finally:
        _unmount_below(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _require_root(*tools: str) -> None:
    if os.geteuid() != 0:
        cannot_run("private engines need root")
    require_tool(*tools)


def isolate_environment(**more: str) -> dict[str, str]:
    """This process's, without what would point an engine's client or wherry elsewhere."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("DOCKER_", "CONTAINER", "WHERRY_"))}
    return kept | more


@contextmanager
def run_podman(registries: tuple[str, ...] = ()) -> Iterator[Daemon]:
    """podman with its own storage. `registries` are ``host:port`` that speak plain http."""
    _require_root("podman", "runc", "conmon")
    with private_folder("podman") as folder:
        (folder / "containers.conf").write_text(_CONTAINERS_CONF.format(folder=folder))
        (folder / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/root"\nrunroot = "{folder}/run"\n'
        )
        insecure = "".join(f'[[registry]]\nlocation = "{host}"\ninsecure = true\n' for host in registries)
        (folder / "registries.conf").write_text(insecure)
        env = isolate_environment(
            CONTAINERS_CONF=str(folder / "containers.conf"),
            CONTAINERS_STORAGE_CONF=str(folder / "storage.conf"),
            CONTAINERS_REGISTRIES_CONF=str(folder / "registries.conf"),
        )
        try:
            yield Daemon(name="podman", env=env, socket=None, engine=make_engine("podman", env), folder=folder)
        finally:
            subprocess.run(["podman", "rm", "--all", "--force", "--time", "0"], env=env, capture_output=True, check=False)


@contextmanager
def run_docker(registries: tuple[str, ...] = ()) -> Iterator[Daemon]:
    """dockerd without bridge and iptables: containers get ``--network none`` or ``host``."""
    _require_root("dockerd", "docker", "containerd", "runc")
    with private_folder("docker") as folder:
        socket = folder / "docker.sock"
        argv = ["dockerd", "--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec", "-H", f"unix://{socket}"]
        argv += ["-p", f"{folder}/docker.pid", "--iptables=false", "--bridge=none", "--config-file", f"{folder}/daemon.json"]
        (folder / "daemon.json").write_text("{}")
        for host in registries:
            argv += ["--insecure-registry", host]
        env = isolate_environment(DOCKER_HOST=f"unix://{socket}", DOCKER_CONFIG=str(folder / "client"))
        engine = make_engine("docker", env)
        with run_process(argv, folder / "log", lambda: engine.probe().usable):
            daemon = Daemon(name="docker", env=env, socket=socket, engine=engine, folder=folder)
            try:
                yield daemon
            finally:
                running = daemon.call("docker", "ps", "--all", "--quiet").stdout.decode().split()
                if running:
                    daemon.call("docker", "rm", "--force", *running)


@contextmanager
def run_containerd() -> Iterator[Daemon]:
    """containerd with its own root, state and socket."""
    _require_root("containerd", "ctr", "runc")
    with private_folder("containerd") as folder:
        socket = folder / "containerd.sock"
        (folder / "config.toml").write_text(
            f'version = 2\nroot = "{folder}/root"\nstate = "{folder}/state"\n'
            f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{socket}"\n'
        )
        env = isolate_environment(CONTAINERD_ADDRESS=str(socket))
        engine = make_engine("containerd", env)
        with run_process(["containerd", "-c", str(folder / "config.toml")], folder / "log", lambda: engine.probe().usable):
            daemon = Daemon(name="containerd", env=env, socket=socket, engine=engine, folder=folder, plain_http=["--plain-http"])
            try:
                yield daemon
            finally:
                for container in daemon.call("ctr", "containers", "list", "--quiet").stdout.decode().split():
                    daemon.call("ctr", "tasks", "delete", "--force", container)
                    daemon.call("ctr", "containers", "delete", container)


@contextmanager
def run_process(argv: list[str], log: Path, is_up: object) -> Iterator[None]:
    """A daemon until the end of the block; it is up before the block begins."""
    assert callable(is_up)
    with log.open("wb") as output:
        process = subprocess.Popen(argv, stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        end = time.monotonic() + 60
        while not is_up():
            if process.poll() is not None or time.monotonic() > end:
                cannot_run(f"{argv[0]} did not start: {log.read_text(errors='replace')[-800:]}")
            time.sleep(0.2)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _unmount_below(folder: Path) -> None:
    """What an engine left mounted would make the folder's removal fail, or worse, reach into it."""
    with suppress(OSError):
        mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        for place in sorted((place for place in mounted if place.startswith(f"{folder}/")), reverse=True):
            subprocess.run(["umount", "--lazy", place], capture_output=True, check=False)
