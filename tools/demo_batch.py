"""`make demo-batch`: examples/sweep on this machine, with an embedded store; ends with the table, and how to do it on a cluster.

What it keeps lies in .demo-batch; downloads of an earlier one are not done again.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / ".demo-batch"
PROJECT = DEMO / "sweep"
PROGRAM = Path(sys.executable).with_name("wherry")
CLUSTER = """
The same on a cluster: in wherry.toml
  [sweeps.forest]
  state = "s3://BUCKET/sweeps"       a folder that the nodes share, s3://, az:// or gs://
  inputs = [{ from = "s3://BUCKET/data/tumours.parquet", to = "tumours.parquet" }]
and a target of your own instead of --on local: docs/reference/wherry-toml.md, "Targets"."""


def main() -> int:
    for name in ("sweep", "jobs"):
        shutil.rmtree(DEMO / name, ignore_errors=True)
    shutil.copytree(ROOT / "examples/sweep", PROJECT)
    with (PROJECT / "wherry.toml").open("a", encoding="utf-8") as file:
        address = (PROJECT / "store/data/tumours.parquet").as_uri()
        file.write(f'inputs = [{{ from = "{address}", to = "tumours.parquet" }}]\n')
    wherry("lock")
    wherry("env", "create")
    wherry("run", "--on", "local", "--", "prepare.py", "store/data/tumours.parquet")
    wherry("sweep", "run", "forest", "--on", "local", "--dry-run")
    began = time.perf_counter()
    code = wherry("sweep", "run", "forest", "--on", "local", check=False)
    seconds = time.perf_counter() - began
    wherry("sweep", "results")
    best = max(read_rows(), key=lambda row: row["auc"] or 0.0)
    told = f"best: auc {best['auc']:.4f} with {best['trees']} trees of {best['samples']} samples, seed {best['seed']}"
    print(f"\n{told}; the sweep took {seconds:.1f} s\n{CLUSTER}")
    return code


def wherry(*words: str, check: bool = True) -> int:
    """A command as a person types it."""
    print("$ wherry", *words, flush=True)
    return subprocess.run([PROGRAM, *words], cwd=PROJECT, env=environment(), check=check).returncode


def read_rows() -> list[dict[str, float]]:
    done = subprocess.run([PROGRAM, "sweep", "results", "--json"], cwd=PROJECT, env=environment(), check=True, capture_output=True)
    return list(json.loads(done.stdout)["rows"])


def environment() -> dict[str, str]:
    places = {"WHERRY_STORE": "store", "WHERRY_CACHE": "cache", "WHERRY_JOBS": "jobs"}
    return {**os.environ, **{name: str(DEMO / folder) for name, folder in places.items()}}


if __name__ == "__main__":
    sys.exit(main())
