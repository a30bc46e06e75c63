"""What an attempt leaves: its streams, metrics and outputs, sent below the attempt's own number before its end is committed."""

from __future__ import annotations

import fnmatch
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from wherry.formats.job_metrics import LONGEST_LINE, JobMetrics, summarise
from wherry.model.job import Output
from wherry.model.sweep import Lease
from wherry.run.sweep_state import SweepState
from wherry.run.sweep_streams import KeptStream
from wherry.store.objects import is_key

STDOUT = "stdout"
STDERR = "stderr"
METRICS_FILE = "metrics"
OUTPUTS_FOLDER = "outputs"


def send_streams(state: SweepState, lease: Lease, streams: Iterable[KeptStream]) -> None:
    """Keep what was printed; a stream that nothing was printed on is not there."""
    for stream in streams:
        if stream.size:
            state.put_file(lease.task, lease.attempt, stream.path.name, stream.path)


def send_metrics(state: SweepState, lease: Lease, path: Path) -> JobMetrics:
    """Keep the metrics, and say what they tell."""
    if not path.is_file() or path.is_symlink():
        return JobMetrics()
    state.put_file(lease.task, lease.attempt, METRICS_FILE, path)
    with path.open("rb") as file:
        return summarise(iter(lambda: file.readline(LONGEST_LINE + 1), b""))


def send_outputs(state: SweepState, lease: Lease, folder: Path, keep: tuple[str, ...]) -> tuple[tuple[Output, ...], str | None]:
    """Keep the regular files of an outputs folder that match one of the patterns, or all, and can be read. No link is followed.

    The other value says which one no store can have by its name.
    """
    found, refused = [], None
    for path, name in _list_files(folder):
        if keep and not any(fnmatch.fnmatchcase(name, pattern) for pattern in keep):
            continue
        if not is_key(state.attempt_key(lease.task, lease.attempt, f"{OUTPUTS_FOLDER}/{name}")):
            refused = f"an output's name is too long to be kept: {_render_name(name)[:100]}"
            continue
        try:
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                size = os.fstat(file.fileno()).st_size
        except OSError:
            continue  # what its own task made unreadable is nobody's
        state.put_file(lease.task, lease.attempt, f"{OUTPUTS_FOLDER}/{name}", path)
        found.append(Output(path=_render_name(name), size=size, sha256=sha256))
    return tuple(found), refused


def _render_name(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _list_files(folder: Path) -> Iterator[tuple[Path, str]]:
    if folder.is_symlink():
        return  # its task has put a link in its place
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(place, name)
            if path.is_file() and not path.is_symlink():
                yield path, path.relative_to(folder).as_posix()
