"""What helps against a finding: a wheel that does without, a wheel that brings the library, a Debian package, a newer base.

Debian's own index says which package has a library (`sources.debian_contents`); the rest are small tables of what is known.
A wheel that does without is preferred: Debian's libGL brings Mesa and LLVM along, ten times the size of the wheel.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from wherry.model.cuda import name_cuda_wheel
from wherry.model.platform import Platform
from wherry.model.report import Finding, Fix, Report
from wherry.sources.debian import open_archive
from wherry.sources.debian_contents import find_library_packages
from wherry.sources.debian_trust import DISTRIBUTIONS

# The same modules under another name, without what is for a screen.
_WITHOUT_SCREEN = {
    "opencv-python": "opencv-python-headless",
    "opencv-contrib-python": "opencv-contrib-python-headless",
}
# Libraries that come in wheels: what the name begins with, and the wheel, where N is the library's major version.
_IN_WHEELS = (
    (re.compile(r"libcudart\.so\.(1[1-9])(?:\..*)?"), "nvidia-cuda-runtime-cu{0}"),
    (re.compile(r"libcublas(?:Lt)?\.so\.(1[1-9])"), "nvidia-cublas-cu{0}"),
    (re.compile(r"libnvrtc\.so\.(1[1-9])(?:\..*)?"), "nvidia-cuda-nvrtc-cu{0}"),
    (re.compile(r"libnvJitLink\.so\.(1[2-9])(?:\..*)?"), "nvidia-nvjitlink-cu{0}"),
    (re.compile(r"libcupti\.so\.(1[1-9])(?:\..*)?"), "nvidia-cuda-cupti-cu{0}"),
    (re.compile(r"libcudnn\w*\.so\.\d+"), "nvidia-cudnn-cu12"),
    (re.compile(r"libcufft\w*\.so\.11"), "nvidia-cufft-cu12"),
    (re.compile(r"libcurand\.so\.10"), "nvidia-curand-cu12"),
    (re.compile(r"libcusparse\.so\.12"), "nvidia-cusparse-cu12"),
    (re.compile(r"libcusolver\.so\.11"), "nvidia-cusolver-cu12"),
    (re.compile(r"libcusparseLt\.so\.0"), "nvidia-cusparselt-cu12"),
    (re.compile(r"libnvToolsExt\.so\.1"), "nvidia-nvtx-cu12"),
    (re.compile(r"libnccl\.so\.2"), "nvidia-nccl-cu12"),
)
# The symbol versions that Debian's releases end with.
_NEWEST = {
    "GLIBC": (("bookworm", (2, 36)), ("trixie", (2, 41))),
    "GLIBCXX": (("bookworm", (3, 4, 30)), ("trixie", (3, 4, 33))),
    "CXXABI": (("bookworm", (1, 3, 13)), ("trixie", (1, 3, 15))),
}
_VERSION = re.compile(r"(GLIBC|GLIBCXX|CXXABI)_([\d.]+)")
_QT = re.compile(r"libQt\d")  # a wheel's Qt goes with its own parts alone, never with the distribution's
_ASKED = ("missing-library", "loaded-by-name", "system-library")


def lacks_package(report: Report) -> bool:
    """Whether there is a finding for which Debian's index may know a remedy."""
    return any(one.rule in _ASKED and _suggest_wheel(one) is None for one in report.findings)


def read_library_packages(
    report: Report, env: Mapping[str, str], cache: Path, *, offline: bool = False
) -> Mapping[str, tuple[str, ...]]:
    """The index for the distribution that the report is of; empty where this machine has no apt sources for it."""
    name, _, suite = report.release.partition(":")
    if name not in DISTRIBUTIONS or report.platform is None:
        return {}
    archive = open_archive(env, cache, offline=offline, distribution=DISTRIBUTIONS[name])
    if archive is None:
        return {}
    with archive:
        return find_library_packages(archive, suite, _plain(report.platform), cache)


def add_remedies(report: Report, packages: Mapping[str, tuple[str, ...]]) -> Report:
    """The report with a remedy for each finding that has one. `packages` are Debian's, by library."""
    return replace(report, findings=tuple(_add_remedy(one, packages) for one in report.findings))


def _plain(platform: Platform) -> Platform:
    return Platform(platform.os, platform.architecture, platform.variant)


def _add_remedy(finding: Finding, packages: Mapping[str, tuple[str, ...]]) -> Finding:
    if finding.remedy:
        return finding
    if finding.rule == "symbol-version":
        return replace(finding, remedy=_suggest_base(finding.subject))
    if finding.rule not in _ASKED:
        return finding
    wheel = _suggest_wheel(finding)
    if wheel:
        return wheel
    found = packages.get(finding.subject)
    if not found or _QT.match(finding.subject):
        return finding
    text = f'system-packages = ["{found[0]}"] in wherry.toml; elsewhere apt-get install {found[0]}'
    return replace(finding, remedy=text, fix=Fix(system_packages=(found[0],)))


def _suggest_wheel(finding: Finding) -> Finding | None:
    for owner in finding.owner.split(", "):
        name = re.sub(r"[-_.]+", "-", owner.partition(" ")[0]).lower()
        if name in _WITHOUT_SCREEN and finding.rule != "loaded-by-name":
            other = _WITHOUT_SCREEN[name]
            return replace(
                finding,
                remedy=f"{other} in place of {name}: the same modules, without windows on a screen",
                fix=Fix(replacements=((name, other),)),
            )
    for pattern, wheel in _IN_WHEELS:
        found = pattern.fullmatch(finding.subject)
        if found:
            return replace(finding, remedy=f"the wheel {name_cuda_wheel(wheel, *found.groups())}, or a build without CUDA")
    return None


def _suggest_base(symbol: str) -> str:
    found = _VERSION.fullmatch(symbol)
    if found:
        wanted = tuple(map(int, found[2].strip(".").split(".")))
        for suite, newest in _NEWEST[found[1]]:
            if wanted <= newest:
                return f'a base of debian:{suite} or newer (base = "debian:{suite}"), or an older version of the package'
    return "an older version of the package, or a newer base"
