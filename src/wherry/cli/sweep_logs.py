"""`wherry sweep logs`: what tasks print, read along, each line under its task's number where there are several."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from typing import BinaryIO

from wherry.run.sweep_logs import LogReader, Printed
from wherry.run.sweep_results import STDOUT
from wherry.run.sweep_state import SweepState

_PAUSE = 1.0


def print_logs(state: SweepState, tasks: Sequence[int], *, follow: bool) -> None:
    """Print what the tasks printed; `follow`: until all of them have ended."""
    printer, reader = _Printer(named=len(tasks) > 1), LogReader(state, tasks)
    while True:
        for printed in reader.read():
            printer.print(printed)
        if not follow or reader.is_over or state.is_cancelled():
            printer.finish()
            return
        time.sleep(_PAUSE)


class _Printer:
    """Whole lines, so that those of several tasks do not mix; the last one is held back until it is whole."""

    def __init__(self, *, named: bool) -> None:
        self._named = named
        self._torn: dict[tuple[int, str], bytes] = {}

    def print(self, printed: Printed) -> None:
        sink = _sink(printed.stream)
        if not self._named:
            self._write(sink, (printed.data,))
            return
        place = (printed.task, printed.stream)
        *lines, rest = (self._torn.pop(place, b"") + printed.data).split(b"\n")
        self._write(sink, (b"[%d] %s\n" % (printed.task, line) for line in lines))
        if rest:
            self._torn[place] = rest

    def finish(self) -> None:
        for (task, stream), rest in self._torn.items():
            self._write(_sink(stream), (b"[%d] %s\n" % (task, rest),))

    def _write(self, sink: BinaryIO, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            sink.write(piece)
        sink.flush()


def _sink(stream: str) -> BinaryIO:
    return sys.stdout.buffer if stream == STDOUT else sys.stderr.buffer
