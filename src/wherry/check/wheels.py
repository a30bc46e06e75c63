"""Judges distributions by what their metadata says: tags of the wheel against the interpreter, and whether anything is there.

Follows the platform compatibility tags specification (PEP 425, 600, 656). A wheel of several tags fits when one does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from wherry.check.linker import Linker
from wherry.check.python import Distribution, Site
from wherry.check.tree import Tree
from wherry.model.report import Finding, Severity

_TAG = re.compile(r"^Tag: *(\S+?)-(\S+?)-(\S+)\s*$", re.MULTILINE)
_CPYTHON = re.compile(r"cp(\d)(\d+)t?")
_MANYLINUX = re.compile(r"manylinux_(\d+)_(\d+)_(\w+)")
_LEGACY = {"manylinux1": "manylinux_2_5", "manylinux2010": "manylinux_2_12", "manylinux2014": "manylinux_2_17"}
_MACHINES = {
    "amd64": ("x86_64",),
    "arm64": ("aarch64",),
    "arm": ("armv7l", "armv6l"),
    "386": ("i686", "i386"),
    "ppc64le": ("ppc64le",),
    "s390x": ("s390x",),
    "riscv64": ("riscv64",),
}
# What a new environment has before anybody installs something.
_SEEDS = {"pip", "setuptools", "wheel"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What a wheel would run on. `glibc` is (0, 0) where that cannot be told."""

    minor: tuple[int, int]
    architecture: str
    is_musl: bool
    glibc: tuple[int, int] = (0, 0)


def judge_wheels(tree: Tree, sites: Sequence[Site]) -> Iterator[Finding]:
    """Findings about the distributions of `sites`."""
    linkers: dict[str, Linker] = {}
    for site in sites:
        for distribution in site.distributions:
            yield from _judge_emptiness(tree, site, distribution)
        if site.program is None or site.standard:
            continue
        linker = linkers.setdefault(site.program, Linker(tree, site.program))
        host = describe_host(site.minor, linker)
        for distribution in site.distributions:
            reason = refuse_tags(distribution.wheel, host)
            if reason:
                yield _render(distribution, *reason)


def judge_environments(sites: Sequence[Site], environments: Sequence[str]) -> Iterator[Finding]:
    """`environments` are folders with a pyvenv.cfg in them."""
    for environment in environments:
        own = [site for site in sites if site.folder.startswith(f"{environment}/") and not site.standard]
        found = [each for site in own for each in site.distributions if each.name.lower() not in _SEEDS]
        if not found:
            yield Finding(
                rule="empty-environment",
                severity=Severity.WARNING,
                subject=f"/{environment}",
                what="nothing is installed in this environment",
                where=(f"/{environment}",),
                remedy="look whether the requirements were read at all",
            )


def describe_host(minor: str, linker: Linker) -> Host:
    """What the interpreter of a linker is, with the newest GLIBC version that its libc defines."""
    libc = linker.find_provider("libc.so.6")
    versions = [re.fullmatch(r"GLIBC_(\d+)\.(\d+)(?:\.\d+)?", each) for each in (libc.defines if libc else ())]
    major, _, less = minor.partition(".")
    return Host(
        minor=(int(major or 3), int(less or 0)),
        architecture=linker.architecture,
        is_musl=linker.is_musl,
        glibc=max(((int(each[1]), int(each[2])) for each in versions if each), default=(0, 0)),
    )


def refuse_tags(wheel: str, host: Host) -> tuple[str, str] | None:
    """The rule and the reason by which no tag of a WHEEL file fits; None where one does, or none is written."""
    reasons = []
    for interpreter, abi, platform in _TAG.findall(wheel):
        reason = _refuse_python(interpreter, abi, host) or _refuse_platform(platform, host)
        if reason is None:
            return None
        reasons.append(reason)
    return reasons[0] if reasons else None


def _refuse_python(interpreter: str, abi: str, host: Host) -> tuple[str, str] | None:
    here = f"{host.minor[0]}.{host.minor[1]}"
    for each in interpreter.split("."):
        found = _CPYTHON.fullmatch(each)
        if each in ("py3", f"py{host.minor[0]}{host.minor[1]}"):
            return None
        if found:
            made = (int(found[1]), int(found[2]))
            if made == host.minor or (made <= host.minor and abi in ("abi3", "none")):
                return None
        generic = re.fullmatch(r"py3(\d+)", each)
        if generic and int(generic[1]) <= host.minor[1]:
            return None
    return "wrong-python", f"it is for {interpreter}-{abi}, here is Python {here}"


def _refuse_platform(platform: str, host: Host) -> tuple[str, str] | None:
    reason: tuple[str, str] | None = None
    for each in platform.split("."):
        if each == "any":
            return None
        for legacy, name in _LEGACY.items():
            each = re.sub(rf"^{legacy}_", f"{name}_", each)
        one = _refuse_one(each, host)
        if one is None:
            return None
        reason = reason or one
    return reason


def _refuse_one(platform: str, host: Host) -> tuple[str, str] | None:
    if "linux" not in platform:
        return "wrong-wheel", f"it is for {platform}, not for Linux"
    machines = _MACHINES.get(host.architecture, (host.architecture,))
    if not any(platform.endswith(f"_{machine}") for machine in machines):
        return "wrong-architecture", f"it is for {platform}, the interpreter for {host.architecture}"
    musl = platform.startswith("musllinux")
    if musl != host.is_musl and not platform.startswith("linux_"):
        return "wrong-libc", f"it is for {'musl' if musl else 'glibc'} ({platform}), here is {'musl' if host.is_musl else 'glibc'}"
    needed = _MANYLINUX.match(platform)
    if needed and (0, 0) < host.glibc < (int(needed[1]), int(needed[2])):
        return "wrong-wheel", f"it is for glibc {needed[1]}.{needed[2]} or newer, here is {host.glibc[0]}.{host.glibc[1]}"
    return None


def _render(distribution: Distribution, rule: str, reason: str) -> Finding:
    return Finding(
        rule=rule,
        severity=Severity.ERROR,
        subject=distribution.name,
        what=f"the wheel of {distribution} does not fit: {reason}",
        where=(f"/{distribution.folder}/WHEEL",),
        owner=str(distribution),
        remedy="lock and install for this platform and this Python",
    )


def _judge_emptiness(tree: Tree, site: Site, distribution: Distribution) -> Iterator[Finding]:
    own = distribution.folder.rpartition("/")[2]
    tops = [top for top in distribution.tops if not top.startswith((f"{own}/", "../", "__pycache__/")) and top != own]
    if tops and not any(tree.resolve(f"{site.folder}/{top}") is not None for top in tops):
        yield Finding(
            rule="empty-package",
            severity=Severity.ERROR,
            subject=distribution.name,
            what=f"{distribution} counts as installed, and none of its files is there ({', '.join(tops[:3])})",
            where=(f"/{distribution.folder}/RECORD",),
            owner=str(distribution),
            remedy="install it again",
        )
