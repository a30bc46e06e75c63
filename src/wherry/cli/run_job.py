"""`wherry run --on TARGET`: a command as a job, watched to its end or left to itself."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from wherry.cli.talk import say
from wherry.declare.targets import parse_limits
from wherry.environment_preparation import OpenProject, prepare_environment
from wherry.errors import DeclarationError, JobError, UsageError
from wherry.jobs import Jobs, JobWish, target_of
from wherry.model.job import BackendKind, JobRecord, Limits, Target
from wherry.run.backends.local import LocalBackend

if TYPE_CHECKING:
    from wherry.pipeline import Project
    from wherry.run.backends.container import ContainerBackend

_GRACE = 10.0
_QUICKLY, _SLOWLY = 0.005, 0.1  # seconds between two looks at a job's files
_PIECE = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """What the command line says of a job, as it was written."""

    env: Sequence[str] = ()
    cpus: float | None = None
    memory: str | None = None
    gpus: str | None = None
    time: str | None = None
    network: str | None = None
    detach: bool = False
    seed: int | None = None


def run_job(target: Target, command: tuple[str, ...], project: Path, options: JobOptions) -> int:
    """Begin a job and watch it to its end; the command's exit code."""
    root = project.resolve()
    if not root.is_dir():
        raise DeclarationError("there is no such folder", where=str(project))
    open_project = open_once(root)
    words = complete_command(command, root) or open_project().declare().entrypoint
    if not words:
        raise UsageError("a job of what? The project has no entrypoint", hint="wherry run --on TARGET COMMAND…")
    wish = _wish(root, target, words, options)
    return _carry_out(wish, open_project, options)


def run_again(text: str, options: JobOptions) -> int:
    """Do a job of before again, as far as that is possible; what cannot be the same is said."""
    former = Jobs(os.environ, say).find(text)
    root = Path(former.project)
    if not root.is_dir():
        raise JobError(f"the project of job {former.id} is gone", where=former.project)
    recorded = [key if value is None else f"{key}={value}" for key, value in former.env.items()]
    wish = _wish(root, target_of(former), former.command, replace(options, env=(*recorded, *options.env)))
    return _carry_out(replace(wish, again=former), open_once(root), options)


def complete_command(command: tuple[str, ...], root: Path) -> tuple[str, ...]:
    """A script of the project's is run by the environment's Python."""
    if command and command[0].endswith(".py") and (root / command[0]).is_file():
        return ("python", *command)
    return command


def _read_given(env: Sequence[str]) -> tuple[tuple[str, str], ...]:
    from wherry.run.grammar import parse_env  # it loads what engines are told, too

    return parse_env(env, os.environ)


def _wish(root: Path, target: Target, command: tuple[str, ...], options: JobOptions) -> JobWish:
    given = _read_given(options.env) if options.env else ()
    target = replace(target, network=options.network) if options.network else target
    return JobWish(
        root=root,
        name=root.name,
        target=target,
        command=command,
        limits=_parse_limits(options),
        env=tuple({**dict(target.env), **dict(given)}.items()),
        passed=frozenset(text for text in options.env if "=" not in text),
        seed=options.seed,
    )


def _parse_limits(options: JobOptions) -> Limits:
    written = {"cpus": options.cpus, "memory": options.memory, "gpus": options.gpus, "time": options.time}
    try:
        return parse_limits(written, "--", dot="")
    except DeclarationError as error:
        raise UsageError(error.what, where=error.where, hint=error.hint) from error


def open_once(root: Path) -> OpenProject:
    """The project, loaded when it is asked for and once."""

    @cache
    def open_project() -> Project:
        from wherry.pipeline import Project  # the resolver and the layouts load when there is something to make

        return Project(root, say=say)

    return open_project


def _carry_out(wish: JobWish, open_project: OpenProject, options: JobOptions) -> int:
    jobs = Jobs(os.environ, say)
    stdin = not options.detach and not sys.stdin.isatty()
    record = jobs.begin(wish, partial(_open_backend, wish, open_project, stdin))
    if options.detach:
        print(record.id)
        return 0
    say(f"job {record.id}")
    return watch_job(jobs, record)


def _open_backend(
    wish: JobWish, open_project: OpenProject, stdin: bool, then: Callable[[], None]
) -> LocalBackend | ContainerBackend:
    target = wish.target
    if target.backend is BackendKind.LOCAL:
        return LocalBackend(os.environ, partial(prepare_environment, wish.root, os.environ, open_project), stdin=stdin, then=then)
    # Engines load when there is a container to start.
    from wherry.preparation import prepare_image
    from wherry.run.backends.container import ContainerBackend

    materialise = partial(prepare_image, wish.root, os.environ, open_project)
    return ContainerBackend(os.environ, target.engine, materialise, say=say, stdin=stdin, then=then, network=target.network)


def watch_job(jobs: Jobs, record: JobRecord) -> int:
    """Show what a job prints until it has ended; its exit code. Our own end (Ctrl-C, SIGTERM) is the job's, too."""
    received: list[int] = []

    def stop(number: int, _frame: object) -> None:
        # A thread, so that a second signal gets through while the first one's `cancel` waits.
        received.append(number)
        grace = _GRACE if len(received) == 1 else 0.0
        threading.Thread(target=_cancel, args=(jobs, record, grace), daemon=True).start()

    former = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        follow_logs(jobs, record)
    except BrokenPipeError:
        _cancel(jobs, record, _GRACE)
        raise
    finally:
        for number, action in former.items():
            signal.signal(number, action)
    if received:
        return 128 + received[0]
    # The supervisor writes the record meanwhile; only of a lost job that is left to whoever looks.
    end = jobs.look(record)
    if end.exit_code is None:
        jobs.settle(record)
        raise JobError(f"job {record.id} is lost: whoever watched it was killed", hint=f"wherry run --again {record.id}")
    return end.exit_code


def _cancel(jobs: Jobs, record: JobRecord, grace: float) -> None:
    jobs.cancel(record, grace)


def follow_logs(jobs: Jobs, record: JobRecord, *, once: bool = False) -> None:
    """Print what a job has printed and prints, until it has ended; `once`: until now."""
    job, backend = jobs.job_of(record), jobs.backend_of(record)
    logs = backend.logs(job, 0)
    with _open_pumps({logs.stdout: sys.stdout.buffer, logs.stderr: sys.stderr.buffer}) as pump:
        pause = _QUICKLY
        while True:
            over = once or all(end.state.is_final for end in backend.poll(job).values())
            moved = pump()
            if over:
                return
            pause = _QUICKLY if moved else min(pause * 1.2, _SLOWLY)
            time.sleep(pause)


@contextmanager
def _open_pumps(ends: Mapping[Path, BinaryIO]) -> Iterator[Callable[[], bool]]:
    """A function that hands on what came since its last call, and says whether something did."""
    opened: dict[Path, BinaryIO] = {}

    def pump() -> bool:
        moved = False
        for path, sink in ends.items():
            if path not in opened:
                with suppress(FileNotFoundError):
                    opened[path] = path.open("rb", buffering=0)
            while path in opened and (piece := opened[path].read(_PIECE)):
                sink.write(piece)
                sink.flush()
                moved = True
        return moved

    try:
        yield pump
    finally:
        for file in opened.values():
            file.close()
