"""The declaration's digest: sha256 over what the lock answers, in a form that does not depend on how it was written.

Follows docs/spec/lock.md, "The declaration's digest". In it: Python, base, packages asked for, system packages, bytecode.
Not in it: platforms (the lock names its own), name, code, models, environment variables, labels, entrypoint, where
packages come from, credentials, comments, line endings, and the order of lines.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement as Pep508
from packaging.utils import canonicalize_name

from wherry.declare.pyproject import read_toml, table_at
from wherry.errors import DeclarationError
from wherry.formats.urls import scrub_text, strip_channel_credentials, strip_login
from wherry.model.declaration import (
    CondaRequest,
    DebianBase,
    Declaration,
    Environment,
    EnvironmentKind,
    InterpreterSource,
    Requirement,
    SourceOrigin,
)
from wherry.model.digest import Digest

# Files that are resolved already.
_RESOLVED = (
    EnvironmentKind.PYLOCK,
    EnvironmentKind.UV_LOCK,
    EnvironmentKind.CONDA_LOCK,
    EnvironmentKind.PIXI_LOCK,
    EnvironmentKind.CONDA_EXPLICIT,
)
# Keys of [tool.uv] that change what uv answers.
_UV_KEYS = (
    "conflicts",
    "constraint-dependencies",
    "dependency-metadata",
    "environments",
    "exclude-dependencies",
    "exclude-newer",
    "fork-strategy",
    "index-strategy",
    "override-dependencies",
    "prerelease",
    "required-environments",
    "resolution",
    "sources",
)


def declaration_digest(declaration: Declaration) -> Digest:
    """The digest that a lock carries. Reads pylock.toml, uv.lock and pyproject.toml where they are the environment."""
    document = render_fingerprint(declaration)
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return Digest.of(text.encode())


def render_fingerprint(declaration: Declaration) -> dict[str, Any]:
    """What the digest is over, as plain values."""
    base = declaration.base
    document = {
        "version": 1,
        "python": declaration.python,
        "base": f"debian:{base.suite}" if isinstance(base, DebianBase) else str(base.reference),
        "system-packages": sorted(set(declaration.system_packages)),
        "bytecode": declaration.bytecode.value,
        "environment": _environment(declaration.root, declaration.environment),
    }
    if declaration.interpreter is not InterpreterSource.BASE:
        document["interpreter"] = declaration.interpreter.value
    if declaration.cuda is not None:
        document["cuda"] = declaration.cuda
    if declaration.score is not None:
        document["score"] = sorted(declaration.score.extras)
    if declaration.allow_build:
        document["allow-build"] = sorted(set(declaration.allow_build))
    return document


def _environment(root: Path, environment: Environment) -> dict[str, Any]:
    document: dict[str, Any] = {
        "kind": environment.kind.value,
        "requirements": _requirements(environment.requirements),
        "constraints": _requirements(environment.constraints),
        "extras": sorted({canonicalize_name(extra) for extra in environment.extras}),
        "groups": sorted({canonicalize_name(group) for group in environment.groups}),
        "pre": environment.indexes.pre,
    }
    if environment.conda is not None:
        document["conda"] = _conda(environment.conda)
    if environment.kind in _RESOLVED:
        document["locked"] = _digest_of_file(root / environment.files[0], environment.files[0])
    if environment.own is not None:
        document["own"] = _render(environment.own)
    for file in environment.files:
        if file.rpartition("/")[2] == "pyproject.toml":
            document["pyproject"] = _pyproject(read_toml(root / file, file), whole=environment.kind is EnvironmentKind.UV_LOCK)
    return document


def _conda(request: CondaRequest) -> dict[str, Any]:
    """Channels in their order; each spec once, with one space where there are many, and the subdirs that it is meant for."""
    specs = {(scrub_text(" ".join(spec.text.split())), tuple(sorted(set(spec.subdirs)))) for spec in request.specs}
    return {
        "channels": [strip_channel_credentials(channel) for channel in request.channels],
        "priority": request.priority.value,
        "specs": [[text, *subdirs] for text, subdirs in sorted(specs)],
    }


def _requirements(requirements: Sequence[Requirement]) -> list[str]:
    return sorted({_render(requirement) for requirement in requirements})


def _render(requirement: Requirement) -> str:
    """PEP 508 with a normalised name, sorted extras and specifiers, then the digests, sorted."""
    parsed = Pep508(requirement.text)
    parsed.name = canonicalize_name(parsed.name)
    parsed.extras = {canonicalize_name(extra) for extra in parsed.extras}
    if parsed.url:
        parsed.url = strip_login(parsed.url)
    source = (_render_source(requirement.source),) if requirement.source is not None else ()
    return " ".join((str(parsed), *source, *sorted(set(requirement.hashes))))


def _render_source(source: SourceOrigin) -> str:
    """Where the source of a build is; a folder's files are not in it."""
    place = source.folder or strip_login(source.url)
    pinned = f"@{source.commit}" if source.commit else ""
    below = f"#{source.subfolder}" if source.subfolder else ""
    return f"{source.kind.value}+{place}{pinned}{below}"


def _pyproject(document: Mapping[str, Any], *, whole: bool) -> dict[str, Any]:
    """What uv reads of a pyproject.toml besides the requirements themselves; with a uv.lock, those too."""
    project = table_at(document, "project")
    uv = table_at(document, "tool", "uv")
    found: dict[str, Any] = {"requires-python": project.get("requires-python")}
    found["uv"] = {key: uv[key] for key in _UV_KEYS if key in uv}
    indexes = uv.get("index")
    if isinstance(indexes, list):  # which package comes from which index, by name; never the address
        found["uv"]["index"] = [
            {key: index.get(key) for key in ("name", "explicit", "default")} for index in indexes if isinstance(index, Mapping)
        ]
    if whole:
        found["dependencies"] = project.get("dependencies")
        found["optional-dependencies"] = project.get("optional-dependencies")
        found["dependency-groups"] = document.get("dependency-groups")
    return {key: _plain(value) for key, value in found.items()}


def _plain(value: Any) -> Any:
    """TOML's dates as text; addresses without credentials."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, str):
        return strip_login(value)
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _digest_of_file(path: Path, where: str) -> str:
    try:
        return hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).hexdigest()
    except OSError as error:
        raise DeclarationError(f"cannot be read: {error.strerror}", where=where) from error
