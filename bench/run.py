"""The bench `run`: what a job costs over the bare command, and how a long list of jobs is kept.

Overhead is the difference of two medians, both taken in turn on the same machine: the job's whole process (with its record, its
logs and git's answer) and the bare command in the same, prepared environment or image.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import time
import tomllib
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.engines.daemons import run_podman

from bench.cases import measure_cases
from bench.harness import NotMeasured, run_process
from bench.results import Figure, Results, Target, figure, ratio
from bench.workshop import install_wherry

CASES = ("local-overhead", "container-overhead", "local-twin", "jobs-10000")
TITLES = {
    "local-overhead": "`wherry run --on local` of a prepared project, over the environment's own python",
    "container-overhead": "`wherry run --on` podman of a prepared project, over `podman run` of the same image",
    "local-twin": "an environment of numpy, scipy, pandas and scikit-learn, made anew from warm caches, over uv's `pip sync`",
    "jobs-10000": "ten thousand jobs, of which fifty processes wrote at once: listed, shown by `wherry ui`, and counted",
}
TARGETS = {
    "local-overhead": (Target(metric="seconds", limit=0.15),),
    "container-overhead": (Target(metric="seconds", limit=0.25),),
    "local-twin": (Target(metric="ratio_to_uv", limit=1.3),),
    "jobs-10000": (
        Target(metric="list_seconds", limit=0.3),
        Target(metric="page_seconds", limit=0.2),
        Target(metric="lost", limit=0),
    ),
}
_RUNS = 15
_TWINS = 7
_WRITERS, _EACH = 50, 200
_TARGETS = '[targets.hold]\nengine = "podman"\nnetwork = "none"\n'
# Fifty processes that write at once: argv is the file and how many processes and records.
_WRITE = """
import multiprocessing, pathlib, sys
from wherry.model.job import JobRecord, JobState, TaskEnd
from wherry.run.records import SqliteRecords
path, writers, each = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
def write(number):
    records = SqliteRecords(path)
    for turn in range(each):
        name = f"{number:02}x{turn:05}"
        words, lock = ("python", "train.py", "--lr", "0.1"), "sha256:" + "0" * 64
        records.add(JobRecord(id=name, project="/p", name="p", target="local", backend="local", command=words,
            parameters={"lr": "0.1"}, platform="linux/amd64", lock=lock, host="deck", started=turn))
        records.finish(name, TaskEnd(state=JobState.SUCCEEDED, exit_code=0, ended=turn + 1.0), ())
