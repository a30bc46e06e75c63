"""The environment of a project: which file asks for its packages, and what the file says.

Without a word from the author the first of uv.lock, pylock.toml, requirements.txt, pyproject.toml's
``[project].dependencies``, pixi.lock, conda-lock.yml and environment.yml is read. Resolved files (uv.lock, pylock.toml,
conda's locks) are looked at, not read: the lock stage does that. Files of other tools are recognised, so that nobody gets
an image without their packages.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wherry.declare.build_lines import AllowedBuilds
from wherry.declare.conda import LOCK_NAMES, NAMES, find_conda_files, is_explicit_list, kind_of_conda_file
from wherry.declare.conda_file import read_conda_file
from wherry.declare.grammar import WrittenEnvironment
from wherry.declare.pyproject import (
    has_dependencies,
    read_group_requirements,
    read_own_package,
    read_pyproject_requirements,
    read_toml,
    table_at,
)
from wherry.declare.requirements import read_requirements
from wherry.errors import DeclarationError
from wherry.formats.pixi_lock import VERSIONS
from wherry.model.declaration import Environment, EnvironmentKind, Requirement
from wherry.model.platform import Platform

_UNREAD = {
    "pixi.toml": "pixi lock, and name its pixi.lock",
    "Pipfile.lock": "pipenv requirements > requirements.txt",
    "Pipfile": "pipenv requirements > requirements.txt",
    "poetry.lock": "poetry export --output requirements.txt",
}
_HEAD = 1 << 16  # so much of a file is looked at to tell what it is


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundEnvironment:
    """An environment and what its file says besides: defaults for variables, platforms and Python. `notes` are for people."""

    environment: Environment
    notes: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    platforms: tuple[Platform, ...] = ()
    python: str | None = None


def read_environment(
    root: Path, written: WrittenEnvironment | None, env: Mapping[str, str], builds: frozenset[str] = frozenset()
) -> FoundEnvironment:
    """What the author named, else the first file of the default order. `builds` are the names of what may be built."""
    allowed = AllowedBuilds(root=root, names=builds)
    if written is not None and written.file is None:
        return FoundEnvironment(environment=Environment(kind=EnvironmentKind.EMPTY))
    if written is not None and written.file is not None:
        return _read_file(root, written.file, written.extras, written.groups, env, allowed)
    file = find_environment_file(root)
    if file is None:
        return FoundEnvironment(environment=Environment(kind=EnvironmentKind.EMPTY), notes=_explain_empty(root))
    found = _read_file(root, file, (), (), env, allowed)
    others = tuple(f"{name} is conda's and not read, {file} is" for name in find_conda_files(root) if name != file)
    return replace(found, notes=found.notes + others)


def find_environment_file(root: Path) -> str | None:
    """The first file of the default order that is there."""
    for name in ("uv.lock", "pylock.toml", "requirements.txt"):
        if (root / name).is_file():
            return name
    pyproject = root / "pyproject.toml"
    if pyproject.is_file() and has_dependencies(read_toml(pyproject, "pyproject.toml")):
        return "pyproject.toml"
    return next((name for name in (*LOCK_NAMES, *NAMES) if (root / name).is_file()), None)


def kind_of_file(file: str) -> EnvironmentKind:
    """By its name: anything not known is taken for a requirements file."""
    name = file.rpartition("/")[2]
    if name == "uv.lock":
        return EnvironmentKind.UV_LOCK
    if name == "pylock.toml" or fnmatch.fnmatchcase(name, "pylock.?*.toml"):
        return EnvironmentKind.PYLOCK
    if name == "pyproject.toml":
        return EnvironmentKind.PYPROJECT
    return kind_of_conda_file(file) or EnvironmentKind.REQUIREMENTS


def _read_file(
    root: Path, file: str, extras: Sequence[str], groups: Sequence[str], env: Mapping[str, str], allowed: AllowedBuilds
) -> FoundEnvironment:
    kind = kind_of_file(file)
    if (other := _UNREAD.get(file.rpartition("/")[2])) is not None:
        raise DeclarationError("this file is not read", where=file, hint=other)
    if not (root / file).is_file():
        raise DeclarationError(
            f"{file}: there is no such file", where="environment", hint="name a file of the project, or environment = false"
        )
    if kind is EnvironmentKind.REQUIREMENTS:
        return _read_requirements(root, file, extras, groups, env, allowed)
    if kind.is_conda:
        return _read_conda(root, file, kind, extras, groups, env, allowed)
    document = read_toml(root / file, file)
    files: tuple[str, ...] = (file,)
    requirements: tuple[Requirement, ...] = ()
    own: Requirement | None = None
    if kind is EnvironmentKind.PYPROJECT:
        own, is_dynamic = read_own_package(document, file, extras, allowed)
        if own is not None and is_dynamic:
            return _read_dynamic(document, file, own, groups, allowed)
        requirements = read_pyproject_requirements(document, file, extras, groups, allowed)
    elif kind is EnvironmentKind.PYLOCK:
        _check_pylock(document, file)
    else:
        _check_uv_lock(document, file)
        files = _with_pyproject(root, file)
        own, _ = read_own_package(read_toml(root / files[1], files[1]), files[1], extras, allowed)
    environment = Environment(
        kind=kind, files=files, requirements=requirements, extras=tuple(extras), groups=tuple(groups), own=own
    )
    return FoundEnvironment(environment=environment)


def _read_dynamic(
    document: Mapping[str, Any], file: str, own: Requirement, groups: Sequence[str], allowed: AllowedBuilds
) -> FoundEnvironment:
    """What the project requires only its build tells: it is asked for like any package, and the groups beside it."""
    requirements = (own, *read_group_requirements(document, file, groups, allowed))
    return FoundEnvironment(environment=Environment(kind=EnvironmentKind.REQUIREMENTS, files=(file,), requirements=requirements))


def _read_requirements(
    root: Path, file: str, extras: Sequence[str], groups: Sequence[str], env: Mapping[str, str], allowed: AllowedBuilds
) -> FoundEnvironment:
    if extras or groups:
        raise DeclarationError("a requirements file has no extras and no groups", where=file)
    if is_explicit_list(_read_head(root / file, file)):
        return FoundEnvironment(environment=Environment(kind=EnvironmentKind.CONDA_EXPLICIT, files=(file,)))
    found = read_requirements(root, file, env, allowed.names)
    environment = Environment(
        kind=EnvironmentKind.REQUIREMENTS,
        files=found.files,
        requirements=found.requirements,
        constraints=found.constraints,
        indexes=found.indexes,
    )
    return FoundEnvironment(environment=environment, notes=found.notes)


def _read_conda(
    root: Path,
    file: str,
    kind: EnvironmentKind,
    extras: Sequence[str],
    groups: Sequence[str],
    env: Mapping[str, str],
    allowed: AllowedBuilds,
) -> FoundEnvironment:
    """`groups` name the environment of a pixi.lock, and categories of a conda-lock.yml besides main."""
    if extras or (groups and kind is EnvironmentKind.CONDA) or (len(groups) > 1 and kind is EnvironmentKind.PIXI_LOCK):
        what = {EnvironmentKind.PIXI_LOCK: "one group, the environment's name"}.get(kind, "no extras and no groups")
        raise DeclarationError(f"this file has {what}", where=file)
    if kind is EnvironmentKind.CONDA:
        found = read_conda_file(root, file, env, allowed.names)
        return FoundEnvironment(
            environment=found.environment,
            notes=found.notes,
            variables=found.variables,
            platforms=found.platforms,
            python=found.python,
        )
    head = _read_head(root / file, file)
    version = re.search(r"^version:\s*['\"]?(\d{1,9})", head, re.MULTILINE)
    if kind is EnvironmentKind.PIXI_LOCK and (version is None or int(version[1]) not in VERSIONS):
        what = f"a pixi.lock of version {version[1]}" if version else "not a pixi.lock: no version"
        raise DeclarationError(f"{what}; {VERSIONS[0]} to {VERSIONS[-1]} are read", where=file, hint="pixi lock with a newer pixi")
    if kind is EnvironmentKind.CONDA_LOCK and not re.search(r"^(?:package|metadata):", head, re.MULTILINE):
        raise DeclarationError("not a conda-lock.yml", where=file, hint="conda-lock lock")
    return FoundEnvironment(environment=Environment(kind=kind, files=(file,), groups=tuple(groups)))


def _read_head(path: Path, file: str) -> str:
    try:
        with path.open("rb") as opened:
            return opened.read(_HEAD).decode("utf-8-sig", "replace")
    except OSError as error:
        raise DeclarationError(f"cannot be read: {error.strerror}", where=file) from error


def _check_pylock(document: Mapping[str, Any], file: str) -> None:
    version = document.get("lock-version")
    if not isinstance(version, str) or version.split(".")[0] != "1":
        raise DeclarationError(f"not a pylock file of version 1 (lock-version {version!r})", where=file)
    if not isinstance(document.get("packages"), list):
        raise DeclarationError("a pylock file without packages", where=file)


def _check_uv_lock(document: Mapping[str, Any], file: str) -> None:
    if document.get("version") != 1:
        raise DeclarationError(f"not a uv.lock of version 1 (version {document.get('version')!r})", where=file, hint="uv lock")
    if not isinstance(document.get("package", []), list):
        raise DeclarationError("a uv.lock without packages", where=file, hint="uv lock")


def _with_pyproject(root: Path, file: str) -> tuple[str, ...]:
    folder, _, _ = file.rpartition("/")
    pyproject = f"{folder}/pyproject.toml" if folder else "pyproject.toml"
    if not (root / pyproject).is_file():
        raise DeclarationError("a uv.lock needs the pyproject.toml beside it", where=file, hint="uv export --format pylock.toml")
    return (file, pyproject)


def _explain_empty(root: Path) -> tuple[str, ...]:
    """No environment: an error where another tool's file shows that there should be one, a note otherwise."""
    if conda := find_conda_files(root):
        hint = f'environment = "{conda[0]}" in wherry.toml'
        raise DeclarationError(
            "this looks like an environment of conda under a name that is not looked for", where=conda[0], hint=hint
        )
    for name, remedy in _UNREAD.items():
        if (root / name).is_file():
            raise DeclarationError("the only environment here is in a file that is not read", where=name, hint=remedy)
    pyproject = root / "pyproject.toml"
    if pyproject.is_file() and table_at(read_toml(pyproject, "pyproject.toml"), "tool", "poetry", "dependencies"):
        hint = "poetry export --output requirements.txt, or [project].dependencies"
        raise DeclarationError("dependencies in poetry's own table are not read", where="pyproject.toml", hint=hint)
    if any((root / name).is_file() for name in ("setup.py", "setup.cfg")):
        return ("setup.py is not run: without a requirements.txt the image gets no packages",)
    return ("no requirements.txt, pyproject.toml, environment.yml or lock of theirs: the image gets no packages",)
