"""The dependencies of a pyproject.toml: PEP 621 with extras, PEP 735 groups.

uv reads the file itself when it resolves (so indexes of ``tool.uv.sources`` work); here the requirements are read to be
shown, checked and fingerprinted. What it refuses, by name and all at once: dynamic dependencies, and sources of
``tool.uv.sources`` that no digest fixes (git, path, workspace, an unpinned URL) and that may not be built.
"""

from __future__ import annotations

import posixpath
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement
from packaging.requirements import Requirement as Pep508
from packaging.utils import canonicalize_name

from wherry.declare.build_lines import AllowedBuilds, Refused, parse_commit, say_allowed, take_folder
from wherry.declare.redaction import redact
from wherry.declare.refusals import Refusal, refuse
from wherry.declare.requirement import parse_requirement_line
from wherry.errors import DeclarationError
from wherry.model.declaration import Requirement

_SIZE_LIMIT = 16 << 20
_NOTHING = AllowedBuilds()


def read_toml(path: Path, where: str) -> dict[str, Any]:
    """A TOML file as a table; a `DeclarationError` with the line for anything that is not TOML."""
    try:
        if path.stat().st_size > _SIZE_LIMIT:
            raise DeclarationError(f"larger than {_SIZE_LIMIT >> 20} MiB", where=where)
        text = path.read_bytes().decode("utf-8-sig")
        return tomllib.loads(text.replace("\r\n", "\n"))
    except OSError as error:
        raise DeclarationError(f"cannot be read: {error.strerror}", where=where) from error
    except UnicodeDecodeError as error:
        raise DeclarationError("not UTF-8 text", where=where) from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise DeclarationError(f"not TOML: {error}", where=where) from error


