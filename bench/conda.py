"""The bench `conda`: images of conda environments; whether two hosts make the same, what a bump moves, how long a hundred take.

The channel is made on the spot: a real Python of Debian's, wheels wrapped as conda packages (fetched once by wherry itself
from the indexes that this machine is configured for), and small packages up to the number that is wanted. It lies in a folder.

*Warm* is a whole build that finds its layers in the cache, past the short way of an unchanged project. *Anew* has the archives in
the cache and makes every layer again. *Model only* is what somebody does who trains and builds.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tools.conda_channel.channel import Channel
from tools.conda_channel.debian_records import make_debian_records
from tools.conda_channel.packages import CondaPackage
from tools.conda_channel.samples import dist_info, write_samples
from tools.conda_channel.wheels import wrap_wheel

from bench.cases import measure_cases
from bench.harness import run_process, tell
from bench.results import Figure, Results, Target, figure
from bench.workshop import install_wherry

CASES = ("two-hosts", "bump", "hundred")
TITLES = {
    "two-hosts": "one lock, two hosts: other cache, folder, order of the channel, umask, time zone, hash seed; two platforms",
    "bump": "one record of several gets a new version",
    "hundred": "an environment of a hundred packages, five big wheels wrapped among them",
}
TARGETS = {
    "two-hosts": (Target(metric="equal", limit=100, at_least=True),),
    "bump": (Target(metric="layers_moved", limit=1), Target(metric="layers_moved_with_bytecode", limit=2)),
    "hundred": (Target(metric="seconds", limit=3), Target(metric="model_only_seconds", limit=0.15)),
}
_SUBDIRS = ("linux-64", "linux-aarch64")
_BOTH = ("--platform", "linux/amd64", "--platform", "linux/arm64")
_PACKAGES = 100
_WHEELS = "numpy\nscipy\npandas\nscikit-learn\nmatplotlib\n"
_WARM_RUNS, _MODEL_RUNS, _ANEW_RUNS = 5, 9, 2
_TOML = """\
name = "conda"
base = "debian:bookworm"
entrypoint = ["python", "main.py"]
models = ["model.pkl"]
bytecode = "{bytecode}"
"""


def run(work: Path, source: Path, results: Results, cases: tuple[str, ...]) -> None:
    """Measure the cases with the wherry of `source`; each is printed and kept as soon as it is done."""
    wherry = install_wherry(work, source, "conda")
    measures: dict[str, Callable[[Path, Path], Iterator[Figure]]] = {"two-hosts": _two_hosts, "bump": _bump, "hundred": _hundred}

    def measure(case: str) -> Iterator[Figure]:
        shutil.rmtree(work / case, ignore_errors=True)
        return measures[case](work / case, wherry)

    measure_cases("conda", cases, TITLES, TARGETS, results, measure)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Host:
    """A place where somebody builds: the project with store and cache of its own. `prefix` comes before the command."""

    folder: Path
    wherry: Path
    prefix: tuple[str, ...] = ()
    env: Mapping[str, str]

    @property
    def project(self) -> Path:
        return self.folder / "project"

    def write(self, channel: Path, specs: tuple[str, ...], bytecode: str = "layer") -> None:
        lines = "".join(f"  - {spec}\n" for spec in specs)
        self.project.mkdir(parents=True, exist_ok=True)
        (self.project / "environment.yml").write_text(f"channels:\n  - {channel.as_uri()}\ndependencies:\n{lines}")
        (self.project / "wherry.toml").write_text(_TOML.format(bytecode=bytecode))
        (self.project / "main.py").write_text("print('here')\n")
        (self.project / "model.pkl").write_bytes(random.Random(0).randbytes(6000))

    def run(self, *words: str, memory: bool = False) -> tuple[float, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("WHERRY_", "CONDA_", "PYTHON"))}
        places = {"WHERRY_STORE": str(self.folder / "store"), "WHERRY_CACHE": str(self.folder / "cache")}
        done = run_process([*self.prefix, self.wherry, *words], cwd=self.project, env={**kept, **places, **self.env}, memory=memory)
        return done.seconds, done.output

    def build(self, *words: str) -> dict[str, list[dict[str, Any]]]:
        """The layers by platform."""
        told = json.loads(self.run("build", *words, "--json")[1])
        return {image["platform"]: image["layers"] for image in told["images"]}


def _host(folder: Path, wherry: Path, prefix: tuple[str, ...] = (), **env: str) -> _Host:
    return _Host(folder=folder, wherry=wherry, prefix=prefix, env=env)


# -- two hosts


def _two_hosts(work: Path, wherry: Path) -> Iterator[Figure]:
    specs = ("hello", "harbour", "compass", "almanac", "clobber-b", "talker", "boat-000", "boat-001")
    one = _host(work / "one", wherry)
    one.write(_make_channel(work / "channel", _SUBDIRS, boats=4).folder, specs)
    first = one.build(*_BOTH)
    other = _host(work / "two" / "deeper", wherry, ("sh", "-c", 'umask 077; exec "$@"', "sh"), TZ="Asia/Tokyo", PYTHONHASHSEED="7")
    other.write(_copy_backwards(work / "channel", work / "another" / "channel"), specs)
    _share_debian(one, other)
    lines = (one.project / "wherry.lock").read_text().splitlines(keepends=True)
    learned = ("diff_id", "yields")
    (other.project / "wherry.lock").write_text("".join(line for line in lines if not line.startswith(learned)))
    (other.project / "environment.yml").write_text((one.project / "environment.yml").read_text())
    mirrors = work / "condarc"
    mirrors.write_text(json.dumps({"mirrored_channels": {(work / "channel").as_uri(): [(work / "another" / "channel").as_uri()]}}))
    second = replace(other, env={**other.env, "CONDARC": str(mirrors)}).build(*_BOTH)
    pairs = [(layer, other_layer) for name in first for layer, other_layer in zip(first[name], second[name], strict=True)]
    equal = sum(layer["diff_id"] == other_layer["diff_id"] for layer, other_layer in pairs)
    yield figure("two-hosts", "wherry", "layers", [len(pairs)], "")
    yield figure("two-hosts", "wherry", "equal", [100 * equal / len(pairs)], "%")


def _copy_backwards(source: Path, target: Path) -> Path:
    """The same channel, its index in another order."""
    shutil.copytree(source, target)
    for index in target.rglob("repodata.json"):
        document = json.loads(index.read_bytes())
        for table in ("packages", "packages.conda"):
            document[table] = dict(reversed(document[table].items()))
        index.write_text(json.dumps(document))
        index.with_name("repodata.json.zst").unlink()
    return target


# -- a bump


def _bump(work: Path, wherry: Path) -> Iterator[Figure]:
    channel = _make_channel(work / "channel", _SUBDIRS[:1], boats=20)
    channel.add(_big("1.0"), _boat("dinghy", "1.0"))
    channel.write_index()
    hosts = {"layers_moved": "none", "layers_moved_with_bytecode": "layer"}
    specs = ("big-boat", "dinghy", "hello", "harbour", *(f"boat-{number:03}" for number in range(20)))
    before = {}
    for metric, bytecode in hosts.items():
        host = _host(work / bytecode, wherry)
        host.write(channel.folder, specs, bytecode)
        if metric != "layers_moved":
            _share_debian(_host(work / "none", wherry), host)
        before[metric] = host.build()
    channel.add(_big("1.1"), _boat("dinghy", "1.1"))
    channel.write_index()
    for metric, bytecode in hosts.items():
        host, moved = _host(work / bytecode, wherry), []
        known = before[metric]
        for name in ("big-boat", "dinghy"):
            host.run("lock", "--upgrade-package", name)
            after = host.build()
            moved.append(_count_moved(known, after))
            known = after
        yield figure("bump", "wherry", metric, moved, "")


def _count_moved(before: Mapping[str, list[dict[str, Any]]], after: Mapping[str, list[dict[str, Any]]]) -> int:
    return sum(layer["diff_id"] not in {one["diff_id"] for one in before[name]} for name in after for layer in after[name])


def _big(version: str) -> CondaPackage:
    package = _boat("big-boat", version)
    return replace(package, files={**package.files, "share/big-boat/cargo": random.Random(version).randbytes(1 << 21)})


# -- a hundred packages


def _hundred(work: Path, wherry: Path) -> Iterator[Figure]:
    wrapped = [wrap_wheel(wheel, depends=("libstdcxx-ng",)) for wheel in _collect_wheels(work / "collect", wherry)]
    records = make_debian_records(work.parent / "debian", _SUBDIRS[0])
    channel = _make_channel(work / "channel", _SUBDIRS[:1], boats=_PACKAGES - len(records) - len(wrapped))
    channel.add(*wrapped)
    channel.write_index()
    names = sorted({package.name for package in wrapped} | {archive.name.rsplit("-", 2)[0] for archive in records})
    host = _host(work / "host", wherry)
    host.write(channel.folder, (*names, *(path.name.rsplit("-", 2)[0] for path in sorted(channel.folder.rglob("boat-*")))))
    locked, _ = host.run("lock")
    first, _ = host.run("build")
    count = sum(line == "[[platform.record]]\n" for line in (host.project / "wherry.lock").open())
    yield figure("hundred", "wherry", "packages", [count], "")
    yield figure("hundred", "wherry", "lock_seconds", [locked], "s")
    yield figure("hundred", "wherry", "first_seconds", [first], "s")
    warm = [host.run("build", "--locked")[0] for _ in range(_WARM_RUNS)]
    yield figure("hundred", "wherry", "seconds", warm, "s")
    trained = list(_train_and_build(host))
    yield figure("hundred", "wherry", "model_only_seconds", [wall for wall, _ in trained], "s")
    yield figure("hundred", "wherry", "model_only_cpu_seconds", [cpu for _, cpu in trained], "s")
    yield figure("hundred", "wherry", "anew_seconds", [_build_anew(host) for _ in range(_ANEW_RUNS)], "s")
    layers = next(iter(host.build().values()))
    yield figure("hundred", "wherry", "layers", [len(layers)], "")
    yield figure("hundred", "wherry", "size_mb", [sum(layer["size"] for layer in layers) / 1e6], "MB")


def _train_and_build(host: _Host) -> Iterator[tuple[float, float]]:
    """Wall clock and processor time: on a busy machine they differ by what others take."""
    for number in range(1, _MODEL_RUNS + 1):
        (host.project / "model.pkl").write_bytes(random.Random(number).randbytes(6000))
        before = os.times()
        seconds, _ = host.run("build")
        after = os.times()
        if number > 1:  # the first one looks again at files that were written just before
            yield seconds, after.children_user + after.children_system - before.children_user - before.children_system


def _build_anew(host: _Host) -> float:
    shutil.rmtree(host.folder / "store")
    for name in ("layers", "builds", "interpreters"):
        shutil.rmtree(host.folder / "cache" / name, ignore_errors=True)
    return host.run("build", "--locked")[0]


# -- what they are made of


def _make_channel(folder: Path, subdirs: tuple[str, ...], boats: int) -> Channel:
    channel = write_samples(folder, python=False)
    for subdir in subdirs:
        for archive in make_debian_records(folder.parents[1] / "debian", subdir):
            channel.add_archive(archive)
    channel.add(*(_boat(f"boat-{number:03}", "1.0") for number in range(boats)))
    channel.write_index()
    return channel


def _boat(name: str, version: str) -> CondaPackage:
    """A small pure Python package of twenty modules."""
    module = name.replace("-", "_")
    code = "".join(f"def f{number}(x):\n    return [x + {number}, '{name}']\n" for number in range(20))
    modules = {f"site-packages/{module}/m{number}.py": f"NUMBER = {number}\n{code}".encode() for number in range(20)}
    files = {f"site-packages/{module}/__init__.py": f"VERSION = '{version}'\n".encode(), **modules, **dist_info(name, version)}
    return CondaPackage(name=name, version=version, build="pyhd_0", noarch="python", depends=("python >=3.9",), files=files)


def _collect_wheels(work: Path, wherry: Path) -> list[Path]:
    tell("fetching the wheels, once")
    project = work / "project"
    project.mkdir(parents=True)
    (project / "requirements.txt").write_text(_WHEELS)
    (project / "wherry.toml").write_text('name = "collect"\nbase = "debian:bookworm"\nbytecode = "none"\ncode = false\n')
    env = {**os.environ, "WHERRY_STORE": str(work / "store"), "WHERRY_CACHE": str(work / "cache")}
    run_process([wherry, "build", "--platform", "linux/amd64"], cwd=project, env=env)
    return sorted((work / "cache" / "artefacts").rglob("*.whl"))


def _share_debian(one: _Host, other: _Host) -> None:
    """What the mirrors gave, so that they are asked once; nothing that was made of it."""
    (other.folder / "cache").mkdir(parents=True, exist_ok=True)
    shutil.copytree(one.folder / "cache" / "debian", other.folder / "cache" / "debian", dirs_exist_ok=True)
