"""docs/explanation/dependencies.md names every package that wherry needs to run, under the licence that its metadata tells."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/explanation/dependencies.md"
# What is distributed with an Apache-2.0 program as a library of its own; anything else is for people to decide.
FINE = {"0BSD", "BSD", "BSD-2-Clause", "BSD-3-Clause", "3-Clause BSD", "ISC", "MIT", "MIT-0", "MPL-2.0", "PSF-2.0", "Python-2.0"}
FINE |= {"Apache", "Apache 2.0", "Apache-2.0"}


def list_needed() -> dict[str, str]:
    """Name → licence, of all packages that the project's own requirements, and those of its extras, lead to here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    waiting = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
    found: dict[str, str] = {}
    while waiting:
        requirement = Requirement(waiting.pop())
        name = canonicalize_name(requirement.name)
        extras = requirement.extras or {""}
        if name in found or (requirement.marker and not any(requirement.marker.evaluate({"extra": each}) for each in extras)):
            continue
        try:
            found[name] = read_licence(name)
        except PackageNotFoundError:
            pytest.skip(f"{name} is not installed")
        for text in distribution(name).requires or ():
            inner = Requirement(text)
            if inner.marker is None or any(inner.marker.evaluate({"extra": each}) for each in extras):
                inner.marker = None
                waiting.append(str(inner))
    return found


def read_licence(name: str) -> str:
    """What the metadata tells: the expression, a short text, or the classifier."""
    metadata = distribution(name).metadata
    classifiers = [line.rpartition(" :: ")[2] for line in metadata.get_all("Classifier") or () if line.startswith("License ::")]
    if expression := metadata.get("License-Expression"):
        return str(expression)
    texts = [*(metadata.get_all("License") or ()), ", ".join(classifiers)]
    told = next(text.strip() for text in texts if 0 < len(text.strip()) < 40)
    return re.sub(r" [Ll]icen[sc]e\b.*", "", told)


def test_the_page_tells_every_licence() -> None:
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| ([^|]+?) \|", PAGE.read_text(), re.M)
    told, needed = dict(rows), list_needed()
    assert {name: told.get(name) for name in needed} == needed


def test_each_licence_allows_it() -> None:
    for name, licence in list_needed().items():
        assert any(part in FINE for part in re.split(r" (?:OR|AND) |[()]", licence)), f"{name}: {licence}"
