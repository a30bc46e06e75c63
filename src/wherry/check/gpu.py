"""Judges what is there for GPUs: does the declared driver serve it, is CUDA there more than once, how much of an image is it?

A GPU build on a device without a GPU is the commonest way to an image ten times as big as need be. Where a project declares no
`cuda` that is a warning with the build for CPUs to take instead, in images of others a note, and with a GPU it is right. CUDA's
libraries of two major versions, or of conda and of wheels, load side by side, and cost their size twice. Versions are read from
names: of distributions, of conda's records, of the image's variables.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from wherry.check.python import Distribution, Site
from wherry.check.tree import Tree, is_file
from wherry.model.cuda import Version, find_driver, parse_version, render_version
from wherry.model.report import Finding, Fix, Severity

_MADE_FOR = re.compile(
    r"nvidia-.+|cupy-cuda\d+x?|jax-cuda\d+-.+|onnxruntime-gpu|tensorflow-gpu|triton|faiss-gpu.*|cuda-(?:bindings|toolkit)"
)
_LOCAL = re.compile(r".*\+cu(\d{2,3})")  # 2.5.1+cu124
_LIBRARY = re.compile(r"nvidia-(.+)-cu(\d\d)")
_RUNTIME = re.compile(r"nvidia-cuda-runtime(?:-cu\d\d)?")
_NAMED = re.compile(r"nvidia-.+-cu(\d\d)|cupy-cuda(\d\d)x|jax-cuda(\d\d)-.+|faiss-gpu-cu(\d\d)")
_RECORD = re.compile(r"(?:.*/)?conda-meta/((?:cuda-cudart|cuda-version|cudatoolkit)-(\d+\.\d+)[^/]*)\.json")
_REQUIRED = re.compile(r"cuda>=(\d+\.\d+)")
# The same without CUDA, as a distribution of another name.
_FOR_CPUS = {
    "onnxruntime-gpu": "onnxruntime",
    "tensorflow-gpu": "tensorflow-cpu",
    "faiss-gpu": "faiss-cpu",
    "faiss-gpu-cu11": "faiss-cpu",
    "faiss-gpu-cu12": "faiss-cpu",
    "xgboost": "xgboost-cpu",
}
_WORTH = 50_000_000  # bytes that are worth a line
_SHOWN = 1_000_000  # bytes that are worth a number


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredGpu:
    """What a project says of the target: `cuda` is the version that its driver brings, ``12.4``; None: it has no GPU."""

    cuda: str | None


@dataclass(frozen=True, slots=True)
class _Build:
    """Something built for a version of CUDA; `version` is the major number alone where no more is told."""

    name: str
    version: Version
    folder: str


def judge_gpu(
    tree: Tree, sites: Sequence[Site], declared: DeclaredGpu | None = None, variables: Mapping[str, str] | None = None
) -> Iterator[Finding]:
    """Findings about what in `sites` is for GPUs; `variables` are the image's. `declared` None: nobody says what the target has."""
    records = tuple(_find_records(tree))
    if declared and declared.cuda:
        driver = parse_version(declared.cuda)
        yield from _judge_requirement(variables or {}, driver)
        yield from _judge_driver([*records, *(build for site in sites for build in _find_builds(site))], driver)
    for site in sites:
        meant = {str(one): one for one in site.distributions if _is_for_gpus(one)}
        if not meant:
            continue
        sizes = _measure(tree, site)
        yield from _judge_majors(site, sizes)
        yield from _judge_origins(site, sizes, [each for each in records if each.folder.startswith(site.prefix)])
        if not declared or not declared.cuda:
            yield from _judge_size(site, meant, sizes, Severity.WARNING if declared else Severity.NOTE)


