"""Runs a command as a whole process and takes its time and, when asked, the memory of its whole process tree.

Time is the wall clock from before the process is started until it has ended. Memory is the greatest sum of resident
sets seen over the tree of the command and of the daemons named by `beside`, looked at every 50 ms; shared pages count
once per process, so it is an upper bound, but a peak between two looks is missed. The kernel's own high-water mark of
the greatest single process is taken as the lower bound. Where it is asked for, pages are divided among those that share
them, which is what a device needs for all together. Looking costs a little time: only ask where a run is long.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
_LOOK = 0.05  # seconds between two looks at the memory


class NotMeasured(Exception):
    """Something could not be measured; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One process that ended well. `peak` is in bytes, 0 when it was not asked for."""

    seconds: float
    peak: int = 0
    output: str = ""

    def __add__(self, other: Run) -> Run:
        """Two steps, one after the other."""
        return Run(seconds=self.seconds + other.seconds, peak=max(self.peak, other.peak), output=self.output + other.output)


def run_process(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    memory: bool = False,
    beside: Iterable[int] = (),
    talk: bool = False,
    shared_once: bool = False,
) -> Run:
    """Run a command to its end. One that fails is `NotMeasured`, with the end of what it said.

    `beside` are process ids of daemons that work for the command; `talk` keeps stderr in `output`, too; `shared_once` counts
    shared pages once.
    """
    words = [str(word) for word in command]
    errors = subprocess.STDOUT if talk else subprocess.PIPE
    start = time.perf_counter()
    try:
        process = subprocess.Popen(
            words, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, close_fds=True
        )
    except OSError as error:
        raise NotMeasured(f"{words[0]} does not start: {error}") from error
    watch = _Watch((process.pid, *beside), _proportional if shared_once else _resident) if memory else None
    out, err = process.communicate()
    seconds = time.perf_counter() - start
    peak = watch.stop() if watch else 0
    if process.returncode != 0:
        said = (err or out or b"").decode(errors="replace").strip()
        raise NotMeasured(f"`{shlex.join(words)[:200]}` ended with {process.returncode}: {said[-600:]}")
    return Run(seconds=seconds, peak=peak, output=out.decode(errors="replace"))


class _Watch:
    """Looks at the memory of process trees until it is stopped."""

    def __init__(self, roots: Iterable[int], weigh: Callable[[int], int]) -> None:
        self._roots, self._weigh = tuple(roots), weigh
        self._peak = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        self._ended.set()
        self._thread.join()
        return self._peak

    def _look(self) -> None:
        while not self._ended.wait(_LOOK):
            tree = {pid for root in self._roots for pid in descend(root)}
            highest = max((_high_water(pid) for pid in tree), default=0)
            self._peak = max(self._peak, highest, sum(self._weigh(pid) for pid in tree))


def descend(root: int) -> list[int]:
    """A process and all that descend from it and live."""
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        try:
            for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - called often
                with open(f"/proc/{pid}/task/{task}/children") as file:  # noqa: PTH123
                    waiting += [int(child) for child in file.read().split()]
        except OSError:
            continue
    return found


def _resident(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm") as file:  # noqa: PTH123
            return int(file.read().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0


def _proportional(pid: int) -> int:
    """A process's own pages, and its share of those that others have too."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return _resident(pid)
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def _high_water(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/status") as file:  # noqa: PTH123
            return next((int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM")), 0)
    except (OSError, IndexError, ValueError):
        return 0


def clear_folder(folder: Path) -> None:
    """Remove a folder with all that is mounted in it, which container tools leave behind when they are interrupted."""
    try:
        mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        mounts = []
    inside = [place for place in mounts if Path(place).is_relative_to(folder.resolve())]
    for place in sorted(inside, reverse=True):
        subprocess.run(["umount", "--lazy", place], check=False, stderr=subprocess.DEVNULL)
    shutil.rmtree(folder, ignore_errors=True)


def export_commit(root: Path, commit: str, folder: Path) -> Path:
    """The files of a commit of the repository at `root`, laid out in `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    packed = folder.with_suffix(".tar")
    run_process(["git", "-C", root, "archive", "-o", packed, commit])
    run_process(["tar", "-xf", packed, "-C", folder])
    packed.unlink()
    return folder


def tell(text: str) -> None:
    """What is going on, for the person who waits; results go to stdout."""
    print(f"bench: {text}", file=sys.stderr, flush=True)
