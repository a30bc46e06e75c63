"""The port behind which a task's command is started: a process of the environment, or a container of the image.

A launcher starts one command and says how it is asked to end and how it is ended; everything else (limits of time, streams, what is
kept) is the same for all, and no launcher's business. Many threads may begin tasks of one launcher at once.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from wherry.model.job import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt at one task. `job` is the task as a job: its command, limits, variables; `folder` has ``outputs``, ``metrics``.

    `inputs` has the declared inputs, to be read only; None where there are none.
    `name` is unique; `mark` (``NAME=value``) stands in the surroundings of all that the attempt starts.
    """

    job: Job
    index: int
    number: int
    folder: Path
    inputs: Path | None = None

    @property
    def name(self) -> str:
        return f"{self.job.id}.{self.index}.{self.number}"

    @property
    def mark(self) -> str:
        return f"WHERRY_ATTEMPT={self.name}"


class Begun(Protocol):
    """An attempt's command, begun."""

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """Its `stdout` and `stderr` are pipes; its end is the command's."""
        ...

    def ask(self) -> None:
        """Ask the command to end, without waiting."""
        ...

    def end(self) -> None:
        """End at once whatever is left of it; called in any case, when the command has ended too."""
        ...

    def read_code(self, code: int) -> int:
        """The command's exit code, from the process's."""
        ...


class Launcher(Protocol):
    """How commands are started. What is wrong with this machine, not with the task, is a `WherryError`: no task fails for it."""

    def begin(self, attempt: Attempt) -> Begun:
        """Start an attempt's command. One that is not there, or cannot be run, is a `CommandError`."""
        ...


class CommandError(Exception):
    """The command itself cannot be started: its author's mistake. `code` is what a shell would give."""

    def __init__(self, what: str, code: int) -> None:
        super().__init__(what)
        self.code = code
