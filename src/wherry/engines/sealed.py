"""Runs somebody else's program sealed off, by bubblewrap: no network, no host, no privilege, an end in time.

Its root is a tree that the caller names, read-only; it sees the folders that the caller places, and nothing else of this
machine. What it prints is kept to its last `TAIL` bytes. It is ended with all its children when its time is over, when it has
written more than it may, or when we die.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from wherry.engines.bubblewrap import REMEDY
from wherry.engines.process import find_program, shorten_errors
from wherry.engines.sandbox import Placed, plan_mounts
from wherry.errors import EngineError

TAIL = 16 * 1024
_ID = "1000"
_GLANCE = 1.0  # seconds between two looks at what it has written


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedFolder:
    """A folder of this machine at `target` in the sandbox."""

    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedEnd:
    """`code` is the program's, negative for a signal; `output` the end of what it printed.

    `in_time` and `in_bounds` are False if it was ended because of its time, or of what it wrote.
    """

    code: int
    output: str
    in_time: bool = True
    in_bounds: bool = True


def run_sealed(
    root: Path,
    command: Sequence[str],
    folders: Sequence[SealedFolder],
    *,
    workdir: str,
    variables: Mapping[str, str],
    env: Mapping[str, str],
    timeout: float,
    room: int,
) -> SealedEnd:
    """Run `command` with `variables` as its whole environment. `env` is where bubblewrap itself is looked for.

    `room` is how many bytes may lie in the writable folders.
    """
    program = find_program("bwrap", env)
    if program is None:
        raise EngineError("bubblewrap is not installed: nothing is built without a sandbox", hint="apt install bubblewrap")
    arguments = [program, "--unshare-all", "--unshare-user", "--uid", _ID, "--gid", _ID, "--hostname", "build", "--cap-drop", "ALL"]
    arguments += ["--die-with-parent", "--new-session", *plan_mounts(root, tuple(_placed(folders)))]
    arguments += ["--chdir", workdir, "--clearenv"]
    for key, value in variables.items():
        arguments += ["--setenv", key, value]
    writable = [folder.source for folder in folders if folder.writable]
    end = _await_end([*arguments, "--", *command], env, timeout, writable, room)
    if end.code != 0 and end.output.startswith("bwrap: "):
        raise EngineError(f"the sandbox does not start: {shorten_errors(end.output.encode())}", hint=REMEDY)
    return end


def _placed(folders: Sequence[SealedFolder]) -> list[Placed]:
    memory = ("--perms", "1777", "--tmpfs", "/tmp")  # noqa: S108
    placed = [
        Placed(target="/proc", options=("--proc", "/proc")),
        Placed(target="/dev", options=("--dev", "/dev")),
        Placed(target="/tmp", options=memory),  # noqa: S108
    ]
    for folder in folders:
        bind = "--bind" if folder.writable else "--ro-bind"
        placed.append(Placed(target=folder.target, options=(bind, str(folder.source), folder.target)))
    return placed


def _await_end(arguments: list[str], env: Mapping[str, str], timeout: float, writable: Sequence[Path], room: int) -> SealedEnd:
    late, beyond, ended = threading.Event(), threading.Event(), threading.Event()
    try:
        process = subprocess.Popen(
            arguments, env=dict(env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
    except OSError as error:
        raise EngineError(f"cannot start {arguments[0]}: {error.strerror}") from error

    def end(why: threading.Event) -> None:
        why.set()
        process.kill()

    def watch() -> None:
        while not ended.wait(_GLANCE):
            if sum(map(_measure, writable)) > room:
                end(beyond)
                break

    timer, watcher = threading.Timer(timeout, end, (late,)), threading.Thread(target=watch, daemon=True)
    timer.start()
    watcher.start()
    tail = b""
    with process:
        try:
            assert process.stdout is not None  # noqa: S101 - tells the type checker
            while chunk := process.stdout.read(1 << 16):
                tail = (tail + chunk)[-TAIL:]
        except BaseException:
            process.kill()
            raise
        finally:
            timer.cancel()
            ended.set()
            watcher.join()
    output = tail.decode("utf-8", "replace")
    return SealedEnd(code=process.returncode, output=output, in_time=not late.is_set(), in_bounds=not beyond.is_set())


def _measure(folder: Path) -> int:
    """The bytes that a folder takes on the disk; what goes away meanwhile, or lies too deep for any path, counts for nothing."""
    taken, waiting = 0, [str(folder)]
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                taken += entry.stat(follow_symlinks=False).st_blocks * 512
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
    return taken
