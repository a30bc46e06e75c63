"""Lays records out as Parquet: ``date=2026-07-14/device=buoy-7/NAME-000001.parquet``, one file for a batch, a day and a device.

A file is written beside, synced, and renamed to its place, one group of rows in memory at a time. NAME is the spool's own, so that
one that begins anew replaces no file of another.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wherry.collect.columns import REST, ColumnKind, lay_out
from wherry.collect.spool import Spool
from wherry.errors import UsageError
from wherry.model.telemetry import Record
from wherry.store.posix import explain_os_errors, sync_folder

_ROWS = 10_000  # of a group
_FULL = "make room: what was not confirmed comes again"


def write_parts(spool: Spool, root: Path, scratch: Path) -> tuple[int, int]:
    """Write whatever was given to a batch; how many files and rows that were."""
    parts, rows = spool.open_parts(), 0
    columns = spool.columns()
    for part in parts:
        name = f"{spool.name}-{part.batch:06}.parquet"
        with explain_os_errors(root, _FULL):
            folder = root / f"date={part.day}" / f"device={part.device}"
            _make_folder(folder)
            temporary = scratch / f"{part.device}-{name}.part"
            try:
                rows += _write(spool.read_part(part, _ROWS), columns, temporary)
                temporary.replace(folder / name)
            finally:
                temporary.unlink(missing_ok=True)
            sync_folder(folder)
        spool.finish_parts([part])
    return len(parts), rows


def _write(groups: Iterable[list[Record]], columns: dict[str, ColumnKind], path: Path) -> int:
    """Write one file and sync it; its number of rows."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq  # a collector needs them, and little else of wherry does
    except ImportError:
        raise UsageError("Parquet needs pyarrow", hint="pip install 'wherry[score]'") from None
    kinds = {ColumnKind.NUMBER: pa.float64(), ColumnKind.FLAG: pa.bool_(), ColumnKind.TEXT: pa.string()}
    fixed = [("id", pa.string()), ("topic", pa.string()), ("time", pa.timestamp("us", tz="UTC")), ("count", pa.int64())]
    schema = pa.schema([*fixed, *((name, kinds[kind]) for name, kind in columns.items()), (REST, pa.string())])
    rows = 0
    with path.open("wb") as file:
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for records in groups:
                writer.write_table(pa.Table.from_pylist([_lay_out(columns, record) for record in records], schema=schema))
                rows += len(records)
        file.flush()
        os.fsync(file.fileno())
    return rows


def _lay_out(columns: dict[str, ColumnKind], record: Record) -> dict[str, Any]:
    when = datetime.fromtimestamp(record.time, UTC)
    return {**lay_out(columns, record), "id": record.id, "topic": record.topic, "time": when, "count": record.count}


def _make_folder(path: Path) -> None:
    """With its parents, each of them synced: a file in a folder that is gone is gone, too."""
    if path.is_dir():
        return
    _make_folder(path.parent)
    path.mkdir(exist_ok=True)
    sync_folder(path.parent)
