"""A live conda prefix to an environment.yml: conda's packages as pinned specs, what pip put over them as its ``pip:`` section.

Build strings are left out, so that another platform or a rebuilt package can answer. A distribution that pip laid over one of
conda's stays asked for twice: by conda for the packages that need it, by pip for its version. Nothing is imported or run.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from packaging.utils import canonicalize_name

from wherry.declare.conda_meta import CondaPackage, CondaPrefix
from wherry.declare.distributions import Distribution
from wherry.declare.live_package import Fate, LivePackage, impossible_package, judge_distribution

# How selectors call conda's platforms; a package with one of these in its name is for that platform alone.
_SELECTORS = {"linux-64": "linux64", "linux-aarch64": "aarch64", "linux-ppc64le": "ppc64le", "linux-s390x": "s390x"}
_MACHINES = {"linux-64": ("linux-64", "x86_64"), "linux-aarch64": ("linux-aarch64",)}
_PLAIN = re.compile(r"[A-Za-z0-9_][^\s#:'\"]*(?:::?[^\s#:'\"]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveConda:
    """`channels` are those of the records, the one with most first."""

    channels: tuple[str, ...]
    packages: tuple[LivePackage, ...]
    notes: tuple[str, ...]


def judge_conda_prefix(prefix: CondaPrefix, installed: Sequence[tuple[Distribution, bool]]) -> LiveConda:
    """`installed` are the distributions that Python would import, each with whether ``pip install --user`` put it there."""
    counts = Counter(package.channel for package in prefix.packages if package.channel)
    channels = tuple(sorted(counts, key=lambda channel: (-counts[channel], channel)))
    owners = {key: package for package in prefix.packages for key in package.distributions}
    lying = {item.key: (item, of_user) for item, of_user in installed}
    found = [_judge_record(package, channels, lying) for package in prefix.packages]
    of_file: list[str] = []
    for item, of_user in installed:
        owner = owners.get(item.key)
        if owner is None:
            found.append(judge_distribution(item, of_user, item.installer == "conda"))
        elif not of_user and item.place == owner.distributions[item.key]:
            of_file += [item.name] if str(item.direct_url.get("url", "")).startswith("file:") else []
        else:
            found.append(_judge_over(item, of_user, owner))
    return LiveConda(channels=channels or ("defaults",), packages=tuple(found), notes=_notes(prefix, channels, of_file))


def render_environment(python: str, channels: Sequence[str], packages: Sequence[LivePackage]) -> str:
    """An environment.yml, with what could not be had as comments."""
    lines = [
        f"# Python {python}. Read from a live conda environment by wherry init --from-env; build strings are left out.",
        "channels:",
        *(f"  - {_quote(channel)}" for channel in channels),
        "dependencies:",
    ]
    lines += [_line("  ", package) for package in packages if package.of_conda]
    of_pip = [package for package in packages if not package.of_conda]
    if any(package.requirement for package in of_pip):
        lines.append("  - pip:")
    lines += [_line("      ", package) for package in of_pip if package.requirement]
    lines += [_line("  ", package) for package in of_pip if not package.requirement]
    return "\n".join(lines) + "\n"


def _judge_record(package: CondaPackage, channels: Sequence[str], lying: dict[str, tuple[Distribution, bool]]) -> LivePackage:
    spec = f"{package.name}={package.version}"
    if package.channel and package.channel != channels[0]:
        spec = f"{package.channel}::{spec}"
    why = "came from a file of this machine" if not package.channel else ""
    for key, folder in package.distributions.items():
        item, of_user = lying.get(key, (None, False))
        if item is None and _is_alone(package, key):
            why = f"somebody removed the files of its distribution {key}; conda's package is asked for again"
        elif item is not None and not of_user and item.place == folder and _is_replaced(item, package.records.get(folder)):
            why = "pip laid the same version over conda's files; conda's package stands in for both"
    machine = any(text in package.name for text in _MACHINES.get(package.subdir, ()))
    return LivePackage(
        name=package.name,
        version=package.version,
        fate=Fate.CHANGED if why else Fate.KEPT,
        requirement=spec,
        why=why,
        of_conda=True,
        selector=_SELECTORS.get(package.subdir, "") if machine else "",
    )


def _is_alone(package: CondaPackage, key: str) -> bool:
    """Whether a distribution that is gone was the package's own, not one of several that it only brings along."""
    return len(package.distributions) == 1 or canonicalize_name(package.name) == key


def _is_replaced(item: Distribution, noted: str | None) -> bool:
    if noted is None or item.folder is None or not (item.folder / "RECORD").is_file():
        return False
    try:
        return hashlib.sha256((item.folder / "RECORD").read_bytes()).hexdigest() != noted
    except OSError:
        return False


def _judge_over(item: Distribution, of_user: bool, owner: CondaPackage) -> LivePackage:
    """Something other than conda's that Python imports in its place."""
    judged = judge_distribution(item, of_user, of_conda=False)
    if judged.fate is Fate.IMPOSSIBLE:
        return impossible_package(item, f"{judged.why}; it hides conda's {owner.name} {owner.version}")
    who = "pip install --user" if of_user else "pip"
    return replace(judged, fate=Fate.CHANGED, why=f"{who} put it over conda's {owner.name} {owner.version}: both are asked for")


def _notes(prefix: CondaPrefix, channels: Sequence[str], of_file: Sequence[str]) -> tuple[str, ...]:
    notes = [f"conda-meta/{name} is damaged: its package is not in the list" for name in prefix.damaged]
    if of_file:
        named = ", ".join(of_file[:5]) + (f" and {len(of_file) - 5} more" if len(of_file) > 5 else "")
        notes.append(f"`@ file://` in pip's list, {named}: conda's own builds, asked for from conda's channels")
    notes += [f"{channel} is a folder of this machine" for channel in channels if channel.startswith(("file:", "/"))]
    return tuple(notes)


def _line(indent: str, package: LivePackage) -> str:
    if not package.requirement:
        return f"{indent}# not possible: {' '.join((package.name, package.version)).rstrip()} ({package.why})"
    comments = [f"[{package.selector}]"] if package.selector else []
    comments += [package.why] if package.fate is Fate.CHANGED else []
    return f"{indent}- {_quote(package.requirement)}" + (f"  # {' '.join(comments)}" if comments else "")


def _quote(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)
