"""A live environment to a file that asks for the same: what is installed in a prefix, and what another machine can be given.

Of a virtual environment a requirements.txt is made, of a conda prefix an environment.yml with a pip section (`live_conda`).
Nothing is imported from it. `live_package` judges a single distribution.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name

from wherry.declare.conda_meta import CondaPrefix, read_conda_packages
from wherry.declare.distributions import Distribution, read_distributions
from wherry.declare.live_conda import judge_conda_prefix, render_environment
from wherry.declare.live_package import Fate, LivePackage, direct_part, judge_distribution
from wherry.declare.prefix import Prefix, read_prefix

_INSTALLERS = ("pip", "wheel", "setuptools", "distribute")  # there to install others; kept when something requires them


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveEnvironment:
    """Sorted by name. `channels` are conda's, none of a virtual environment. `notes` are about the environment as a whole."""

    prefix: Path
    python: str
    packages: tuple[LivePackage, ...]
    notes: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()

    @property
    def is_conda(self) -> bool:
        return bool(self.channels)

    @property
    def file(self) -> str:
        """The name of the file to write."""
        return "environment.yml" if self.is_conda else "requirements.txt"

    def having(self, fate: Fate) -> tuple[LivePackage, ...]:
        return tuple(package for package in self.packages if package.fate is fate)


def read_live_environment(prefix: Path | None, *, root: Path | None = None, home: Path | None = None) -> LiveEnvironment:
    """Read `prefix`; None means the Python that runs wherry. `root` is the project's folder, whose own install is left out.

    `home` is where ``pip install --user`` puts things.
    """
    place = read_prefix(Path(sys.prefix) if prefix is None else prefix, home)
    conda = read_conda_packages(place.path) if place.is_conda else CondaPrefix(packages=())
    installed, notes = _installed(place, root, {key for package in conda.packages for key in package.distributions})
    channels: tuple[str, ...] = ()
    if place.is_conda:
        live = judge_conda_prefix(conda, installed)
        packages, channels = live.packages, live.channels
        notes += live.notes
    else:
        packages = tuple(judge_distribution(item, of_user, item.installer == "conda") for item, of_user in installed)
    found = tuple(sorted(packages, key=lambda package: (canonicalize_name(package.name), package.version)))
    return LiveEnvironment(prefix=place.path, python=place.python, packages=found, notes=tuple(notes), channels=channels)


def render_live(live: LiveEnvironment) -> str:
    """The text of the file that asks for the same."""
    if live.is_conda:
        return render_environment(live.python, live.channels, live.packages)
    return render_requirements(live)


def render_requirements(live: LiveEnvironment) -> str:
    """A requirements.txt, with what could not be had as comments."""
    lines = [f"# Python {live.python}. Read from a live environment by wherry init --from-env."]
    for package in live.packages:
        if package.requirement:
            lines.append(package.requirement + (f"  # {package.why}" if package.fate is Fate.CHANGED else ""))
        else:
            lines.append(f"# not possible: {package.name} {package.version}".rstrip() + f" ({package.why})")
    return "\n".join(lines) + "\n"


def _installed(place: Prefix, root: Path | None, of_conda: set[str]) -> tuple[list[tuple[Distribution, bool]], list[str]]:
    """What Python would import, each with whether ``pip install --user`` put it there; the first of a name wins, as it does.

    Installers are left out, unless something requires them or conda brought them (`of_conda`, normalised names).
    """
    everything = [(item, False) for site in place.sites for item in read_distributions(site)]
    notes = []
    if place.user_site is not None:
        of_user = [(item, True) for item in read_distributions(place.user_site)]
        notes = [f"pip install --user: {item.name} {item.version} lies in {place.user_site}" for item, _ in of_user]
        everything = of_user + everything
    wanted = of_conda | {name for item, _ in everything for name in item.requires}
    found: dict[str, tuple[Distribution, bool]] = {}
    for item, of_user_site in everything:
        if _is_project(item, root):
            notes.append(f"{item.name} is the project itself: its code goes into the image as it is")
        elif item.key not in _INSTALLERS or item.key in wanted:
            first, _ = found.setdefault(item.key, (item, of_user_site))
            if first.folder and item.folder and first is not item and first.folder.parent == item.folder.parent:
                notes.append(f"{first.place} and {item.place} lie side by side: the first one counts")
    return list(found.values()), notes


def _is_project(item: Distribution, root: Path | None) -> bool:
    if root is None or not direct_part(item, "dir_info").get("editable"):
        return False
    return Path(str(item.direct_url["url"]).removeprefix("file://")).resolve() == root.resolve()
