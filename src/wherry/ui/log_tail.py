"""The end of a job's stream: a log may have gigabytes, a page has some of it, and more on request."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wherry.store.posix import explain_os_errors
from wherry.ui.visible_text import render_terminal_text

TAILS = (64 << 10, 512 << 10, 4 << 20)  # bytes from the end: at first, and on request


@dataclass(frozen=True, slots=True, kw_only=True)
class LogTail:
    """`text` is the end of `size` bytes; `left_out` are the bytes before it."""

    text: str
    size: int
    left_out: int


def read_tail(path: Path, most: int) -> LogTail:
    """The last whole lines within `most` bytes; a stream that is not there yet is empty."""
    with explain_os_errors(path):
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return LogTail(text="", size=0, left_out=0)
        with file:
            size = file.seek(0, 2)
            start = max(0, size - most)
            file.seek(start)
            data = file.read(most)
    return cut_tail(data, start, size)


def cut_tail(data: bytes, start: int, size: int) -> LogTail:
    """What was read from `start` on of `size` bytes, from the first whole line on."""
    if start and (newline := data.find(b"\n") + 1):
        data, start = data[newline:], start + newline
    return LogTail(text=render_terminal_text(data), size=size, left_out=start)
