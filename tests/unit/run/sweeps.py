"""Sweeps for tests: a spec, a store, workers as they are, without any backend."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from wherry.errors import WherryError
from wherry.model.sweep import Axis, Beat, Parameters, Sweep, SweepSpec
from wherry.run.sweep_inputs import TaskInputs
from wherry.run.sweep_launch import Launcher
from wherry.run.sweep_process import ProcessLauncher
from wherry.run.sweep_state import SweepState
from wherry.run.sweep_tasks import Place, run_tasks
from wherry.run.sweep_watch import StopSign
from wherry.store.objects import ObjectStore
from wherry.store.objects_memory import MemoryObjects

BEAT = 0.05
# Processes are ended by it, and not those of tests that run at the same time.
NAME = f"trial-{os.environ.get('PYTEST_XDIST_WORKER', '1')}"


def make_state(
    root: Path, script: str, tasks: int = 3, store: ObjectStore | None = None, name: str = NAME, **more: object
) -> SweepState:
    """A sweep that was begun: `script` is the shell's, with ``{i}`` for the parameter. Backends end what has `name` for its job."""
    parameters = Parameters(axes=(Axis(name="i", values=tuple(range(tasks))),))
    sweep = Sweep(name="trial", command=("sh", "-c", script), parameters=parameters, **more)  # type: ignore[arg-type]
    spec = SweepSpec(
        id=name,
        sweep=sweep,
        target="here",
        backend="local",
        root=str(root),
        owner="me",
        created=0.0,
        beat=BEAT,
        log_cap=200_000,
    )
    state = SweepState(store or MemoryObjects(), spec.id)
    assert state.create(spec)
    return state


class Crew:
    """Workers in this process, one after the other or in threads. Their names are this crew's own: processes are ended by them."""

    def __init__(self, state: SweepState, scratch: Path, launcher: Launcher | None = None) -> None:
        self.state = state
        self.scratch = scratch
        self.launcher = launcher or ProcessLauncher(os.environ, None, {})
        self.stop = StopSign()
        self.inputs: TaskInputs | None = None
        self.errors: list[WherryError] = []
        self._own = os.urandom(4).hex()

    def name(self, worker: str) -> str:
        return f"{worker}.{self._own}"

    def work(self, name: str = "w1", indices: Iterable[int] | None = None, slots: int = 2, grace: float = 0.2) -> Beat | None:
        spec = self.state.read_spec()
        folder = self.scratch / name
        folder.mkdir(parents=True)
        place = Place(worker=self.name(name), host="here", scratch=folder, slots=slots, grace=grace)
        try:
            asked = range(len(spec)) if indices is None else indices
            return run_tasks(self.state, spec, asked, self.launcher, place, self.stop, self.inputs)
        except WherryError as error:
            self.errors.append(error)
            return None
        finally:
            with suppress(OSError):
                folder.rmdir()  # it is empty, or a test says so

    def text(self, task: int, path: str = "stdout", attempt: int = 0) -> str | None:
        held = self.state.store.get(self.state.attempt_key(task, attempt, path))
        return None if held is None else held.data.decode()


MakeCrew = Callable[..., Crew]