def table_at(document: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """The table at a dotted path; an empty one where there is none or something else."""
    value: Any = document
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def has_dependencies(document: Mapping[str, Any]) -> bool:
    project = table_at(document, "project")
    return "dependencies" in project or "dependencies" in (project.get("dynamic") or ())


def read_own_package(
    document: Mapping[str, Any], file: str, extras: Sequence[str], allowed: AllowedBuilds
) -> tuple[Requirement | None, bool]:
    """The project's own package where it may be built, and whether only its build tells what it requires."""
    project = table_at(document, "project")
    name = project.get("name")
    if not isinstance(name, str) or canonicalize_name(name) not in allowed.names or allowed.root is None:
        return None, False
    chosen = f"[{','.join(sorted(extras))}]" if extras else ""
    own = take_folder(file.rpartition("/")[0] or ".", chosen, "", f"{file}: project", allowed)
    dynamic = project.get("dynamic")
    return own, isinstance(dynamic, list) and "dependencies" in dynamic


def read_group_requirements(
    document: Mapping[str, Any], file: str, groups: Sequence[str], allowed: AllowedBuilds
) -> tuple[Requirement, ...]:
    """Those of `groups` alone."""
    reader = _Reader(document, file, allowed)
    for group in groups:
        reader.take_group(group, ())
    refuse(reader.refusals)
    return tuple(dict.fromkeys(reader.requirements))


def read_pyproject_requirements(
    document: Mapping[str, Any],
    file: str,
    extras: Sequence[str],
    groups: Sequence[str],
    allowed: AllowedBuilds = _NOTHING,
) -> tuple[Requirement, ...]:
    """``[project].dependencies``, then those of `extras` and `groups`, as written and without repetition."""
    reader = _Reader(document, file, allowed)
    reader.take_list(table_at(document, "project").get("dependencies", []), f"{file}: project.dependencies")
    for extra in extras:
        reader.take_extra(extra)
    for group in groups:
        reader.take_group(group, ())
    reader.check_dynamic()
    reader.check_sources()
    refuse(reader.refusals)
    return tuple(dict.fromkeys(reader.requirements))


class _Reader:
    """Follows extras of the project itself (``name[extra]``) and groups that include groups."""

    def __init__(self, document: Mapping[str, Any], file: str, allowed: AllowedBuilds) -> None:
        project = table_at(document, "project")
        self.allowed = allowed
        self.file = file
        self.project = project
        name = project.get("name")
        self.name = canonicalize_name(name) if isinstance(name, str) else None
        self.extras = {canonicalize_name(key): value for key, value in table_at(project, "optional-dependencies").items()}
        self.groups = {canonicalize_name(key): value for key, value in table_at(document, "dependency-groups").items()}
        self.sources = table_at(document, "tool", "uv", "sources")
        self.requirements: list[Requirement] = []
        self.refusals: list[Refusal] = []
        self._extras_done: set[str] = set()

    def take_list(self, values: object, where: str) -> None:
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise DeclarationError("not a list of requirements", where=where)
        for position, value in enumerate(values):
            self.take_requirement(value, f"{where}[{position}]")

    def take_requirement(self, text: str, where: str) -> None:
        if self.take_self(text):
            return
        try:
            self.requirements.append(parse_requirement_line(" ".join(text.split()), where, self.allowed))
        except Refused as refused:
            self.refusals.append(refused.refusal)

    def take_self(self, text: str) -> bool:
        """``name[extra]`` of the project's own name stands for its extra."""
        try:
            parsed = Pep508(text)
        except (InvalidRequirement, RecursionError):
            return False  # take_requirement says what is wrong
        if self.name is None or canonicalize_name(parsed.name) != self.name:
            return False
        for extra in sorted(parsed.extras):
            self.take_extra(extra)
        return True

    def take_extra(self, extra: str) -> None:
        key = canonicalize_name(extra)
        if key not in self.extras:
            known = ", ".join(sorted(self.extras)) or "none"
            raise DeclarationError(f"no extra {extra!r}, there are: {known}", where=f"{self.file}: project.optional-dependencies")
        if key not in self._extras_done:
            self._extras_done.add(key)
            self.take_list(self.extras[key], f"{self.file}: project.optional-dependencies.{extra}")

    def take_group(self, group: str, chain: tuple[str, ...]) -> None:
        key = canonicalize_name(group)
        where = f"{self.file}: dependency-groups.{group}"
        if key in chain:
            raise DeclarationError(f"groups include each other in a circle: {' → '.join((*chain, key))}", where=where)
        if key not in self.groups:
            known = ", ".join(sorted(self.groups)) or "none"
            raise DeclarationError(f"no group {group!r}, there are: {known}", where=f"{self.file}: dependency-groups")
        values = self.groups[key]
        if not isinstance(values, list):
            raise DeclarationError("not a list of requirements", where=where)
        for position, value in enumerate(values):
            included = value.get("include-group") if isinstance(value, dict) and len(value) == 1 else None
            if isinstance(value, str):
                self.take_requirement(value, f"{where}[{position}]")
            elif isinstance(included, str):
                self.take_group(included, (*chain, key))
            else:
                raise DeclarationError("neither a requirement nor {include-group = …}", where=f"{where}[{position}]")

    def check_dynamic(self) -> None:
        dynamic = self.project.get("dynamic")
        if isinstance(dynamic, list) and "dependencies" in dynamic:
            raise DeclarationError(
                "dependencies are dynamic: only running the build backend would tell them",
                where=f"{self.file}: project.dynamic",
                hint="list them in [project].dependencies, or lock them: uv lock",
            )

    def check_sources(self) -> None:
        asked = {requirement.name for requirement in self.requirements}
        for name, value in self.sources.items():
            if canonicalize_name(name) not in asked:
                continue
            built = self.take_source(name, value)
            if built is not None:
                self.requirements = [
                    replace(entry, source=built.source) if entry.name == built.name else entry for entry in self.requirements
                ]
                continue
            for source in value if isinstance(value, list) else [value]:
                self.check_source(name, source)

    def take_source(self, name: str, source: object) -> Requirement | None:
        """A source that may be built: a commit of git's, or a folder. None for what `check_source` judges."""
        where = f"{self.file}: tool.uv.sources.{redact(name)}"
        if not isinstance(source, Mapping) or canonicalize_name(name) not in self.allowed.names:
            return None
        git, path, below = source.get("git"), source.get("path"), source.get("subdirectory")
        try:
            if isinstance(git, str) and isinstance(source.get("rev"), str):
                fragment = f"#subdirectory={below}" if isinstance(below, str) else ""
                return parse_commit(name, "", f"git+{git}@{source['rev']}{fragment}", "", where, self.allowed)
            if isinstance(path, str) and not path.endswith((".whl", ".tar.gz", ".zip")):
                return take_folder(
                    posixpath.normpath(posixpath.join(posixpath.dirname(self.file), path)), "", "", where, self.allowed
                )
        except Refused as refused:
            self.refusals.append(refused.refusal)
        return None

    def check_source(self, name: str, source: object) -> None:
        kind = next((key for key in ("git", "path", "workspace", "url") if isinstance(source, Mapping) and key in source), None)
        if kind is None or (kind == "url" and isinstance(source, Mapping) and "#sha256=" in str(source["url"])):
            return
        self.refusals.append(
            Refusal(
                where=f"{self.file}: tool.uv.sources.{redact(name)}",
                subject=name,
                reason=f"a {kind} source is not fixed by a digest",
                remedy=f"a commit (rev = its 40 hex digits) or a path, {say_allowed(name)}; or a released version ({name}==1.2.3)",
            )
        )
