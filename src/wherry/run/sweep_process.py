"""Starts tasks as processes of the project's environment, each in a group of its own.

A limit of memory is the kernel's, and each process's; processors and GPUs are each task's own. What a task leaves running in its
group is ended with it; what left the group is found by its mark when it has to be.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from wherry.engines.process import NOT_FOUND
from wherry.engines.sandbox_process import end_processes
from wherry.model.job import Limits
from wherry.run.activation import environment_values
from wherry.run.sweep_launch import Attempt, CommandError
from wherry.run.sweep_shares import VISIBLE, Shares
from wherry.run.variables import INPUTS_VARIABLE, list_variables
from wherry.store.posix import end_group, on_processors, signal_group

_CANNOT_RUN = 126
# A limit of memory is set by a shell between us and the command: were it set here, other threads would have it meanwhile.
_LIMITED = ("/bin/sh", "-c", 'ulimit -d "$1" && shift && exec "$@"', "sh")


class ProcessLauncher:
    """`env` is what commands inherit. `prefix` is the environment's, None for this machine's own programs."""

    def __init__(self, env: Mapping[str, str], prefix: Path | None, variables: Mapping[str, str], *, conda: bool = False) -> None:
        values = environment_values(prefix, variables, conda=conda) if prefix else {}
        inherited = {key: value for key, value in env.items() if key not in ("PYTHONHOME", "PYTHONPATH")}
        path = inherited.get("PATH", "/usr/local/bin:/usr/bin:/bin")
        self._shares = Shares.of_machine(env)
        self._env = {**inherited, **values, "PATH": f"{prefix}/bin:{path}" if prefix else path}

    def begin(self, attempt: Attempt) -> BegunProcess:
        job = attempt.job
        own = list_variables(job, attempt.index, str(attempt.folder))
        env = {**self._env, **dict(job.env), **own, "WHERRY_ATTEMPT": attempt.name}
        if attempt.inputs is not None:
            env[INPUTS_VARIABLE] = str(attempt.inputs)
        share = self._shares.take(job.limits)
        if share.gpus is not None:
            env[VISIBLE] = ",".join(share.gpus)
        try:
            with on_processors(share.processors):
                process = _start((*limit_memory(job.limits), *job.command), job.root, env)
        except BaseException:
            self._shares.give_back(share)
            raise
        return BegunProcess(process, attempt.mark, partial(self._shares.give_back, share))


class BegunProcess:
    """A task's first process, the leader of its group."""

    def __init__(self, process: subprocess.Popen[bytes], mark: str, then: Callable[[], None]) -> None:
        self.process = process
        self._mark = mark
        self._then = then
        self._asked = False

    def ask(self) -> None:
        self._asked = True
        signal_group(self.process.pid, signal.SIGTERM)

    def end(self) -> None:
        end_group(self.process.pid)
        if self._asked:
            # It did not end by itself: whatever left its group is looked for, which takes a look at every process.
            end_processes(self._mark)
        self._then()

    def read_code(self, code: int) -> int:
        return 128 - code if code < 0 else code


def limit_memory(limits: Limits) -> tuple[str, ...]:
    """The words before a command by which each of its processes has so much memory, in KiB for `ulimit`."""
    return () if limits.memory is None else (*_LIMITED, str(limits.memory >> 10))


def _start(command: Sequence[str], folder: str, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            command,
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            process_group=0,
        )
    except FileNotFoundError as error:
        raise CommandError(f"{error.filename}: not found", NOT_FOUND) from error
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}", _CANNOT_RUN) from error
