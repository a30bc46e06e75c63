"""`python -m bench`: runs one benchmark or all, prints their tables, keeps their figures in .bench/results.jsonl."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import cast

from bench.harness import NotMeasured, export_commit
from bench.results import Results, describe_commit, describe_host

ROOT = Path(__file__).resolve().parents[1]
# Name → the module whose `run(work, source, results, cases)` measures it and whose CASES names what it can measure.
BENCHES = {
    "batch": "bench.batch",
    "batch-data": "bench.batch_data",
    "batch-ray": "bench.batch_ray",
    "batch-slurm": "bench.batch_slurm",
    "build": "bench.build",
    "check": "bench.check",
    "conda": "bench.conda",
    "conda-channel": "bench.conda_channel",
    "conda-lock": "bench.conda_lock",
    "conda-read": "bench.conda_read",
    "deliver": "bench.deliver",
    "run": "bench.run",
    "score": "bench.score",
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", choices=sorted(BENCHES), help="one benchmark instead of all")
    parser.add_argument("--case", action="append", metavar="NAME", help="only this case; may be given again")
    parser.add_argument("--commit", metavar="REV", help="measure this commit instead of the working tree")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that daemons and mounts do not outlive the bench
    folder = ROOT / ".bench"
    folder.mkdir(exist_ok=True)
    commit = describe_commit(ROOT, asked.commit)
    source = export_commit(ROOT, commit, folder / "source") if asked.commit else ROOT
    results = Results(folder / "results.jsonl", commit=commit, host=describe_host())
    chosen = [asked.only] if asked.only else sorted(BENCHES)
    modules = {name: import_module(BENCHES[name]) for name in chosen}
    known = {case for module in modules.values() for case in module.CASES}
    if asked.case and (unknown := sorted(set(asked.case) - known)):
        parser.error(f"no such case: {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    for name, module in modules.items():
        cases = tuple(case for case in module.CASES if not asked.case or case in asked.case)
        if cases:
            run = cast("Callable[[Path, Path, Results, tuple[str, ...]], None]", module.run)
            run(folder / name, source, results, cases)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except NotMeasured as error:
        sys.exit(f"bench: {error}")
