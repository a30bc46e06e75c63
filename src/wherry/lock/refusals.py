"""Why a platform gets no wheel, in words that help; and digests that the author gave, kept to.

Both ask the indexes about a name of the declaration, once something is in the way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from wherry.errors import LockError, WherryError
from wherry.formats.simple_index import IndexFile
from wherry.lock.candidates import Candidate, NoWheelError, no_wheel, rank_of, say_allow_build
from wherry.lock.target import WheelTarget, markers_of, tags_of
from wherry.model.declaration import Environment
from wherry.model.declaration import Requirement as AskedRequirement
from wherry.sources.package_sources import PackageSources
from wherry.sources.uv_program import describe_indexes

_UNUSABLE = "has no usable wheels"
_UNKNOWN = "was not found in the package registry"
_NAME = r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)"
_SIGNS = (
    re.compile(rf"Wheels are (?:required|available) for `{_NAME}`"),
    re.compile(rf"{_NAME}(?:\[[^\]]*\])?\S* has no (?:usable wheels|wheels with a matching)"),
    re.compile(rf"found wheels for `{_NAME}`"),
)


def explain_missing_wheels(error: LockError, environment: Environment, target: WheelTarget, sources: PackageSources) -> WherryError:
    """uv's refusal in terms of platforms, when the reason is a package without a fitting wheel; else as it is."""
    text = f"{error.what}\n{error.hint or ''}"
    found = (canonicalize_name(match["name"]) for sign in _SIGNS if (match := sign.search(text)))
    name = error.package if isinstance(error, NoWheelError) else next(found, None)
    if _UNKNOWN in text:
        looked = describe_indexes(sources.indexes())
        return LockError(error.what, hint=f"check the name; looked in {looked}")
    if name is None:
        return error
    asked = next((entry for entry in environment.requirements if canonicalize_name(entry.name) == name), None)
    try:
        files = [file.file for file in sources.list_files(name)]
    except WherryError:
        return error
    allowed = [file for file in files if file.endswith(".whl") and _is_allowed(file, asked)]
    if any(rank_of(file, dict.fromkeys(tags_of(target), 0)) is not None for file in allowed):
        if _UNUSABLE in text and any(_is_source(file) for file in files):
            what = f"{name} has no wheel of a version that is wanted, and is not built unasked\n" + error.what.partition("\n")[2]
            return NoWheelError(what.rstrip(), package=name, where=asked.where if asked else None, hint=say_allow_build(name))
        return error  # there is one, but something else forbids it: uv says what
    refusal = no_wheel(name if asked is None else asked.text, target, allowed, where=asked.where if asked else None)
    refusal.__cause__ = error
    return refusal


def honour_hashes(
    candidates: Sequence[Candidate], environment: Environment, target: WheelTarget, sources: PackageSources
) -> tuple[Candidate, ...]:
    """pip's rule: once one requirement carries a digest, every wheel must be one of those given for its name."""
    applying = [entry for entry in environment.requirements if _applies(entry, target)]
    given: dict[str, AskedRequirement] = {
        str(canonicalize_name(entry.name)): entry for entry in (*environment.constraints, *applying) if entry.hashes
    }
    if not given:
        return tuple(candidates)
    return tuple(_honour(candidate, given, target, sources) for candidate in candidates)


def _honour(candidate: Candidate, given: Mapping[str, AskedRequirement], target: WheelTarget, sources: PackageSources) -> Candidate:
    entry = given.get(candidate.name)
    if entry is None:
        raise LockError(
            f"{candidate.name} {candidate.version} is needed too, but no digest is given for it, as for the others",
            where=next(iter(given.values())).where.partition(":")[0] or None,
            hint=f"add {candidate.name}=={candidate.version} --hash={candidate.sha256}",
        )
    if str(candidate.sha256) in entry.hashes:
        return candidate
    order = {tag: number for number, tag in enumerate(tags_of(target))}
    fitting = [
        (rank, file)
        for file in sources.list_files(candidate.name)
        if file.sha256 is not None
        and str(file.sha256) in entry.hashes
        and _version_of(file.file) == Version(candidate.version)
        and (rank := rank_of(file.file, order)) is not None
    ]
    if not fitting:
        raise LockError(
            f"none of the digests given for {candidate.name} {candidate.version} is of a wheel for {target.platform}",
            where=entry.where or None,
            hint=f"add --hash={candidate.sha256} ({candidate.file})",
        )
    return _replaced(candidate, min(fitting, key=lambda pair: (pair[0], pair[1].file))[1])


def _replaced(candidate: Candidate, file: IndexFile) -> Candidate:
    return replace(candidate, file=file.file, sha256=file.sha256 or candidate.sha256, url=file.url, size=file.size)


def _applies(entry: AskedRequirement, target: WheelTarget) -> bool:
    try:
        marker = Requirement(entry.text).marker
    except InvalidRequirement:
        return True
    return marker is None or marker.evaluate(markers_of(target))


def _is_allowed(file: str, asked: AskedRequirement | None) -> bool:
    version = _version_of(file)
    return version is not None and _specifier(asked).contains(version, prereleases=True)


def _specifier(asked: AskedRequirement | None) -> SpecifierSet:
    try:
        return Requirement(asked.text).specifier if asked is not None else SpecifierSet()
    except InvalidRequirement:
        return SpecifierSet()


def _is_source(file: str) -> bool:
    return file.endswith((".tar.gz", ".zip"))


def _version_of(file: str) -> Version | None:
    try:
        return parse_wheel_filename(file)[1]
    except InvalidWheelFilename:
        return None
