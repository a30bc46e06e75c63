"""The environment of a project: which file asks for its packages, and what the file says.

Without a word from the author the first of uv.lock, pylock.toml, requirements.txt and pyproject.toml's
``[project].dependencies`` is read. Resolved files (uv.lock, pylock.toml) are looked at, not read: the lock stage does
that. Files of other tools are recognised, so that nobody gets an image without their packages.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wherry.declare.conda import HINT as CONDA_HINT
from wherry.declare.conda import find_conda_files, is_conda_name
from wherry.declare.grammar import WrittenEnvironment
from wherry.declare.pyproject import has_dependencies, read_pyproject_requirements, read_toml, table_at
from wherry.declare.requirements import read_requirements
from wherry.errors import DeclarationError
from wherry.model.declaration import Environment, EnvironmentKind, Requirement

_UNREAD = {
    "Pipfile.lock": "pipenv requirements > requirements.txt",
    "Pipfile": "pipenv requirements > requirements.txt",
    "poetry.lock": "poetry export --output requirements.txt",
}


def read_environment(root: Path, written: WrittenEnvironment | None, env: Mapping[str, str]) -> tuple[Environment, tuple[str, ...]]:
    """The environment, and notes about what was seen and not followed."""
    if written is not None and written.file is None:
        return Environment(kind=EnvironmentKind.EMPTY), ()
    if written is not None and written.file is not None:
        return _read_file(root, written.file, written.extras, written.groups, env)
    file = find_environment_file(root)
    if file is None:
        return Environment(kind=EnvironmentKind.EMPTY), _explain_empty(root)
    environment, notes = _read_file(root, file, (), (), env)
    conda = tuple(f"{name} is conda's and not read, {file} is" for name in find_conda_files(root))
    return environment, notes + conda


def find_environment_file(root: Path) -> str | None:
    """The first file of the default order that is there."""
    for name in ("uv.lock", "pylock.toml", "requirements.txt"):
        if (root / name).is_file():
            return name
    pyproject = root / "pyproject.toml"
    if pyproject.is_file() and has_dependencies(read_toml(pyproject, "pyproject.toml")):
        return "pyproject.toml"
    return None


def kind_of_file(file: str) -> EnvironmentKind:
    """By its name: anything not known is taken for a requirements file."""
    name = file.rpartition("/")[2]
    if name == "uv.lock":
        return EnvironmentKind.UV_LOCK
    if name == "pylock.toml" or fnmatch.fnmatchcase(name, "pylock.?*.toml"):
        return EnvironmentKind.PYLOCK
    if name == "pyproject.toml":
        return EnvironmentKind.PYPROJECT
    return EnvironmentKind.REQUIREMENTS


def _read_file(
    root: Path, file: str, extras: Sequence[str], groups: Sequence[str], env: Mapping[str, str]
) -> tuple[Environment, tuple[str, ...]]:
    kind = kind_of_file(file)
    if is_conda_name(file):
        raise DeclarationError("this is an environment of conda", where=file, hint=CONDA_HINT)
    if (other := _UNREAD.get(file.rpartition("/")[2])) is not None:
        raise DeclarationError("this file is not read", where=file, hint=other)
    if not (root / file).is_file():
        raise DeclarationError(
            f"{file}: there is no such file", where="environment", hint="name a file of the project, or environment = false"
        )
    if kind is EnvironmentKind.REQUIREMENTS:
        return _read_requirements(root, file, extras, groups, env)
    document = read_toml(root / file, file)
    files: tuple[str, ...] = (file,)
    requirements: tuple[Requirement, ...] = ()
    if kind is EnvironmentKind.PYPROJECT:
        requirements = read_pyproject_requirements(document, file, extras, groups)
    elif kind is EnvironmentKind.PYLOCK:
        _check_pylock(document, file)
    else:
        _check_uv_lock(document, file)
        files = _with_pyproject(root, file)
    environment = Environment(kind=kind, files=files, requirements=requirements, extras=tuple(extras), groups=tuple(groups))
    return environment, ()


def _read_requirements(
    root: Path, file: str, extras: Sequence[str], groups: Sequence[str], env: Mapping[str, str]
) -> tuple[Environment, tuple[str, ...]]:
    if extras or groups:
        raise DeclarationError("a requirements file has no extras and no groups", where=file)
    found = read_requirements(root, file, env)
    environment = Environment(
        kind=EnvironmentKind.REQUIREMENTS,
        files=found.files,
        requirements=found.requirements,
        constraints=found.constraints,
        indexes=found.indexes,
    )
    return environment, found.notes


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
        raise DeclarationError("the only environment here is conda's", where=conda[0], hint=CONDA_HINT)
    for name, remedy in _UNREAD.items():
        if (root / name).is_file():
            raise DeclarationError("the only environment here is in a file that is not read", where=name, hint=remedy)
    pyproject = root / "pyproject.toml"
    if pyproject.is_file() and table_at(read_toml(pyproject, "pyproject.toml"), "tool", "poetry", "dependencies"):
        hint = "poetry export --output requirements.txt, or [project].dependencies"
        raise DeclarationError("dependencies in poetry's own table are not read", where="pyproject.toml", hint=hint)
    if any((root / name).is_file() for name in ("setup.py", "setup.cfg")):
        return ("setup.py is not run: without a requirements.txt the image gets no packages",)
    return ("no requirements.txt, pyproject.toml, pylock.toml or uv.lock: the image gets no packages",)
