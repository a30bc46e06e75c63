"""The bench `conda-read`: what of people's environments is read.

`corpus` reads every real file that is at hand, each in a process of its own, and counts: *read*, *refused* (the message has
the file, a line of it and a remedy), *vague* (refused without one of these), *crashed*. A table of all files is printed.

`live-env` makes a conda environment in which somebody worked (conda_live.py), lets `wherry init --from-env`, `lock` and `build`
make an image of it, and asks both Pythons what they have. *named* is the share of the differences, in distributions and in
conda's packages, that init had named as changed or impossible; *same* the share of what is equal.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.cases import measure_cases
from bench.conda_live import LIST, PACKAGES, list_distributions, make_live_environment
from bench.harness import NotMeasured, run_process
from bench.mirror import serve_wheels
from bench.results import Figure, Results, Target, figure
from bench.workshop import install_wherry

CASES = ("corpus", "live-env")
TITLES = {
    "corpus": "environment.yml, conda_dependencies.yml, requirements.txt, .runconfig and .compute of public projects",
    "live-env": f"a live conda environment of {PACKAGES} packages, pip over conda: init --from-env, lock, build",
}
TARGETS = {
    "corpus": (Target(metric="read_or_refused", limit=100, at_least=True), Target(metric="crashed", limit=0)),
    "live-env": (Target(metric="named", limit=100, at_least=True),),
}
_FILES = Path(__file__).resolve().parents[2] / "shared" / "data" / "env"
# Reads the file that is its argument, in the folder where it lies alone, as a project's environment or as one of Azure ML's.
_PROBE = """
import json, sys
from pathlib import Path
from wherry.errors import WherryError
path = Path(sys.argv[1])
try:
    if path.suffix in (".runconfig", ".compute"):
        from wherry.declare.azure_draft import read_azure_folder
        draft = read_azure_folder(path.parent.parent, path.parent, {})
        said = f"{len(draft.carried)} settings"
    else:
        from wherry.declare.environment import read_environment
        from wherry.declare.grammar import WrittenEnvironment
        found = read_environment(path.parent, WrittenEnvironment(file=path.name), {}).environment
        specs = f"{len(found.conda.specs)} specs, " if found.conda else ""
        said = f"{specs}{len(found.requirements)} requirements"
    print(json.dumps(["read", said]))
except WherryError as error:
    print(json.dumps(["refused", str(error)]))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one file. `kind` is read, refused, vague or crashed."""

    file: str
    kind: str
    said: str


def run(work: Path, source: Path, results: Results, cases: tuple[str, ...]) -> None:
    """Measure the cases with the wherry of `source`; each is printed and kept as soon as it is done."""
    wherry = install_wherry(work, source, "conda")
    measures = {
        "corpus": lambda: _measure_corpus(work / "corpus", wherry.parent / "python"),
        "live-env": lambda: _measure_live(work / "live-env", work / "cache", wherry),
    }
    measure_cases("conda-read", cases, TITLES, TARGETS, results, lambda case: measures[case]())


def _measure_corpus(work: Path, python: Path) -> Iterator[Figure]:
    if not _FILES.is_dir():
        raise NotMeasured(f"the files are not here: {_FILES}")
    files = sorted(path for folder in _FILES.iterdir() if folder.is_dir() for path in folder.iterdir())
    outcomes = [_read_file(work, python, file) for file in files]
    _print_outcomes(outcomes)
    counts = Counter(outcome.kind for outcome in outcomes)
    known = counts["read"] + counts["refused"]
    yield figure("corpus", "wherry", "read_or_refused", [100 * known / len(outcomes)], "%")
    for kind in ("read", "refused", "vague", "crashed"):
        yield figure("corpus", "wherry", kind, [counts[kind]], "files")


def _read_file(work: Path, python: Path, file: Path) -> Outcome:
    """Each file alone, where its kind is looked for: what lay beside it is not at hand."""
    place = work / ("aml_config" if file.parent.name == "runconfig" else "project")
    shutil.rmtree(work, ignore_errors=True)
    place.mkdir(parents=True)
    shutil.copy(file, place)
    words = [python, "-I", "-c", _PROBE, place / file.name]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, env={**os.environ})
    name = f"{file.parent.name}/{file.name}"
    if done.returncode != 0:
        return Outcome(file=name, kind="crashed", said=(done.stderr.strip().splitlines() or ["?"])[-1])
    kind, said = json.loads(done.stdout)
    told = re.search(rf"{re.escape(file.name)}:\d+: ", said) and "try: " in said
    return Outcome(file=name, kind=kind if kind == "read" or told else "vague", said=said)


def _measure_live(work: Path, cache: Path, wherry: Path) -> Iterator[Figure]:
    live = make_live_environment(work, cache)
    project = work / "project"
    project.mkdir()
    (project / "wherry.toml").write_text("")
    places = {"WHERRY_STORE": str(work / "store"), "WHERRY_CACHE": str(work / "cache"), "HOME": str(live.home)}
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "UV_", "WHERRY_", "PYTHON"))}
    with serve_wheels(live.wheels) as index:
        env = {**kept, **places, "UV_DEFAULT_INDEX": index, "PIP_INDEX_URL": index, "PIP_CONFIG_FILE": os.devnull}
        told = json.loads(run_process([wherry, "init", project, "--from-env", live.prefix, "--force", "--json"], env=env).output)
        (project / "wherry.toml").write_text((project / "wherry.toml").read_text() + 'bytecode = "none"\n')
        run_process([wherry, "lock", project], env=env)
        run_process([wherry, "build", project, "--tag", "live"], env=env)
        words = ["run", "--on", "bubblewrap", "--image", "live", "--", "python", "-c", LIST]
        image = dict(list_distributions(run_process([wherry, *words], cwd=project, env=env).output))
    before = dict(list_distributions(run_process([live.prefix / "bin" / "python", "-c", LIST], env=env).output))
    locked = tomllib.loads((project / "wherry.lock").read_text())["platform"][0]
    records = {record["name"]: record["version"] for record in locked["record"]}
    installed = dict(_installed_records(live.prefix))
    named = {one["name"].lower().replace("_", "-") for fate in ("changed", "impossible") for one in told["environment"][fate]}
    differences = _differing(before, image) | _differing(installed, records)
    both = len(before.keys() | image.keys()) + len(installed.keys() | records.keys())
    yield figure("live-env", "wherry", "packages", [len(installed) + len(before.keys() - installed.keys())], "packages")
    yield figure("live-env", "wherry", "same", [100 * (both - len(differences)) / both], "%")
    yield figure("live-env", "wherry", "differences", [len(differences)], "packages")
    yield figure("live-env", "wherry", "named", [100 * len(differences & named) / max(1, len(differences))], "%")


def _installed_records(prefix: Path) -> Iterator[tuple[str, str]]:
    for path in (prefix / "conda-meta").glob("*.json"):
        record = json.loads(path.read_bytes())
        yield record["name"], record["version"]


def _differing(one: Mapping[str, str], other: Mapping[str, str]) -> set[str]:
    return {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}


def _print_outcomes(outcomes: Sequence[Outcome]) -> None:
    table = Table("file", "", "", header_style="bold", title="corpus", title_justify="left")
    for outcome in outcomes:
        first, *more = outcome.said.splitlines() or [""]
        table.add_row(outcome.file, outcome.kind, f"{first} …" if more else first)
    Console(width=None if os.isatty(1) else 150).print(table, markup=False)
