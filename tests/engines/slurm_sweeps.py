"""Whole sweeps on a cluster of Slurm's: begun, driven, looked at from the store, the queue and the list of processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from tests.engines.slurm_cluster import SlurmCluster
from wherry.model.sweep import Axis, Parameters, Sweep, SweepSpec
from wherry.run.backends.slurm import SlurmBackend
from wherry.run.sweep_driver import Post, SweepDriver
from wherry.run.sweep_state import SweepState
from wherry.run.sweep_status import SweepStatus
from wherry.run.sweep_watch import StopSign
from wherry.store.objects_folder import FolderObjects
from wherry.store.posix import fork_process, wait_for_process

Look = Callable[[SweepStatus], None]
WORKER = (sys.executable, "-m", "wherry.sweep_worker")
_KILLED = 9


class Yard:
    """One sweep, of a name of its own: processes are found, and ended, by it. Its tasks' script has the folder as ``$yard``.

    A task that says ``begin`` writes its attempt down, and ``wait NAME`` goes on when the test says `go(NAME)`.
    """

    def __init__(self, cluster: SlurmCluster, place: Path) -> None:
        self.cluster = cluster
        self.place = place
        self.said: list[str] = []

    def begin(self, script: str, tasks: int, **more: object) -> SweepState:
        prelude = (
            (
                f'yard="{self.place}"; begin() {{ echo "$WHERRY_ATTEMPT $PPID" >> "$yard/begun"; }}; '
                'wait() { while [ ! -e "$yard/${1:-go}" ]; do sleep 0.05; done; }; '
            )
            .replace("{", "{{")
            .replace("}", "}}")
        )
        own = {key: more.pop(key) for key in ("image", "engine", "engine_args") if key in more}
        parameters = Parameters(axes=(Axis(name="i", values=tuple(range(tasks))),))
        sweep = Sweep(name="trial", command=("sh", "-c", prelude + script), parameters=parameters, **more)  # type: ignore[arg-type]
        values = {
            "target": "cluster",
            "backend": "slurm",
            "root": str(self.place),
            "owner": "me",
            "created": 0.0,
            "beat": 0.1,
            **own,
        }
        spec = SweepSpec(id=f"trial-{os.urandom(3).hex()}", sweep=sweep, **values)  # type: ignore[arg-type]
        self.state = SweepState(FolderObjects(self.place / "store"), spec.id)
        assert self.state.create(spec)
        return self.state

    def drive(self, look: Look = lambda _status: None, home: str = "here", command: Sequence[str] = WORKER) -> SweepStatus:
        """Drive it to its end, from the machine `home`."""
        spec = self.state.read_spec()
        backend = SlurmBackend(self.cluster.environment, spec.engine_args, self.said.append)
        post = Post(owner="me", host=home, folder=self.place / home, command=tuple(command), env={})
        return SweepDriver(self.state, spec, backend, post, StopSign(), self.said.append, look).drive()

    def drive_and_die(self, when: Callable[[], bool]) -> None:
        """Drive it in a process that is gone, without another word, as soon as something is so."""
        child = fork_process()
        if child == 0:
            try:
                self.drive(lambda _status: os._exit(_KILLED) if when() else None)
            finally:
                os._exit(0)
        assert wait_for_process(child) == _KILLED

    def go(self, name: str = "go") -> None:
        (self.place / name).touch()

    def list_begun(self) -> list[tuple[str, int]]:
        """Attempts that were begun, and the processes of their workers."""
        begun = self.place / "begun"
        lines = begun.read_text().splitlines() if begun.exists() else []
        return [(name.removeprefix(f"{self.state.id}."), int(worker)) for name, worker in (line.split() for line in lines)]

    def read_numbers(self) -> list[str]:
        """The output ``number`` of each task, of the attempt that counts."""
        keys = (
            self.state.attempt_key(task, done.attempt, "outputs/number") for task, done in sorted(self.state.read_ends().items())
        )
        return [held.data.decode() for key in keys if (held := self.state.store.get(key))]

    def list_left(self) -> list[str]:
        """Whatever of the sweep is in the queue or runs: nothing, it is hoped."""
        rows = self.cluster.call("squeue", "--noheader", "--format=%j").split()
        found = [row for row in rows if row.startswith(f"{self.state.id}.")]
        for environment in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                words = environment.read_bytes().split(b"\0")
                if any(word.startswith((b"WHERRY_JOB=", b"WHERRY_ATTEMPT=")) and self.state.id.encode() in word for word in words):
                    found.append(environment.parent.name)
        return found
