"""The bench `check`: how long a look at an image takes, and whether what it says is true.

Truth is asked of the image itself: every compiled module of every distribution is imported in a process of its own under
bubblewrap. A false error is a module that check calls blocked and that is imported well; a missed one fails because the
linker does not find something, and check has no error or warning for it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.cases import measure_cases
from bench.harness import NotMeasured, Run, run_process, tell
from bench.planted import find_defects
from bench.rebuild import measure_rebuild
from bench.results import Figure, Results, Target, figure
from bench.stranger import measure_stranger
from bench.workshop import install_wherry

CASES = ("scan-first", "scan-again", "fifteen-wheels", "broken-wheels", "planted", "stranger", "rebuild-offline")
TITLES = {
    "scan-first": "600 ELF files of numpy, scipy, pandas and scikit-learn over Debian: the layers are read",
    "scan-again": "the same image again: what is known of the layers is in the cache",
    "fifteen-wheels": "every compiled module of fifteen popular distributions, imported in the container",
    "planted": "defects of as many kinds, one at a time in a small root that is well otherwise",
    "stranger": "an image that buildah and pip made of Debian's packages, with four defects in it",
    "rebuild-offline": "an image of two platforms built again from its registry alone, in a network that has nothing else",
    "broken-wheels": "the same where the base lacks what they need: opencv-python",
}
TARGETS = {
    "scan-first": (Target(metric="seconds", limit=3), Target(metric="peak_mb", limit=200)),
    "scan-again": (Target(metric="seconds", limit=0.3),),
    "fifteen-wheels": (Target(metric="false_errors", limit=0), Target(metric="missed_errors", limit=0)),
    "planted": (Target(metric="missed", limit=0), Target(metric="other_errors", limit=0)),
    "stranger": (Target(metric="missed", limit=0), Target(metric="other_errors", limit=0)),
    "rebuild-offline": (Target(metric="not_equal", limit=0),),
    "broken-wheels": (Target(metric="false_errors", limit=0), Target(metric="missed_errors", limit=0)),
}
_FOUR = ("numpy", "scipy", "pandas", "scikit-learn")
_FIFTEEN = (
    *_FOUR, "pyarrow", "matplotlib", "lightgbm", "xgboost", "onnxruntime", "pillow", "lxml", "opencv-python-headless", "shapely",
    "statsmodels", "numba",
)  # fmt: skip
_BROKEN = ("opencv-python", "lxml")
_RUNS = 5
# Imports each module that it is told of on stdin in a process of its own, and prints what the linker said.
_PROBE = """
import json, subprocess, sys
for name in json.load(sys.stdin):
    words = [sys.executable, "-c", f"import importlib; importlib.import_module({name!r})"]
    done = subprocess.run(words, capture_output=True, text=True)
    said = (done.stderr.strip().splitlines() or [""])[-1]
    lost = done.returncode and ("cannot open shared object" in said or "' not found (required by" in said or "wrong ELF" in said)
    print(json.dumps([name, done.returncode, bool(lost), said]), flush=True)
