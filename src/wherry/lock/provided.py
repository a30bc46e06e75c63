"""Resolves what is asked of pip beside conda's packages: those stand, and uv is told of them.

For each distribution that conda brings, uv gets an empty wheel of that version as a constraint: it is taken where anything needs
the name, what needs another version is in conflict with it, and no index is asked for it. A requirement of the author's
that names a distribution, and does not allow conda's version of it, wins: its wheel comes to lie over conda's files.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from packaging.requirements import InvalidRequirement
from packaging.requirements import Requirement as Pep508
from packaging.utils import canonicalize_name

from wherry.errors import LockError
from wherry.lock.target import WheelTarget, markers_of
from wherry.model.declaration import Declaration, Requirement
from wherry.model.lock import LockedWheel, PlatformLock

_BUILD = "0wherry"  # the build tag of our empty wheels: no other wheel has it


@dataclass(frozen=True, slots=True, kw_only=True)
class Provided:
    """What conda brings, by normalised name: distributions that `stand`, those of them of which `extras` are asked for too,
    and those that a wheel is asked for in their place, with what is to be said of it (`replaced`)."""

    stand: Mapping[str, str]
    extras: frozenset[str] = frozenset()
    replaced: tuple[str, ...] = ()


def divide_provided(versions: Mapping[str, str], requirements: Iterable[Requirement], target: WheelTarget) -> Provided:
    """`versions` are conda's distributions; `requirements` the author's own of pip."""
    stand, extras, replaced = dict(versions), set(), []
    for entry in requirements:
        name = canonicalize_name(entry.name)
        asked = _parse(entry, target)
        if name not in versions or asked is None:
            continue
        if entry.source is None and asked.url is None and asked.specifier.contains(versions[name], prereleases=True):
            if asked.extras:
                extras.add(name)
        elif stand.pop(name, None) is not None:
            place = f"{entry.where}: " if entry.where else ""
            replaced.append(f"{place}{entry.text} is not conda's {name} {versions[name]}: a wheel takes its place")
    return Provided(stand=stand, extras=frozenset(extras & stand.keys()), replaced=tuple(replaced))


@contextmanager
def constrain_to_provided(declaration: Declaration, provided: Provided) -> Iterator[Declaration]:
    """The declaration as uv is to see it. Folders of our own hold the empty wheels, until the end of the context."""
    if not provided.stand:
        yield declaration
        return
    with TemporaryDirectory(prefix="wherry-") as scratch:
        constraints = tuple(_constrain(name, version, provided, Path(scratch)) for name, version in sorted(provided.stand.items()))
        environment = replace(declaration.environment, constraints=(*declaration.environment.constraints, *constraints))
        try:
            yield replace(declaration, environment=environment)
        except LockError as error:
            raise _explain_conflict(error, provided) from None


def is_stand_in(file: str) -> bool:
    """Whether a wheel is one of our empty ones."""
    return f"-{_BUILD}-" in file


def keep_besides(keep: PlatformLock | None, provided: Provided) -> PlatformLock | None:
    """A former lock without the wheels that conda's distributions stand for now."""
    if keep is None:
        return None
    return replace(keep, wheels=tuple(wheel for wheel in keep.wheels if wheel.name not in provided.stand))


def without_provided(wheels: Sequence[LockedWheel], provided: Provided) -> tuple[LockedWheel, ...]:
    """The wheels that come besides conda's distributions."""
    kept = [wheel for wheel in wheels if wheel.name not in provided.stand]
    return tuple(replace(wheel, requires=tuple(name for name in wheel.requires if name not in provided.stand)) for wheel in kept)


def _parse(entry: Requirement, target: WheelTarget) -> Pep508 | None:
    """None for what is not meant for the platform."""
    try:
        parsed = Pep508(entry.text)
    except InvalidRequirement:
        return None
    return parsed if parsed.marker is None or parsed.marker.evaluate(markers_of(target)) else None


def _constrain(name: str, version: str, provided: Provided, folder: Path) -> Requirement:
    """With extras, what they ask for is to be had: only the index's own wheel tells."""
    if name in provided.extras:
        return Requirement(text=f"{name}=={version}", name=name)
    stem = f"{name.replace('-', '_')}-{version}"
    wheel = folder / f"{stem}-{_BUILD}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{stem}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{stem}.dist-info/RECORD", "")
    return Requirement(text=f"{name} @ {wheel.as_uri()}", name=name)


def _explain_conflict(error: LockError, provided: Provided) -> LockError:
    """uv knows nothing of conda: say which of the packages that it speaks of are conda's."""
    words = {str(canonicalize_name(word)) for word in _words(error.what)}
    named = [f"{name} {version}" for name, version in sorted(provided.stand.items()) if name in words]
    if not named or "cannot be met together" not in error.what:
        return error
    hint = "ask conda for another version of it, or name the version below pip: so that a wheel takes its place"
    return LockError(f"{error.what}\n  where conda brings {', '.join(named)}", where=error.where, hint=hint)


def _words(text: str) -> Iterator[str]:
    for word in text.replace(",", " ").split():
        name = word
        for sign in ("<", ">", "=", "!", "~", "["):
            name = name.partition(sign)[0]
        if name:
            yield name
