"""Finding one's way in a prefix: a virtual environment, a conda prefix, or a whole Python.

It looks at files; only where none tells the version, the prefix's own python is asked for ``sys.version_info``.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wherry.declare.conda_meta import read_record
from wherry.errors import DeclarationError

_HINT = "the folder of a virtual environment, such as .venv, or $CONDA_PREFIX"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """`python` is the minor, ``3.11``; `sites` come first to last in the order in which Python looks."""

    path: Path
    python: str
    is_venv: bool
    is_conda: bool
    sites: tuple[Path, ...]
    user_site: Path | None  # None where this Python does not look there, or there is none


def choose_prefix(root: Path, env: Mapping[str, str]) -> Path:
    """The active environment, else the project's .venv or venv, else the Python that runs wherry."""
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        if env.get(name):
            return Path(env[name])
    for folder in (root / ".venv", root / "venv"):
        if (folder / "pyvenv.cfg").is_file():
            return folder
    return Path(sys.prefix)


def read_prefix(path: Path, home: Path | None) -> Prefix:
    """Look at a prefix. `home` is where ``pip install --user`` of this person puts things."""
    if not path.is_dir():
        raise DeclarationError("there is no such folder", where=str(path), hint=_HINT)
    settings = _read_settings(path / "pyvenv.cfg")
    is_venv = (path / "pyvenv.cfg").is_file()
    is_conda = (path / "conda-meta").is_dir()
    python = _version_of_venv(settings) or _version_of_conda(path) or _version_of_folder(path) or _ask_python(path)
    sites = _site_folders(path, python, local=not is_venv and not is_conda)
    if not sites:
        raise DeclarationError(f"no site-packages of Python {python} here", where=str(path), hint=_HINT)
    sees_system = settings.get("include-system-site-packages", "").lower() == "true"
    if is_venv and sees_system and settings.get("home"):
        sites += _site_folders(Path(settings["home"]).parent, python, local=True)
    user_site = home / ".local" / "lib" / f"python{python}" / "site-packages" if home else None
    looks_there = (not is_venv or sees_system) and user_site is not None and user_site.is_dir()
    return Prefix(
        path=path,
        python=python,
        is_venv=is_venv,
        is_conda=is_conda,
        sites=tuple(dict.fromkeys(sites)),
        user_site=user_site if looks_there else None,
    )


def _read_settings(file: Path) -> dict[str, str]:
    try:
        lines = file.read_text("utf-8", "replace").splitlines()
    except OSError:
        return {}
    pairs = (line.partition("=") for line in lines)
    return {key.strip().lower(): value.strip() for key, equals, value in pairs if equals}


def _version_of_venv(settings: Mapping[str, str]) -> str | None:
    for key in ("version_info", "version"):  # virtualenv's and uv's, venv's
        if found := re.match(r"(3\.[0-9]+)", settings.get(key, "")):
            return found.group(1)
    return None


def _version_of_conda(path: Path) -> str | None:
    for record in sorted((path / "conda-meta").glob("python-3.*.json")):
        document = read_record(record)
        if document is not None and document.get("name") == "python":
            found = re.match(r"3\.[0-9]+", str(document.get("version")))
            return found.group(0) if found else None
    return None


def _version_of_folder(path: Path) -> str | None:
    """The one lib/pythonX.Y; None where there are several or none."""
    found = {folder.name.removeprefix("python") for folder in path.glob("lib/python3.*") if folder.is_dir()}
    return found.pop() if len(found) == 1 else None


def _ask_python(path: Path) -> str:
    for program in (path / "bin" / "python3", path / "bin" / "python"):
        if not program.is_file():
            continue
        ask = "import sys; print('%d.%d' % sys.version_info[:2])"
        try:
            answer = subprocess.run(
                [program, "-I", "-S", "-c", ask], capture_output=True, text=True, timeout=20, check=False
            ).stdout
        except (OSError, subprocess.TimeoutExpired):
            continue
        if re.fullmatch(r"3\.[0-9]+", answer.strip()):
            return answer.strip()
    raise DeclarationError("no Python 3 here", where=str(path), hint=_HINT)


def _site_folders(path: Path, python: str, *, local: bool) -> tuple[Path, ...]:
    """Also Debian's dist-packages, and what lies below /usr/local for a Python of the system."""
    inside = [f"lib/python{python}/site-packages", f"lib64/python{python}/site-packages"]
    if local:
        inside = [
            f"local/lib/python{python}/dist-packages",
            *inside,
            f"lib/python{python}/dist-packages",
            "lib/python3/dist-packages",
        ]
    found: dict[Path, Path] = {}
    for folder in inside:
        if (path / folder).is_dir():
            found.setdefault((path / folder).resolve(), path / folder)
    return tuple(found.values())
