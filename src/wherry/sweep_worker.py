"""A sweep's worker: ``python -m wherry.sweep_worker STATE SWEEP [--slots N] [--of WORKERS]``, started by backends on each node.

Which worker it is stands in WHERRY_TASK. It reads the spec, proves once that what tasks run in is what the lock says, and runs
tasks until none is left. Exit codes: 0, nothing is left for it; 143, it was asked to end; else trouble of this machine, told on
stderr and in its last sign of life.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from wherry.check.folders import examine_environment
from wherry.engines.bubblewrap import BubblewrapEngine
from wherry.engines.docker_like import DockerLikeEngine
from wherry.engines.root_file_engine import ANY, FileContainers, find_root_file_engine
from wherry.engines.root_files import provide_root_file
from wherry.errors import EngineError, JobError, WherryError
from wherry.model.sweep import SweepSpec
from wherry.run.backends.container import choose_engine
from wherry.run.environments import find_environment
from wherry.run.launch import load_image, pick_runnable
from wherry.run.sweep_container import ContainerLauncher
from wherry.run.sweep_inputs import TaskInputs
from wherry.run.sweep_launch import Launcher
from wherry.run.sweep_process import ProcessLauncher
from wherry.run.sweep_state import SweepState, spell
from wherry.run.sweep_tasks import Place, run_tasks
from wherry.run.sweep_watch import StopSign
from wherry.store.disk import DiskStore
from wherry.store.host import read_host_name
from wherry.store.objects_open import open_objects
from wherry.store.places import inputs_path, root_files_path, store_path

_STOPPED = 143
_FALSE = ("altered-file", "missing-file", "extra-file")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a worker to its end."""
    parser = argparse.ArgumentParser(prog="python -m wherry.sweep_worker")
    parser.add_argument("state")
    parser.add_argument("sweep")
    parser.add_argument("--slots", type=int, default=1)
    parser.add_argument("--of", type=int, default=1)
    asked = parser.parse_args(arguments)
    stop = StopSign()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.give())
    try:
        return _work(asked, os.environ, stop)
    except WherryError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _work(asked: argparse.Namespace, env: Mapping[str, str], stop: StopSign) -> int:
    state = SweepState(open_objects(asked.state, env, _say), asked.sweep)
    spec = state.read_spec()
    host, number = read_host_name(), int(env.get("WHERRY_TASK", "0"))
    with tempfile.TemporaryDirectory(prefix="wherry-sweep-") as scratch:
        place = Place(
            worker=f"{spell(host)}.{os.getpid()}.{os.urandom(3).hex()}",
            host=host,
            round=env.get("WHERRY_JOB", ""),
            scratch=Path(scratch),
            slots=asked.slots,
            share=(number % asked.of, asked.of),
        )
        try:
            launcher = open_launcher(spec, env)
        except WherryError as error:
            state.write_beat(replace(place.describe(), trouble=str(error), over=True))
            raise
        inputs = TaskInputs(spec.sweep, inputs_path(env), env, stop, _say)
        run_tasks(state, spec, range(len(spec)), launcher, place, stop, inputs)
    return _STOPPED if stop.given else 0


def open_launcher(spec: SweepSpec, env: Mapping[str, str]) -> Launcher:
    """What starts a sweep's tasks on this machine, proven to be what the lock says."""
    if spec.image is not None:
        return _open_containers(spec, env)
    prefix = Path(spec.prefix) if spec.prefix else None
    if prefix is not None:
        prove_environment(prefix, spec)
    return ProcessLauncher(env, prefix, spec.variables, conda=spec.conda)


def _open_containers(spec: SweepSpec, env: Mapping[str, str]) -> ContainerLauncher:
    """An image is what its ID says: engines and the store hold it to that."""
    store = DiskStore(store_path(env))
    stored, image = pick_runnable(store, str(spec.image))
    if (of_files := find_root_file_engine(spec.engine or "", env)) is not None:
        file = provide_root_file(store, stored, of_files.form, root_files_path(env), env)
        containers = FileContainers(of_files, image, file, env)
        containers.try_out()
        return ContainerLauncher(containers, image, spec.network)
    engine = choose_engine(None if spec.engine == ANY else spec.engine, env)
    load_image(store, stored, image, engine, _say)
    if not isinstance(engine, DockerLikeEngine | BubblewrapEngine):
        raise EngineError(f"no sweep runs in {engine.name}")
    return ContainerLauncher(engine, image, spec.network)


def prove_environment(prefix: Path, spec: SweepSpec) -> None:
    """An error unless the environment was made from the sweep's lock, and each file still is what its package's RECORD says."""
    record = find_environment(prefix)
    if record.lock != spec.lock:
        raise JobError("the environment is another one than the sweep's lock says", where=str(prefix), hint="wherry env create")
    found = [one for one in examine_environment(prefix, files=True).findings if one.rule in _FALSE]
    if found:
        raise JobError(f"the environment is not what its lock says: {found[0].what}", where=str(prefix), hint="wherry env create")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