def _normalise(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _is_for_gpus(distribution: Distribution) -> bool:
    return _MADE_FOR.fullmatch(_normalise(distribution.name)) is not None or _LOCAL.fullmatch(distribution.version) is not None


def _measure(tree: Tree, site: Site) -> Mapping[str, int]:
    sizes: dict[str, int] = {}
    for path, entry in tree.entries.items():
        if is_file(entry) and path.startswith(f"{site.folder}/"):
            owner = str(site.find_owner(path) or "")
            sizes[owner] = sizes.get(owner, 0) + entry.size
    return sizes


def _find_builds(site: Site) -> Iterator[_Build]:
    for one in site.distributions:
        version = _version_of(_normalise(one.name), one.version)
        if version:
            yield _Build(str(one), version, one.folder)


def _version_of(name: str, version: str) -> Version | None:
    local = _LOCAL.fullmatch(version)
    if local:
        return (int(local[1][:-1]), int(local[1][-1]))
    if _RUNTIME.fullmatch(name) and (numbers := re.match(r"(\d+)\.(\d+)", version)):
        return (int(numbers[1]), int(numbers[2]))
    named = _NAMED.fullmatch(name)
    return (int(next(filter(None, named.groups()))),) if named else None


def _find_records(tree: Tree) -> Iterator[_Build]:
    """Conda's own CUDA, by the names of its records."""
    for path in tree.entries:
        found = _RECORD.fullmatch(path)
        if found:
            yield _Build(found[1], parse_version(found[2]), path)


def _judge_requirement(variables: Mapping[str, str], driver: Version) -> Iterator[Finding]:
    """What NVIDIA's own images ask of the driver before the container starts."""
    found = _REQUIRED.search(variables.get("NVIDIA_REQUIRE_CUDA", ""))
    if found and parse_version(found[1]) > driver:
        has = render_version(driver)
        yield Finding(
            rule="cuda-driver",
            severity=Severity.ERROR,
            subject="NVIDIA_REQUIRE_CUDA",
            what=f"the container would not start: its base asks for CUDA {found[1]}, the declared driver has {has}",
            remedy=f"a base for CUDA {has} or older, or a newer driver{_say_driver(parse_version(found[1]))}",
        )


def _judge_driver(builds: Sequence[_Build], driver: Version) -> Iterator[Finding]:
    newer: dict[Version, list[_Build]] = {}
    for build in builds:
        if build.version > driver[: len(build.version)]:
            newer.setdefault(build.version, []).append(build)
    for version, found in sorted(newer.items()):
        fails = version[0] > driver[0]
        shown, has = render_version(version), render_version(driver)
        effect = (
            f'"CUDA driver version is insufficient": the declared driver has {has}'
            if fails
            else f"the declared driver has {has}: they run as far as they compile nothing while running (PTX)"
        )
        yield Finding(
            rule="cuda-driver",
            severity=Severity.ERROR if fails else Severity.WARNING,
            subject=f"CUDA {shown}",
            what=f"{_list_names([build.name for build in found])}: for CUDA {shown}; {effect}",
            where=tuple(f"/{build.folder}" for build in found),
            remedy=f"builds for CUDA {has} or older, or a newer driver{_say_driver(version)}",
        )


def _say_driver(cuda: Version) -> str:
    driver = find_driver(cuda)
    return f" ({driver} brings CUDA {render_version(cuda)})" if driver else ""


def _judge_majors(site: Site, sizes: Mapping[str, int]) -> Iterator[Finding]:
    """Libraries of NVIDIA's that are there for two major versions; else builds of packages that are."""
    libraries: dict[str, dict[str, str]] = {}
    for one in site.distributions:
        found = _LIBRARY.fullmatch(_normalise(one.name))
        if found:
            libraries.setdefault(found[1], {})[found[2]] = str(one)
    twice = {name: sorted(versions.values()) for name, versions in libraries.items() if len(versions) > 1}
    builds = sorted(_find_builds(site), key=lambda build: build.name)
    if not twice and len({build.version[0] for build in builds}) > 1:
        twice = {"CUDA": [build.name for build in builds]}
    for name, names in sorted(twice.items()):
        shown = ", ".join(f"{one}{_say_size(sizes.get(one, 0))}" for one in names)
        reason = "built for different major versions of CUDA" if name == "CUDA" else f"{name} of CUDA is there more than once"
        yield Finding(
            rule="duplicate-cuda",
            severity=Severity.WARNING,
            subject=name,
            what=f"{reason}: {shown}",
            where=tuple(f"/{one.folder}" for one in site.distributions if str(one) in names),
            remedy="packages that are built for one and the same major version of CUDA",
        )


def _judge_origins(site: Site, sizes: Mapping[str, int], records: Sequence[_Build]) -> Iterator[Finding]:
    wheels = [one for one in site.distributions if _normalise(one.name).startswith("nvidia-")]
    if records and wheels:
        cost = sum(sizes.get(str(one), 0) for one in wheels)
        yield Finding(
            rule="duplicate-cuda",
            severity=Severity.WARNING,
            subject="CUDA",
            what=f"CUDA is there from conda ({records[0].name}) and once more in wheels{_say_size(cost)}: "
            f"{_list_names([str(one) for one in wheels])}",
            where=(f"/{records[0].folder}", *(f"/{one.folder}" for one in wheels)),
            remedy="take the package that asks for them (torch, cupy, xgboost) from conda too, or CUDA from wheels alone",
        )


def _judge_size(site: Site, meant: Mapping[str, Distribution], sizes: Mapping[str, int], severity: Severity) -> Iterator[Finding]:
    cost = sum(sizes.get(name, 0) for name in meant)
    if cost < _WORTH:
        return
    others, remedies = _suggest_builds({_normalise(one.name) for one in site.distributions})
    shown, remedy = _list_names(sorted(meant)), f"for devices without one: {'; '.join(remedies) or 'builds for CPUs'}"
    if severity is Severity.WARNING:
        shown += ", and no GPU is declared"
        remedy += '; with one: cuda = "12.4" (what its driver has) in wherry.toml'
    yield Finding(
        rule="gpu-packages",
        severity=severity,
        subject="GPU",
        what=f"{cost / 1e6:,.0f} MB are for GPUs: {shown}",
        where=tuple(f"/{meant[name].folder}" for name in sorted(meant)),
        remedy=remedy,
        fix=Fix(replacements=tuple(others.items())) if others else None,
    )


def _suggest_builds(names: Collection[str]) -> tuple[Mapping[str, str], list[str]]:
    """What to ask for in the place of others, and that in words."""
    others = {name: other for name, other in _FOR_CPUS.items() if name in names and other not in names}
    if not any(name.startswith("nvidia-nccl") for name in names):
        others.pop("xgboost", None)  # that is what is large of it
    remedies = [f"{other} in place of {name}" for name, other in others.items()]
    if "torch" in names:
        remedies.append("torch from its own index of builds for CPUs (index-url of the requirements file)")
    return others, remedies


def _list_names(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _say_size(size: int) -> str:
    return f" ({size / 1e6:,.0f} MB)" if size >= _SHOWN else ""
