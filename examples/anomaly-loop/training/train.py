"""Learns from the collected tables what is usual: the mean of all readings, and how far a reading strays from it.

python train.py data/readings > model.json
"""

from __future__ import annotations

import json
import math
import sys

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds


def read_usual(tables: str) -> pa.Table:
    """All files as one table, whatever columns each of them has; without what a model called odd."""
    schemas = [fragment.physical_schema for fragment in ds.dataset(tables).get_fragments()]
    table = ds.dataset(tables, schema=pa.unify_schemas(schemas)).to_table()
    if "result.anomaly" not in table.column_names:
        return table
    return table.filter(pc.invert(pc.fill_null(table["result.anomaly"], False)))


def main(tables: str) -> None:
    usual = read_usual(tables)
    celsius, count = usual["reading.celsius"].to_pylist(), usual["count"].to_pylist()
    readings = sum(count)
    mean = math.fsum(value * times for value, times in zip(celsius, count, strict=True)) / readings
    # A mean of n readings strays less than a reading does: by the root of n.
    spread = math.sqrt(math.fsum(times * (value - mean) ** 2 for value, times in zip(celsius, count, strict=True)) / len(count))
    print(json.dumps({"mean": round(mean, 3), "spread": round(max(spread, 0.05), 3), "readings": readings}))
    print(f"trained on {readings} readings in {len(celsius)} records", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1])
