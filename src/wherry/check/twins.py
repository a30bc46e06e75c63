"""Is each place that a project runs in equal to its lock, and so to the others (DESIGN, decision 13)?

Equal means: each locked distribution in its version, and each file that a wheel's own RECORD or a record's list names, with its
digest. Files that name their place (scripts, the RECORD that lists them) are generated for each, and must be there, nothing
more. The interpreter's minor version is the lock's; its patch is shown.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from packaging.utils import canonicalize_name

from wherry.check.contents import Contents
from wherry.model.digest import Digest

_DIST_INFO = re.compile(r"(?P<site>(?:.*/)?site-packages)/(?P<name>[^/]+)-(?P<version>[^/-]+)\.dist-info(?:/RECORD)?")
_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinPackage:
    """A wheel or a record of the lock."""

    name: str
    version: str
    sha256: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the lock says of every place, with paths below the prefix. `own` has each file's package and sha256."""

    python: str
    packages: tuple[TwinPackage, ...]
    own: Mapping[str, tuple[str, str]]
    generated: frozenset[str]

    @property
    def digest(self) -> Digest:
        """What the digest of each place is, if it is equal."""
        return digest_files({path: sha256 for path, (_, sha256) in self.own.items()})

    @property
    def distributions(self) -> Mapping[str, str]:
        """Normalised names and versions of those that files of the packages make."""
        return name_distributions((*self.own, *self.generated))


class TwinPlace(Protocol):
    """A place to look at. Paths are below its prefix."""

    def sha256(self, path: str) -> str | None:
        """The digest of a file; None where there is no such file."""
        ...

    def has(self, path: str) -> bool: ...

    def distributions(self) -> Mapping[str, str]:
        """Normalised names and versions of all that lies where Python looks."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Twin:
    """One place, as it was found. `digest` is over the digests of all files that have to be equal; `beside` is what a
    notebook's place has besides the project's packages. `differences` are sentences; equal means that there are none."""

    name: str
    place: str
    python: str
    packages: int
    files: int
    digest: Digest
    generated: int
    beside: int = 0
    differences: tuple[str, ...] = field(default=())


def compare_twin(
    name: str, where: str, python: str, expected: Expected, place: TwinPlace, *, beside: Mapping[str, str] | None = None
) -> Twin:
    """Look at every file. `beside` are distributions that may be there too; None of the lock's may be among them."""
    found = {path: place.sha256(path) for path in expected.own}
    has, wanted = place.distributions(), expected.distributions
    allowed = beside or {}
    differences = [
        *_tell_python(python, expected.python),
        *_tell_distributions(has, wanted, allowed),
        *_tell_files(expected, found),
        *_tell_generated(expected, place),
    ]
    return Twin(
        name=name,
        place=where,
        python=python,
        packages=len(has.keys() & wanted.keys()),
        files=sum(digest is not None for digest in found.values()),
        digest=digest_files(found),
        generated=len(expected.generated),
        beside=len(has.keys() & allowed.keys()),
        differences=tuple(differences),
    )


def digest_files(found: Mapping[str, str | None]) -> Digest:
    """One digest for all: equal ones mean equal files at equal paths."""
    running = hashlib.sha256()
    for path in sorted(found):
        running.update(f"{path}\0{found[path] or 'missing'}\n".encode("utf-8", "surrogateescape"))
    return Digest(running.hexdigest())


def _tell_python(found: str, wanted: str) -> Iterator[str]:
    if found.split(".")[:2] != wanted.split(".")[:2]:
        yield f"Python {found or 'unknown'}, and the lock is for {'.'.join(wanted.split('.')[:2])}"


def _tell_distributions(found: Mapping[str, str], wanted: Mapping[str, str], allowed: Mapping[str, str]) -> Iterator[str]:
    for name, version in sorted(wanted.items()):
        if name not in found:
            yield f"{name} {version} is not there"
        elif found[name] != version:
            yield f"{name} {found[name]} is there, and the lock says {version}"
    for name in sorted(wanted.keys() & allowed.keys()):
        yield f"{name} {allowed[name]} comes with the notebook, and the lock has {name} {wanted[name]}"
    for name in sorted(found.keys() - wanted.keys() - allowed.keys()):
        yield f"{name} {found[name]} is there, and not in the lock"


def _tell_files(expected: Expected, found: Mapping[str, str | None]) -> Iterator[str]:
    missing: dict[str, list[str]] = {}
    altered: dict[str, list[str]] = {}
    for path, (package, sha256) in expected.own.items():
        if found[path] is None:
            missing.setdefault(package, []).append(path)
        elif found[path] != sha256:
            altered.setdefault(package, []).append(path)
    for package in sorted(missing.keys() | altered.keys()):
        for paths, what in ((altered.get(package), "altered"), (missing.get(package), "missing")):
            if paths:
                yield f"{package}: {_count(paths)} {what}: {_shorten(paths)}"


def _tell_generated(expected: Expected, place: TwinPlace) -> Iterator[str]:
    lost = sorted(path for path in expected.generated if not place.has(path))
    if lost:
        yield f"{_count(lost)} that had to be generated missing: {_shorten(lost)}"


def _count(paths: list[str]) -> str:
    return "1 file" if len(paths) == 1 else f"{len(paths)} files"


def _shorten(paths: list[str]) -> str:
    return ", ".join(sorted(paths)[:_SHOWN]) + (", …" if len(paths) > _SHOWN else "")


class FolderPlace:
    """An environment on this machine. `sites` are more folders that its Python looks in."""

    def __init__(self, prefix: Path, minor: str, sites: Iterable[Path] = ()) -> None:
        self._prefix = prefix
        self._sites = (prefix / f"lib/python{minor}/site-packages", *sites)

    def sha256(self, path: str) -> str | None:
        try:
            with (self._prefix / path).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return None

    def has(self, path: str) -> bool:
        place = self._prefix / path
        return place.is_symlink() or place.is_file()

    def distributions(self) -> Mapping[str, str]:
        paths = (str(path) for site in self._sites if site.is_dir() for path in site.iterdir())
        return name_distributions(paths)


class ImagePlace:
    """An image's root, by what is known of its layers; `prefix` has no leading slash. `paths` are all that lie in it."""

    def __init__(self, prefix: str, contents: Contents, paths: Iterable[str]) -> None:
        self._prefix = prefix
        self._contents = contents
        self._paths = frozenset(path for path in paths if path.startswith(f"{prefix}/"))

    def sha256(self, path: str) -> str | None:
        inside = f"{self._prefix}/{path}"
        return self._contents.sha256(inside) if inside in self._paths else None

    def has(self, path: str) -> bool:
        return f"{self._prefix}/{path}" in self._paths

    def distributions(self) -> Mapping[str, str]:
        return name_distributions(path for path in self._paths if path.endswith(".dist-info/RECORD"))


def name_distributions(paths: Iterable[str]) -> dict[str, str]:
    """Normalised names and versions of the distributions whose RECORD, or its folder, is among the paths."""
    found = (match for path in paths if (match := _DIST_INFO.fullmatch(path)))
    return {str(canonicalize_name(match["name"])): match["version"] for match in found}
