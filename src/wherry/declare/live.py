"""A live environment to requirements: what is installed in a prefix, and what of it another machine can be given.

Each distribution is *kept* (``name==version``, or a wheel at a URL pinned by its digest), *changed* (it came from a file,
from conda or from ``pip install --user``; the release of that version stands in for it) or *impossible* (editable
installs, version control, conda's packages that are not Python's, damaged records). Nothing is imported from it.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from wherry.declare.conda_meta import CondaPackage, read_conda_packages
from wherry.declare.distributions import Distribution, read_distributions
from wherry.declare.prefix import Prefix, read_prefix
from wherry.declare.redaction import redact
from wherry.formats.urls import strip_login

_INSTALLERS = ("pip", "wheel", "setuptools", "distribute")  # there to install others; kept when something requires them


class Fate(Enum):
    KEPT = "kept"
    CHANGED = "changed"
    IMPOSSIBLE = "impossible"


@dataclass(frozen=True, slots=True, kw_only=True)
class LivePackage:
    """`requirement` is the line to write, empty when impossible; `why` says what was changed, or why it cannot be had."""

    name: str
    version: str
    fate: Fate
    requirement: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveEnvironment:
    """Sorted by name. `notes` are about the environment as a whole."""

    prefix: Path
    python: str
    packages: tuple[LivePackage, ...]
    notes: tuple[str, ...] = ()

    def having(self, fate: Fate) -> tuple[LivePackage, ...]:
        return tuple(package for package in self.packages if package.fate is fate)


def read_live_environment(prefix: Path | None, *, root: Path | None = None, home: Path | None = None) -> LiveEnvironment:
    """Read `prefix`; None means the Python that runs wherry. `root` is the project's folder, whose own install is left out.

    `home` is where ``pip install --user`` puts things.
    """
    place = read_prefix(Path(sys.prefix) if prefix is None else prefix, home)
    conda = read_conda_packages(place.path) if place.is_conda else ()
    installed, notes = _installed(place, root)
    owned = {name for package in conda for name in package.distributions}
    found = [_judge(item, of_user, item.installer == "conda" or item.key in owned) for item, of_user in installed]
    found += _others_of_conda(conda, {item.key for item, _ in installed})
    if place.is_conda:
        notes.append("this is a conda prefix: its records are not read yet, the Python packages stand in for them")
    packages = tuple(sorted(found, key=lambda package: (canonicalize_name(package.name), package.version)))
    return LiveEnvironment(prefix=place.path, python=place.python, packages=packages, notes=tuple(notes))


def render_requirements(live: LiveEnvironment) -> str:
    """A requirements.txt, with what could not be had as comments."""
    lines = [f"# Python {live.python}. Read from a live environment by wherry init --from-env."]
    for package in live.packages:
        if package.requirement:
            lines.append(package.requirement + (f"  # {package.why}" if package.fate is Fate.CHANGED else ""))
        else:
            lines.append(f"# not possible: {package.name} {package.version}".rstrip() + f" ({package.why})")
    return "\n".join(lines) + "\n"


def _installed(place: Prefix, root: Path | None) -> tuple[list[tuple[Distribution, bool]], list[str]]:
    """What Python would import, each with whether ``pip install --user`` put it there; the first of a name wins, as it does."""
    everything = [(item, False) for site in place.sites for item in read_distributions(site)]
    notes = []
    if place.user_site is not None:
        of_user = [(item, True) for item in read_distributions(place.user_site)]
        notes = [f"pip install --user: {item.name} {item.version} lies in {place.user_site}" for item, _ in of_user]
        everything = of_user + everything
    required = {name for item, _ in everything for name in item.requires}
    found: dict[str, tuple[Distribution, bool]] = {}
    for item, of_user_site in everything:
        if _is_project(item, root):
            notes.append(f"{item.name} is the project itself: its code goes into the image as it is")
        elif item.key not in _INSTALLERS or item.key in required:
            found.setdefault(item.key, (item, of_user_site))
    return list(found.values()), notes


def _others_of_conda(conda: tuple[CondaPackage, ...], known: set[str]) -> list[LivePackage]:
    """Conda's packages that no distribution stands for, without Python itself."""
    why = "a package of conda's, not Python's"
    return [
        LivePackage(name=package.name, version=package.version, fate=Fate.IMPOSSIBLE, why=why)
        for package in conda
        if not package.distributions and package.name != "python" and canonicalize_name(package.name) not in {*known, *_INSTALLERS}
    ]


def _judge(item: Distribution, of_user: bool, of_conda: bool) -> LivePackage:
    if item.damaged:
        return _impossible(item, item.damaged)
    if item.direct_url:
        return _judge_direct(item)
    if of_user:
        return _changed(item, "was installed with pip install --user")
    if of_conda:
        return _changed(item, "was conda's")
    if item.installer == "debian":
        return _changed(item, "was Debian's")
    if item.legacy:
        return _changed(item, "was installed by setup.py or Debian")
    return LivePackage(name=item.name, version=item.version, fate=Fate.KEPT, requirement=f"{item.name}=={item.version}")


def _judge_direct(item: Distribution) -> LivePackage:
    """PEP 610: where a distribution came from when it was not an index."""
    url = str(item.direct_url["url"])
    if _inner(item, "dir_info").get("editable"):
        return _impossible(item, f"an editable install of {redact(url.removeprefix('file://'))}")
    vcs = _inner(item, "vcs_info")
    if vcs:
        return _impossible(item, f"from {vcs.get('vcs', 'version control')}: {redact(url)}")
    if url.startswith("file:"):
        return _changed(item, "came from a file of this machine")
    hashes = _inner(item, "archive_info").get("hashes")
    digest = hashes.get("sha256") if isinstance(hashes, dict) else None
    if digest is None:
        digest = str(_inner(item, "archive_info").get("hash", "")).removeprefix("sha256=")
    if url.split("?")[0].endswith(".whl") and re.fullmatch(r"[0-9a-f]{64}", str(digest)):
        text = f"{item.name} @ {strip_login(url)}#sha256={digest}"
        return LivePackage(name=item.name, version=item.version, fate=Fate.KEPT, requirement=text)
    return _changed(item, f"came from {redact(url)}")


def _changed(item: Distribution, why: str) -> LivePackage:
    if not item.version:
        return _impossible(item, why)
    return LivePackage(name=item.name, version=item.version, fate=Fate.CHANGED, requirement=f"{item.name}=={item.version}", why=why)


def _impossible(item: Distribution, why: str) -> LivePackage:
    return LivePackage(name=item.name, version=item.version, fate=Fate.IMPOSSIBLE, why=why)


def _inner(item: Distribution, key: str) -> dict[str, Any]:
    value = item.direct_url.get(key)
    return value if isinstance(value, dict) else {}


def _is_project(item: Distribution, root: Path | None) -> bool:
    if root is None or not _inner(item, "dir_info").get("editable"):
        return False
    return Path(str(item.direct_url["url"]).removeprefix("file://")).resolve() == root.resolve()
