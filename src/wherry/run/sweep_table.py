"""A sweep's results as one table: for each task its parameters, how it ended, its metrics, and where its outputs lie.

Columns: ``task``, the parameters, ``state``, ``attempt``, ``exit_code``, ``seconds``, the metrics, ``outputs``. A metric that is
named as a parameter or another column is told as ``metric.NAME``. Tasks without an end have a row, too: their state is ``waiting``.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from wherry.errors import StoreError
from wherry.model.sweep import SweepSpec, TaskDone
from wherry.store.posix import explain_os_errors

_BEFORE = ("state", "attempt", "exit_code", "seconds")
_WAITING = "waiting"
Cell = str | int | float | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultTable:
    """Names of columns, and rows that are as long."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def select(self, columns: Sequence[str]) -> ResultTable:
        """Only these columns."""
        places = [self.columns.index(name) for name in columns]
        return ResultTable(columns=tuple(columns), rows=tuple(tuple(row[place] for place in places) for row in self.rows))


def make_table(spec: SweepSpec, ends: Mapping[int, TaskDone]) -> ResultTable:
    """The table of a sweep whose finished tasks ended so."""
    metrics = list(dict.fromkeys(name for done in ends.values() for name in done.metrics))
    parameters = spec.sweep.parameters.names
    taken = {"task", *parameters, *_BEFORE, "outputs"}
    named = tuple(f"metric.{name}" if name in taken else name for name in metrics)
    rows = (tuple(_make_row(spec, task, ends.get(task), metrics)) for task in range(len(spec)))
    return ResultTable(columns=("task", *parameters, *_BEFORE, *named, "outputs"), rows=tuple(rows))


def _make_row(spec: SweepSpec, task: int, done: TaskDone | None, metrics: Iterable[str]) -> Iterator[Cell]:
    yield task
    yield from spec.sweep.parameters.at(task).values()
    if done is None:
        yield from (_WAITING, None, None, None)
        yield from (None for _ in metrics)
        yield ""
        return
    yield from (done.state.value, done.attempt, done.exit_code, done.seconds)
    yield from (done.metrics.get(name) for name in metrics)
    yield " ".join(output.path for output in done.outputs)


def write_csv(table: ResultTable, file: TextIO) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(table.rows)


def write_parquet(table: ResultTable, path: Path) -> None:
    """One row group, columns as numbers where all their values are. Needs pyarrow."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise StoreError("Parquet needs pyarrow", hint="pip install pyarrow, or --csv") from error
    columns = {name: pyarrow.array(_even_out([row[place] for row in table.rows])) for place, name in enumerate(table.columns)}
    with explain_os_errors(path):
        pyarrow.parquet.write_table(pyarrow.table(columns), path)


def _even_out(cells: list[Cell]) -> list[Cell]:
    """Values of one kind: numbers, or texts where one of them is no number."""
    kinds = {type(cell) for cell in cells if cell is not None}
    if kinds <= {int, float} or len(kinds) <= 1:
        return [float(cell) if float in kinds and isinstance(cell, int) else cell for cell in cells]
    return [None if cell is None else str(cell) for cell in cells]
