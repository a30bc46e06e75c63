"""Progress that shows in a notebook: `Project(".", progress=show_in_notebook())`.

One line, rewritten in place: through IPython's display where there is one, else as plain text. IPython is not a
dependency: it is looked for among what is imported already, since in a notebook it always is.
"""

from __future__ import annotations

import html
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TextIO

from wherry.model.progress import Progress

_INTERVAL = 0.1  # seconds between two drawings; the end of a thing is always drawn
_CELLS = 24


def show_in_notebook(stream: TextIO | None = None, *, clock: Callable[[], float] = time.monotonic) -> Progress:
    """A `Progress` for whichever cell runs. Outside of a notebook: a line to `stream` (stderr) for each thing done."""
    shell = _find_shell()
    if shell is None:
        return _Plain(stream or sys.stderr)
    from IPython import display  # it is running already

    return _Line(lambda: int(shell.execution_count), display, clock)


def render_line(name: str, done: int, total: int) -> str:
    """One line of text: a bar where the total is known."""
    if total <= 0:
        return name
    share = min(max(done / total, 0.0), 1.0)
    filled = round(share * _CELLS)
    return f"{'█' * filled}{'░' * (_CELLS - filled)} {share:4.0%}  {name}"


def _find_shell() -> Any:
    """IPython's shell if this is a notebook's kernel, else None."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell if hasattr(shell, "kernel") else None


class _Line:
    """One line a cell for all that goes on in it, and how many things are done. Several threads may tell at once."""

    def __init__(self, cell: Callable[[], int], display: Any, clock: Callable[[], float]) -> None:
        self._cell = cell
        self._display = display
        self._clock = clock
        self._guard = threading.Lock()
        self._drawn_in: int | None = None
        self._handle: Any = None
        self._last = 0.0
        self._finished: set[str] = set()

    def __call__(self, name: str, done: int, total: int) -> None:
        with self._guard:
            cell = self._cell()
            if cell != self._drawn_in:
                self._drawn_in, self._handle, self._last, self._finished = cell, None, float("-inf"), set()
            ended = 0 < total <= done and name not in self._finished
            if ended:
                self._finished.add(name)
            now = self._clock()
            if ended or now - self._last >= _INTERVAL:
                self._last = now
                self._draw(f"{render_line(name, done, total)}  ({len(self._finished)} done)")

    def _draw(self, text: str) -> None:
        data = {"text/plain": text, "text/html": f"<pre>{html.escape(text)}</pre>"}
        if self._handle is None:
            self._handle = self._display.display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)


class _Plain:
    """A line for each thing that is done."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._guard = threading.Lock()
        self._finished: set[str] = set()

    def __call__(self, name: str, done: int, total: int) -> None:
        with self._guard:
            if 0 < total <= done and name not in self._finished:
                self._finished.add(name)
                print(f"done: {name}", file=self._stream, flush=True)
