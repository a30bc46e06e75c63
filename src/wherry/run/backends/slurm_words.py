"""What Slurm's programs are asked, and how their answers are read: words and texts alone, no process and no file.

Knows options of `sbatch`, and the rows of `squeue` and `sinfo` in the formats that are asked for (man pages of Slurm 20.11 on).
"""

from __future__ import annotations

import argparse
import math
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from wherry.model.job import Job, Limits
from wherry.run.tasks import task_folder
from wherry.run.variables import name_worker

EXIT_CODE = "exit-code"  # the file in which a worker's script says how it ended
_KILL_AFTER = 30  # seconds between the asking and the ending of a worker whose time is up
_PASSED = "PATH,HOME,USER,LOGNAME,LANG,TMPDIR,XDG_CONFIG_HOME,XDG_DATA_HOME,XDG_CACHE_HOME,WHERRY_STORE,WHERRY_CACHE"
QUEUE_FORMAT = "%F|%K|%T|%r"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRow:
    """An element of an array, as squeue tells it."""

    array: str
    index: int
    state: str
    reason: str


def render_share(limits: Limits, slots: int) -> tuple[str, ...]:
    """What a worker with so many tasks at once takes of its node; with all its GPUs, the whole node."""
    share = [f"--cpus-per-task={math.ceil(slots * (limits.cpus or 1.0))}"]
    if limits.memory is not None:
        share.append(f"--mem={math.ceil(slots * limits.memory / (1 << 20))}M")
    if limits.gpus is not None:
        share.append("--exclusive" if limits.gpus == "all" else f"--gres=gpu:{limits.gpus}")
    return tuple(share)


def render_defaults(job: Job) -> tuple[str, ...]:
    """What words of the user's may change: the deadline as Slurm's own limit, in minutes, and which variables go along.

    Of the surroundings that is what finds programs and folders, and no credentials. Slurm adds what a login shell sets on the node.
    """
    minutes = () if job.limits.seconds is None else (f"--time={math.ceil((job.limits.seconds + _KILL_AFTER) / 60)}",)
    return (*minutes, f"--export={_PASSED}")


def find_partition(words: Sequence[str]) -> str | None:
    """The partition that words for sbatch ask for, in whichever of its spellings; the last one counts."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("-p", "--partition")
    try:
        return str(found) if (found := parser.parse_known_args(list(words))[0].partition) else None
    except argparse.ArgumentError:
        return None  # sbatch will say what is wrong


def render_request(job: Job, indices: Sequence[int]) -> tuple[str, ...]:
    """What sbatch is asked for in any case: by this a round is found and ended."""
    comment = ",".join(f"{name}={value}" for name, value in job.labels)
    streams = str(task_folder(job.folder, 0).parent).replace("%", "%%") + "/%a"
    return (
        "--parsable",
        "--no-requeue",
        "--nodes=1",
        "--ntasks=1",
        f"--array={','.join(map(str, indices))}",
        f"--job-name={job.id}",
        f"--comment={comment}",
        f"--chdir={job.folder}",
        f"--output={streams}/stdout",
        f"--error={streams}/stderr",
    )


def render_script(job: Job) -> str:
    """What a node runs: the worker, which is told of a signal and has its own end in time, and how it ended as a file."""
    exports = [f"export {name}={shlex.quote(value)}" for name, value in (*job.env, *name_worker(job, 0).items())]
    limit = () if job.limits.seconds is None else ("timeout", f"--kill-after={_KILL_AFTER}", f"{job.limits.seconds:g}")
    lines = [
        "#!/bin/sh",
        *exports,
        'export WHERRY_TASK="$SLURM_ARRAY_TASK_ID"',
        f'place={shlex.quote(str(task_folder(job.folder, 0).parent))}/"$SLURM_ARRAY_TASK_ID"',
        f"{shlex.join((*limit, *job.command))} &",
        "child=$!",
        "trap 'kill -TERM \"$child\" 2>/dev/null' TERM",
        'while wait "$child"; code=$?; kill -0 "$child" 2>/dev/null; do :; done',
        f'echo "$code" > "$place/.{EXIT_CODE}" && mv "$place/.{EXIT_CODE}" "$place/{EXIT_CODE}"',
        'exit "$code"',
    ]
    return "\n".join((*lines, ""))


def parse_queue(text: str) -> tuple[QueueRow, ...]:
    """Rows of `QUEUE_FORMAT`. An element that Slurm has not split off yet has its array's rows as one, ``N/A`` among them."""
    return tuple(
        QueueRow(array=array, index=int(index), state=state, reason=reason)
        for array, index, state, reason in split_rows(text, 4)
        if index.isdecimal()
    )


def split_rows(text: str, columns: int) -> Iterator[list[str]]:
    """Rows of so many columns, the last of which may have bars of its own; what people wrote may have broken a line, too."""
    for line in text.splitlines():
        if len(row := line.split("|", columns - 1)) == columns:
            yield row


def is_out(state: str) -> bool:
    """Down, drained, failing, or not answering (``*``), as sinfo's short states say it."""
    return state.startswith(("down", "drain", "drng", "fail", "maint", "unk", "err", "inval", "futr")) or state.endswith("*")
