"""Debian's Slurm on loopback: munge, a controller and two nodes, all below one folder, without systemd or accounting.

Nodes are simulated by two `slurmd` of one machine, with more processors than it has. What the controller needs to be found is in
the environment that `SlurmCluster.environment` gives.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import cannot_run, require_tool
from tests.engines.daemons import run_process

NODES = ("n1", "n2")
_CONFIG = """\
ClusterName=wherry
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
CryptoType=crypto/munge
SlurmctldPort={ports[0]}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdSpoolDir={folder}/spool-%n
StateSaveLocation={folder}/state
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=5,batch_sched_delay=0,bf_interval=5
MpiDefault=none
ReturnToService=2
MessageTimeout=3
SlurmdParameters=config_overrides
SlurmdTimeout=60
MaxArraySize=5001
MaxJobCount=20000
JobRequeue=1
KillWait=2
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=16 RealMemory=2000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=16 RealMemory=2000
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""


@dataclass
class SlurmCluster:
    """A running cluster. `environment` is what its commands need."""

    folder: Path
    environment: dict[str, str]
    controller: subprocess.Popen[bytes] | None = None

    def call(self, *argv: str) -> str:
        done = subprocess.run(argv, env=self.environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{argv}: {done.stderr}"
        return done.stdout

    def kill_controller(self) -> None:
        """As the machine's end would."""
        assert self.controller is not None
        self.controller.kill()
        self.controller.wait()

    def stop_controller(self) -> None:
        if self.controller is not None:
            end_process(self.controller)

    def start_controller(self) -> None:
        self.controller = self._start("slurmctld")

    def _start(self, program: str, *options: str) -> subprocess.Popen[bytes]:
        argv = [program, "-D", "-f", str(self.folder / "slurm.conf"), *options]
        with (self.folder / "daemons.out").open("ab") as out:
            return subprocess.Popen(argv, env=self.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def wait_for_nodes(self) -> None:
        """Until all of them are idle. Those that a crash of the controller left drained are brought back, as people have to."""
        for _ in range(300):
            done = subprocess.run(["sinfo", "-h", "-o", "%T %D"], env=self.environment, capture_output=True, text=True, timeout=60)
            if done.stdout.split() == ["idle", str(len(NODES))]:
                return
            if "drained" in done.stdout:
                subprocess.run(
                    ["scontrol", "update", f"nodename={','.join(NODES)}", "state=resume"], env=self.environment, timeout=60
                )
            time.sleep(0.1)
        logs = "".join(path.read_text(errors="replace")[-600:] for path in sorted(self.folder.glob("slurm*.log")))
        cannot_run(f"Slurm's nodes are not idle: {logs}")

    @contextmanager
    def run_node(self, name: str) -> Iterator[subprocess.Popen[bytes]]:
        process = self._start("slurmd", "-N", name)
        try:
            yield process
        finally:
            end_process(process)


@contextmanager
def run_slurm(folder: Path) -> Iterator[SlurmCluster]:
    """The cluster, up and idle. Its daemons end with the block, and so do jobs that still run."""
    require_tool("munged", "slurmctld", "slurmd", "sbatch")
    if os.geteuid() != 0:
        cannot_run("Slurm's daemons want root")
    cluster = SlurmCluster(folder=folder, environment=_lay_out(folder))
    munge = ["munged", "--foreground", "--force", f"--key-file={folder}/munge.key", f"--socket={folder}/munge.sock"]
    rest = [f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log", f"--seed-file={folder}/munged.seed"]
    with ExitStack() as stack:
        stack.enter_context(run_process([*munge, *rest], folder / "munged.out", (folder / "munge.sock").exists))
        cluster.start_controller()
        stack.callback(cluster.stop_controller)
        for node in NODES:
            stack.enter_context(cluster.run_node(node))
        stack.callback(_cancel_jobs, cluster)
        cluster.wait_for_nodes()
        yield cluster


def end_process(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _lay_out(folder: Path) -> dict[str, str]:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    (folder / "state").mkdir()
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    config = folder / "slurm.conf"
    with ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        ports = [server.getsockname()[1] for server in servers]
    config.write_text(_CONFIG.format(host=socket.gethostname().split(".")[0], folder=folder, ports=ports))
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "SLURM_CONF": str(config)}


def _cancel_jobs(cluster: SlurmCluster) -> None:
    subprocess.run(["scancel", "--signal=KILL", "--user=root"], env=cluster.environment, capture_output=True, timeout=60)
