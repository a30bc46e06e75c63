"""Learns from harmless tumours alone, and says how well it then tells the malignant ones: an isolation forest.

Reads tumours.parquet where the sweep's inputs were brought to, else in the project's own store. Tells `auc` as its metric, and
leaves the model in the job's outputs. Equal parameters and package versions give an equal model, byte for byte.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pyarrow.parquet
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trees", type=int, required=True)
    parser.add_argument("--samples", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    asked = parser.parse_args()
    table = pyarrow.parquet.read_table(Path(os.environ.get("WHERRY_INPUTS", "store/data"), "tumours.parquet"))
    malignant = table["malignant"].to_numpy()
    rows = np.column_stack([table[name].to_numpy() for name in table.column_names if name != "malignant"])
    drawn = np.random.default_rng(asked.seed).random(len(rows)) < 0.7
    forest = IsolationForest(n_estimators=asked.trees, max_samples=asked.samples, random_state=asked.seed)
    forest.fit(rows[drawn & ~malignant])
    held = ~drawn | malignant
    auc = float(roc_auc_score(malignant[held], -forest.score_samples(rows[held])))
    print(f"{asked.trees} trees of {asked.samples} samples, seed {asked.seed}: auc {auc:.4f}")
    with open(os.environ["WHERRY_METRICS"], "a", encoding="utf-8") as file:  # noqa: PTH123
        print(json.dumps({"metric": "auc", "value": auc}), file=file)
    Path(os.environ["WHERRY_OUTPUTS"], "forest.pkl").write_bytes(pickle.dumps(forest, protocol=5))


if __name__ == "__main__":
    main()