"""


def run(work: Path, source: Path, results: Results, cases: tuple[str, ...]) -> None:
    """Measure the cases with the wherry of `source`; each is printed and kept as soon as it is done."""
    bench = _Bench(work, install_wherry(work, source))
    measure_cases("check", cases, TITLES, TARGETS, results, lambda case: bench.measure(case))


class _Bench:
    def __init__(self, work: Path, wherry: Path) -> None:
        self._work, self._wherry = work, wherry
        self._env = {**os.environ, "WHERRY_STORE": str(work / "store"), "WHERRY_CACHE": str(work / "cache")}

    def measure(self, case: str) -> Iterator[Figure]:
        if case == "planted":
            yield from _measure_planted(case)
        elif case == "stranger":
            yield from measure_stranger(case, self._wherry, self._work, self._env)
        elif case == "rebuild-offline":
            yield from measure_rebuild(case, self._wherry, self._work)
        elif case.startswith("scan-"):
            yield from self._measure_scan(case)
        else:
            yield from self._measure_truth(case, *(("fifteen", _FIFTEEN) if case == "fifteen-wheels" else ("broken", _BROKEN)))

    def _build(self, name: str, packages: tuple[str, ...]) -> Path:
        """The project's folder; its image is in the store."""
        project = self._work / "projects" / name
        project.mkdir(parents=True, exist_ok=True)
        (project / "requirements.txt").write_text("".join(f"{package}\n" for package in packages))
        (project / "wherry.toml").write_text(f'name = "{name}"\nbase = "debian:bookworm"\nplatforms = ["linux/amd64"]\n')
        tell(f"building {name}")
        run_process([self._wherry, "build"], cwd=project, env=self._env)
        return project

    def _check(self, project: Path, *, memory: bool = False) -> Run:
        words = ["sh", "-c", '"$@" || test $? -eq 20', "sh", self._wherry, "check", "--json"]
        return run_process(words, cwd=project, env=self._env, memory=memory)

    def _measure_scan(self, case: str) -> Iterator[Figure]:
        project = self._build("four", _FOUR)
        self._check(project)  # so that files lie in the page cache
        seconds, peaks = [], []
        for _ in range(_RUNS):
            if case == "scan-first":
                shutil.rmtree(self._work / "cache" / "check", ignore_errors=True)
                peaks.append(self._check(project, memory=True).peak / 1e6)
                shutil.rmtree(self._work / "cache" / "check", ignore_errors=True)
            seconds.append(self._check(project).seconds)
        yield figure(case, "wherry", "seconds", seconds, "s")
        if peaks:
            yield figure(case, "wherry", "peak_mb", peaks, "MB")

    def _measure_truth(self, case: str, name: str, packages: tuple[str, ...]) -> Iterator[Figure]:
        if shutil.which("bwrap") is None:
            raise NotMeasured("bwrap is not installed")
        project = self._build(name, packages)
        (report,) = json.loads(self._check(project).output)["reports"]
        blocked, mild = _named_modules(report, "error"), _named_modules(report, "warning")
        words = [self._wherry, "run", "--on", "bubblewrap", "--", "python", "-c", _PROBE]
        modules = self._list_modules(project)
        done = run_process(["sh", "-c", f"echo '{json.dumps(modules)}' | \"$@\"", "sh", *words], cwd=project, env=self._env)
        told = [json.loads(line) for line in done.output.splitlines() if line.startswith("[")]
        false = [module for module, code, _, _ in told if code == 0 and module in blocked]
        missed = [module for module, _, lost, _ in told if lost and module not in blocked | mild]
        for wrong in (*false, *missed):
            tell(f"{wrong}: {next(one for one in told if one[0] == wrong)}")
        yield figure(case, "wherry", "false_errors", [len(false)], "")
        yield figure(case, "wherry", "missed_errors", [len(missed)], "")
        yield figure(case, "wherry", "modules", [len(told)], "")
        yield figure(case, "wherry", "blocked", [len(blocked)], "")

    def _list_modules(self, project: Path) -> list[str]:
        """The compiled modules in the image's site-packages, as Python sees them."""
        find = (
            "import json, sysconfig, pathlib, importlib.machinery as m; root = pathlib.Path(sysconfig.get_path('platlib'));"
            "names = {'.'.join(p.relative_to(root).parts)[:-len(s)] for p in root.rglob('*.so') for s in m.EXTENSION_SUFFIXES"
            " if p.name.endswith(s) and '.' not in p.name[:-len(s)] and not p.name.startswith('lib') and '.libs' not in str(p)};"
            "print(json.dumps(sorted(names)))"
        )
        done = run_process([self._wherry, "run", "--on", "bubblewrap", "--", "python", "-c", find], cwd=project, env=self._env)
        names: list[str] = json.loads(done.output.splitlines()[-1])
        return names


def _measure_planted(case: str) -> Iterator[Figure]:
    told = list(find_defects())
    for defect, found, others in told:
        if not found or others:
            tell(f"{defect.name}: {'found' if found else 'missed'}; besides: {', '.join(others) or 'nothing'}")
    yield figure(case, "wherry", "planted", [len(told)], "")
    yield figure(case, "wherry", "found", [sum(found for _, found, _ in told)], "")
    yield figure(case, "wherry", "missed", [sum(not found for _, found, _ in told)], "")
    yield figure(case, "wherry", "other_errors", [sum(len(others) for _, _, others in told)], "")


def _named_modules(report: dict[str, Any], severity: str) -> set[str]:
    """The modules that findings of a severity are about, by the files that they name."""
    found = set()
    for finding in report["findings"]:
        for path in finding["where"] if finding["severity"] == severity else ():
            inner = path.partition("site-packages/")[2]
            if inner and ".libs/" not in inner:
                found.add(inner.partition(".")[0].replace("/", "."))
    return found
