"""Ray of two nodes on loopback: in a network namespace of its own, for by itself it advertises the machine's address.

Nodes are simulated by two raylets of one machine. `RayCluster.python` is the command of a Python inside the namespace, which is
what whoever speaks with the cluster needs.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import cannot_run, require_tool

ADDRESS = "127.0.0.1:6379"
_OPTIONS = ("--node-ip-address=127.0.0.1", "--object-store-memory=80000000", "--min-worker-port=0", "--max-worker-port=0")


@dataclass
class RayCluster:
    """A running cluster; nodes are sessions of processes, the head's first."""

    folder: Path
    inside: tuple[str, ...]
    environment: dict[str, str]
    nodes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def python(self) -> tuple[str, ...]:
        return (*self.inside, sys.executable)

    def start(self, nodes: int = 2) -> None:
        """Start what is missing of so many nodes of two processors; the head has two GPUs, or says so."""
        if not self.nodes:
            self._start_node(gpus=2)
            self._wait_for_head()
        while len(self.nodes) < nodes:
            self._start_node()
        self._wait_for_nodes()

    def _start_node(self, gpus: int = 0) -> None:
        """The first one is the head, and the others begin when that one can be asked."""
        place: tuple[str, ...] = (f"--address={ADDRESS}",)
        if not self.nodes:
            place = ("--head", "--port=6379", "--include-dashboard=false", f"--temp-dir={self.folder}/ray")
        argv = [*self.inside, str(Path(sys.executable).with_name("ray")), "start", "--block", *place]
        log = self.folder / f"node-{len(self.nodes)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*argv, "--num-cpus=2", f"--num-gpus={gpus}", *_OPTIONS],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self.nodes.append(process)

    def _wait_for_nodes(self) -> None:
        """Until each node says that it is up."""
        for number, process in enumerate(self.nodes):
            _wait_for(self.folder / f"node-{number}.log", b"Ray runtime started", process)

    def _wait_for_head(self) -> None:
        """Until other nodes may ask it."""
        _wait_for(self.folder / "ray/session_latest/logs/gcs_server.out", b"listening on port", self.nodes[0])

    def kill_node(self, number: int = -1) -> None:
        """As the machine's end would, but that its workers' own processes are left."""
        process = self.nodes.pop(number)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def run_ray(folder: Path) -> Iterator[RayCluster]:
    """The cluster, up and idle."""
    pytest.importorskip("ray")
    require_tool("unshare", "nsenter", "ip")
    if os.geteuid() != 0:
        cannot_run("a network namespace of its own needs root")
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec sleep infinity"], stdout=subprocess.PIPE
        )
        stack.callback(_end, holder)
        assert holder.stdout is not None
        if holder.stdout.readline() != b"up\n":
            cannot_run("no network namespace can be made here")
        environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "RAY_USAGE_STATS_ENABLED": "0", "RAY_ADDRESS": ADDRESS}
        environment["RAY_gcs_rpc_server_reconnect_timeout_s"] = "2"  # instead of a minute
        cluster = RayCluster(folder, ("nsenter", f"--net=/proc/{holder.pid}/ns/net"), environment)
        stack.callback(_kill_all, cluster)
        cluster.start()
        yield cluster


def _wait_for(log: Path, words: bytes, process: subprocess.Popen[bytes]) -> None:
    for _ in range(900):
        if log.exists() and words in log.read_bytes():
            return
        if process.poll() is not None:
            break
        time.sleep(0.1)
    cannot_run(f"Ray did not come up: {log.read_text(errors='replace')[-600:] if log.exists() else 'no log'}")


def _kill_all(cluster: RayCluster) -> None:
    while cluster.nodes:
        cluster.kill_node()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()