crew = [multiprocessing.get_context("fork").Process(target=write, args=(number,)) for number in range(writers)]
for one in crew: one.start()
for one in crew: one.join()
sys.exit(any(one.exitcode for one in crew))
"""


def run(work: Path, source: Path, results: Results, cases: tuple[str, ...]) -> None:
    """Measure the cases with the wherry of `source`; each is printed and kept as soon as it is done."""
    bench = _Bench(work, install_wherry(work, source, "ui"))
    measures = {
        "local-overhead": bench.measure_local,
        "container-overhead": bench.measure_container,
        "local-twin": bench.measure_twin,
        "jobs-10000": bench.measure_list,
    }
    measure_cases("run", cases, TITLES, TARGETS, results, lambda case: measures[case](case))


class _Bench:
    def __init__(self, work: Path, wherry: Path) -> None:
        self._work, self._wherry = work, wherry
        kept = {key: value for key, value in os.environ.items() if not key.startswith("WHERRY_")}
        places = {"WHERRY_STORE": "store", "WHERRY_CACHE": "cache", "WHERRY_JOBS": "jobs"}
        self._env = kept | {key: str(work / name) for key, name in places.items()}

    def _project(self) -> Path:
        project = self._work / "projects" / "hold"
        project.mkdir(parents=True, exist_ok=True)
        (project / "requirements.txt").write_text("packaging\n")
        (project / "wherry.toml").write_text(f'name = "hold"\nbase = "debian:bookworm"\nplatforms = ["linux/amd64"]\n{_TARGETS}')
        (project / "train.py").write_text("import packaging\nprint('done')\n")
        return project

    def measure_local(self, case: str) -> Iterator[Figure]:
        project = self._project()
        words = ([self._wherry, "run", "--on", "local", "train.py"], [project / ".wherry/env/bin/python", "train.py"])
        yield from self._compare(case, "python", words, project, self._env)

    def measure_container(self, case: str) -> Iterator[Figure]:
        project = self._project()
        with run_podman() as podman:
            env = {**podman.env, **{key: value for key, value in self._env.items() if key.startswith("WHERRY_")}}
            job = [self._wherry, "run", "--on", "hold", "train.py"]
            run_process(job, cwd=project, env=env)
            (record,) = json.loads(run_process([self._wherry, "job", "ls", "-n", "1", "--json"], env=env).output)["jobs"]
            mount = f"{project}:/app:ro"
            bare = ["podman", "run", "--rm", "--network", "none", "-u", "0:0", "-v", mount, "--entrypoint", "python"]
            yield from self._compare(case, "podman", (job, [*bare, record["image"], "train.py"]), project, env)

    def _compare(
        self, case: str, rival: str, words: tuple[list[str | Path], list[str | Path]], project: Path, env: Mapping[str, str]
    ) -> Iterator[Figure]:
        for _ in range(3):  # the first makes the environment, and stamps have to age until they are believed
            run_process(words[0], cwd=project, env=env)
        taken: tuple[list[float], list[float]] = ([], [])
        for _ in range(_RUNS):
            for seconds, command in zip(taken, words, strict=True):
                seconds.append(run_process(command, cwd=project, env=env).seconds)
        over = [job - statistics.median(taken[1]) for job in taken[0]]
        yield figure(case, "wherry", "seconds", over, "s")
        yield figure(case, "wherry", "whole_seconds", taken[0], "s")
        yield figure(case, rival, "whole_seconds", taken[1], "s")

    def measure_twin(self, case: str) -> Iterator[Figure]:
        """Each makes the whole environment; uv is spared the making of an empty one, and asking the index."""
        project, uv = self._work / "projects" / "twin", self._wherry.with_name("uv")
        project.mkdir(parents=True, exist_ok=True)
        (project / "requirements.txt").write_text("numpy\nscipy\npandas\nscikit-learn\n")
        (project / "wherry.toml").write_text('name = "twin"\nbase = "debian:bookworm"\nplatforms = ["linux/amd64"]\n')
        env = {**self._env, "UV_CACHE_DIR": str(self._work / "uv")}
        run_process([self._wherry, "env", "create"], cwd=project, env=env)
        record = json.loads((project / ".wherry/env/wherry.json").read_bytes())
        wheels = tomllib.loads((project / "wherry.lock").read_text())["platform"][0]["wheel"]
        (project / "pins.txt").write_text("".join(f"{wheel['name']}=={wheel['version']}\n" for wheel in wheels))
        empty: list[str | Path] = [uv, "venv", "--quiet", "--clear", "--python", str(record["executable"]), self._work / "uv-env"]
        sync: list[str | Path] = [uv, "pip", "sync", "--quiet", "--python", self._work / "uv-env/bin/python", "pins.txt"]
        taken: tuple[list[float], list[float]] = ([], [])
        for number in range(1 + _TWINS):
            shutil.rmtree(project / ".wherry")
            run_process(empty, cwd=project, env=env)
            here = run_process([self._wherry, "env", "create", "--frozen"], cwd=project, env=env).seconds
            theirs = run_process([*sync, *(["--offline"] if number else [])], cwd=project, env=env).seconds
            if number:  # the first fills uv's cache
                taken[0].append(here)
                taken[1].append(theirs)
        yield ratio(case, "ratio_to_uv", *taken)
        yield figure(case, "wherry", "seconds", taken[0], "s")
        yield figure(case, "uv", "seconds", taken[1], "s")
        yield figure(case, "wherry", "planned_seconds", [self._plan_twin(project, env) for _ in range(3)], "s")

    def _plan_twin(self, project: Path, env: Mapping[str, str]) -> float:
        """As for a place where there was none: what was kept of the last one is gone, what was unpacked is not."""
        shutil.rmtree(project / ".wherry")
        shutil.rmtree(self._work / "cache" / "ready")
        return run_process([self._wherry, "env", "create", "--frozen"], cwd=project, env=env).seconds

    def measure_list(self, case: str) -> Iterator[Figure]:
        env = {**self._env, "WHERRY_JOBS": str(self._work / "many")}
        path = self._work / "many" / "jobs.sqlite"
        for name in ("jobs.sqlite", "jobs.sqlite-wal", "jobs.sqlite-shm"):
            path.with_name(name).unlink(missing_ok=True)
        python = self._wherry.with_name("python")
        written = run_process([python, "-c", _WRITE, path, str(_WRITERS), str(_EACH)], env=env)
        listed = json.loads(run_process([self._wherry, "job", "ls", "--all", "--json"], env=env).output)["jobs"]
        seconds = {"list_seconds": ["job", "ls"], "list_all_seconds": ["job", "ls", "--all"]}
        for metric, words in seconds.items():
            yield figure(case, "wherry", metric, [run_process([self._wherry, *words], env=env).seconds for _ in range(_RUNS)], "s")
        paths = {"page_seconds": "jobs", "page_filtered_seconds": "jobs?state=succeeded&target=local&page=150"}
        with _open_page([self._wherry, "ui", "--no-browser"], self._work, env) as fetch:
            for metric, path in paths.items():
                fetch(path)  # the first one compiles the templates
                yield figure(case, "wherry", metric, [fetch(path) for _ in range(_RUNS)], "s")
        yield figure(case, "wherry", "lost", [_WRITERS * _EACH - len({job["id"] for job in listed})], "")
        yield figure(case, "wherry", "writes_per_second", [2 * _WRITERS * _EACH / written.seconds], "/s")


@contextmanager
def _open_page(words: list[str | Path], cwd: Path, env: Mapping[str, str]) -> Iterator[Callable[[str], float]]:
    """`wherry ui`, and what takes the time of a whole request to it."""
    server = subprocess.Popen(words, cwd=cwd, env=env, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        address = server.stdout.readline().strip()
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        browser.open(address).close()

        def fetch(path: str) -> float:
            start = time.perf_counter()
            with browser.open(f"{address.partition('?')[0]}{path}") as answer:
                if b'id="row-' not in answer.read():
                    raise NotMeasured(f"{path} shows no jobs")
            return time.perf_counter() - start

        yield fetch
    finally:
        server.terminate()
        server.wait()
        server.stdout.close()
