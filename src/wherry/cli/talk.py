"""What commands say: results on stdout, talk on stderr, progress bars on stderr when a person looks at it.

Respects NO_COLOR, CI and pipes. The library never prints; it calls a `Progress`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from wherry.model.progress import Progress, be_silent
from wherry.model.size import format_size as format_size
from wherry.model.visible_text import make_visible


def say(text: str) -> None:
    """Talk, on stderr. Codes that would steer the terminal are shown, not sent: a stranger's name may be part of it."""
    print("\n".join(map(make_visible, text.split("\n"))), file=sys.stderr)


def show(text: str) -> None:
    """One line of a result, on stdout, and never more than one, whatever a stranger's name in it holds."""
    print(make_visible(text))


def print_json(value: object) -> None:
    """A result for programs, on stdout: sorted keys, one document."""
    print(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False))


def print_table(rows: Sequence[Sequence[str]], indent: str = "") -> None:
    """Columns as wide as their widest cell, on stdout; the last cell of a row is not padded."""
    shown = [[make_visible(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        print(indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@contextmanager
def show_progress() -> Iterator[Progress]:
    """A `Progress` that draws bars where somebody watches, and says nothing elsewhere."""
    if not sys.stderr.isatty() or os.environ.get("CI") or os.environ.get("TERM") == "dumb":
        yield be_silent
        return
    # Lazily: drawing costs more start-up time than many a command.
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeElapsedColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, object] = {}

        def report(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total or None)
            bars.update(tasks[name], completed=done, total=total or None)  # type: ignore[arg-type]

        yield report
