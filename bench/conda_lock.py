"""The bench `conda-lock`: how long conda's solver takes over real indexes.

`excerpt-linux-64` and `excerpt-linux-aarch64` solve numpy + scikit-learn + pandas over an excerpt of conda-forge's indexes,
each time in a process of its own, as `wherry lock` does. *load* is opening the indexes and reading specs and virtual
packages, *solve* what the solver takes after that, *process* all of it with the process that loads py-rattler.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from bench.cases import measure_cases
from bench.harness import NotMeasured, run_process
from bench.results import Figure, Results, Target, figure
from bench.workshop import install_wherry

_PLATFORMS = {"excerpt-linux-64": "linux/amd64", "excerpt-linux-aarch64": "linux/arm64"}
CASES = tuple(_PLATFORMS)
TITLES = {
    case: f"numpy + scikit-learn + pandas for {platform}, over an excerpt of real indexes" for case, platform in _PLATFORMS.items()
}
TARGETS = dict.fromkeys(CASES, (Target(metric="solve_seconds", limit=0.1),))
_INDEXES = Path(__file__).resolve().parents[2] / "shared" / "data" / "conda" / "repodata"
_RUNS = 9
# Solves for the platform that is its second argument over the indexes in the folder that is its first.
_PROBE = """
import json, sys, time
from wherry.lock.virtual_packages import list_virtual_packages
from wherry.model.platform import Platform
from wherry.sources.rattler_program import run_rattler
platform = Platform.parse(sys.argv[2])
indexes = {subdir: f"{sys.argv[1]}/{subdir}/repodata.json" for subdir in (platform.subdir, "noarch")}
specs = ["numpy", "scikit-learn", "pandas", "python"]
request = {
    "specs": [{"text": text, "where": "", "channels": [], "subdir": ""} for text in specs],
    "channels": [{"name": "conda-forge", "indexes": indexes}],
    "virtual": list_virtual_packages(platform, (2, 36), None),
    "priority": "strict",
    "favoured": [],
    "wishes": [[]],
}
began = time.perf_counter()
answer = run_rattler("solve", request, timeout=60)
print(json.dumps({**answer["seconds"], "process": time.perf_counter() - began, "records": len(answer["records"])}))
"""


def run(work: Path, source: Path, results: Results, cases: tuple[str, ...]) -> None:
    """Measure the cases with the wherry of `source`; each is printed and kept as soon as it is done."""
    wherry = install_wherry(work, source, "conda")
    measure_cases("conda-lock", cases, TITLES, TARGETS, results, lambda case: _measure(case, wherry.parent / "python"))


def _measure(case: str, python: Path) -> Iterator[Figure]:
    if not _INDEXES.is_dir():
        raise NotMeasured(f"there are no indexes in {_INDEXES}")
    runs = [json.loads(run_process([python, "-c", _PROBE, _INDEXES, _PLATFORMS[case]]).output) for _ in range(_RUNS)]
    for metric in ("solve", "load", "process"):
        yield figure(case, "wherry", f"{metric}_seconds", [one[metric] for one in runs], "s")
    yield figure(case, "wherry", "records", [one["records"] for one in runs], "packages")
