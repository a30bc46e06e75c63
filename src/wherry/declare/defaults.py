"""What is assumed where the author wrote nothing. Each default is a pure look at the project's folder and the host.

Rules: the same folder on the same kind of host gives the same answer; nothing is run or imported. `wherry init` writes
these answers down, with the reason for each.
"""

from __future__ import annotations

import platform
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version

from wherry.declare.grammar import SUITES
from wherry.declare.model_files import NO_MODELS_IN
from wherry.declare.pyproject import table_at
from wherry.model.declaration import DebianBase, ReferenceBase
from wherry.model.platform import Platform
from wherry.model.reference import Reference

_SCRIPTS = ("main.py", "app.py", "serve.py", "server.py", "run.py", "predict.py", "score.py", "inference.py")
SRC_ON_PATH = (("PYTHONPATH", "/app/src"),)
_PYTHONS = ("3.11", "3.13", "3.12", "3.14")  # in the order of preference: Debian's own first


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What of this machine the defaults depend on."""

    platform: Platform
    has_apt: bool


def read_host(apt: Path = Path("/etc/apt")) -> Host:
    """This machine. A machine of an unknown kind builds for linux/amd64."""
    machine = {"aarch64": "arm64", "arm64": "arm64"}.get(platform.machine().lower(), "amd64")
    return Host(platform=Platform("linux", machine), has_apt=has_apt_sources(apt))


def has_apt_sources(apt: Path) -> bool:
    """Whether an apt configuration names at least one archive."""
    try:
        parts = sorted((apt / "sources.list.d").iterdir()) if (apt / "sources.list.d").is_dir() else []
        for path in (apt / "sources.list", *parts):
            if path.suffix in (".list", ".sources") and path.is_file():
                text = path.read_text("utf-8", "replace")
                if re.search(r"^\s*(deb\s|Types:.*\bdeb\b)", text, re.MULTILINE):
                    return True
    except OSError:
        return False
    return False


def default_name(root: Path, pyproject: Mapping[str, Any]) -> str:
    """From pyproject.toml or the folder, in the letters that an image's name may have."""
    written = table_at(pyproject, "project").get("name")
    return normalise_name(written if isinstance(written, str) else root.name)


def normalise_name(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")
    return name[:128].strip("-") or "project"


def default_python(root: Path, pyproject: Mapping[str, Any]) -> str | None:
    """From .python-version or ``requires-python``; None when neither says."""
    pinned = root / ".python-version"
    if pinned.is_file() and (found := re.match(r"\s*(?:cpython-?)?(3\.[0-9]{1,2})(?![0-9])", pinned.read_text("utf-8", "replace"))):
        return found.group(1)
    requires = table_at(pyproject, "project").get("requires-python")
    if not isinstance(requires, str):
        return None
    try:
        allowed = SpecifierSet(requires)
    except InvalidSpecifier:
        return None
    # A patch level that every later patch of the same minor satisfies as well: `>=3.11.4` allows 3.11.
    return next((minor for minor in _PYTHONS if allowed.contains(Version(f"{minor}.99"))), None)


def default_base(python: str | None, *, debian: bool) -> DebianBase | ReferenceBase:
    """Debian's packages where they can be had and bring that Python, else the slim image of that Python."""
    if debian:
        for suite, brings in SUITES.items():
            if python in (None, brings):
                return DebianBase(suite=suite)
    return ReferenceBase(reference=Reference.parse(f"docker.io/library/python:{python or '3.11'}-slim"))


def default_base_without_python(*, debian: bool) -> DebianBase | ReferenceBase:
    """For environments that bring their own Python."""
    if debian:
        return DebianBase(suite=next(iter(SUITES)))
    return ReferenceBase(reference=Reference.parse("docker.io/library/debian:bookworm-slim"))


def python_of_base(base: DebianBase | ReferenceBase) -> str | None:
    """The Python that a base brings, as far as its name tells."""
    if isinstance(base, DebianBase):
        return SUITES[base.suite]
    if base.reference.repository == "library/python" and (found := re.match(r"3\.[0-9]+", base.reference.tag or "")):
        return found.group(0)
    return None


def default_entrypoint(root: Path) -> tuple[str, ...]:
    """``python main.py`` and the like, or ``python -m PACKAGE`` for the one package with a ``__main__.py``; else nothing."""
    for script in _SCRIPTS:
        if (root / script).is_file():
            return ("python", script)
    if (root / "__main__.py").is_file():
        return ("python", "__main__.py")
    for folder in (root / "src", root):
        packages = sorted(path.parent.name for path in folder.glob("*/__main__.py"))
        packages = [name for name in packages if name.isidentifier() and name not in NO_MODELS_IN]
        if len(packages) == 1:
            return ("python", "-m", packages[0])
    return ()


def default_env(root: Path) -> tuple[tuple[str, str], ...]:
    """A src/ folder with packages is put on the path, because the project itself is not installed."""
    if any((root / "src").glob("*/__init__.py")):
        return SRC_ON_PATH
    return ()
