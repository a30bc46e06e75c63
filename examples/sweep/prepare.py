"""Writes the data set to the store as Parquet: 569 tumours, 30 measurements each, and which of them were malignant.

Breast Cancer Wisconsin (Diagnostic), W. Wolberg, W. Street, O. Mangasarian, 1993 (CC BY 4.0); it comes inside scikit-learn, so
nothing is downloaded.

    python prepare.py store/data/tumours.parquet
"""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
from sklearn.datasets import load_breast_cancer


def main() -> None:
    found, target = load_breast_cancer(), sys.argv[1]
    columns = {name.replace(" ", "_"): found.data[:, place] for place, name in enumerate(found.feature_names)}
    table = pyarrow.table({**columns, "malignant": found.target == 0})
    if "://" not in target:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(table, target)
    print(f"{table.num_rows} rows, {table.num_columns} columns: {target}", file=sys.stderr)


if __name__ == "__main__":
    main()
