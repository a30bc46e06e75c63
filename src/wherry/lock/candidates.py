"""Chooses the one wheel of each package that a platform takes, out of a `pylock.toml` (PEP 751).

The file is uv's answer, uv's export of a `uv.lock`, or an author's own: in each case markers, tags and digests decide,
and whatever is no wheel with a sha256 is refused by name.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from packaging.pylock import Package, Pylock, PylockValidationError
from packaging.tags import Tag, parse_tag
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from wherry.errors import FormatError, LockError
from wherry.lock.conda_names import name_in_conda
from wherry.lock.target import WheelTarget, markers_of, tags_of
from wherry.model.digest import Digest


class NoWheelError(LockError):
    """A package that a platform gets no wheel of."""

    def __init__(self, what: str, *, package: str, where: str | None, hint: str) -> None:
        super().__init__(what, where=where, hint=hint)
        self.package = package


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A wheel chosen for a platform. `url` says where it is now; `size` is None while nobody has said it."""

    name: str
    version: str
    file: str
    sha256: Digest
    url: str
    size: int | None
    requires: tuple[str, ...] = ()


NOTHING_BUILT: Mapping[str, Candidate] = {}


class SourceOnlyError(NoWheelError):
    """A package that a platform gets no wheel of, but a source archive: `source`."""

    def __init__(self, what: str, *, source: Candidate, where: str | None, hint: str) -> None:
        super().__init__(what, package=source.name, where=where, hint=hint)
        self.source = source


def select_candidates(
    text: str,
    folder: Path,
    where: str,
    target: WheelTarget,
    extras: Sequence[str] = (),
    groups: Sequence[str] | None = None,
    built: Mapping[str, Candidate] = NOTHING_BUILT,
) -> tuple[Candidate, ...]:
    """Read a pylock of `folder` and choose, sorted by name. `groups` None means the file's default groups.

    Of a package that is `built` in the version of the file, that wheel is chosen.
    """
    pylock = _parse_pylock(text, where)
    environment = {
        **markers_of(target),
        "extras": frozenset(extras),
        "dependency_groups": frozenset(groups if groups is not None else pylock.default_groups or ()),
    }
    order = {tag: number for number, tag in enumerate(tags_of(target))}
    chosen: dict[str, Candidate] = {}
    for package in pylock.packages:
        if package.marker is not None and not package.marker.evaluate(environment, context="lock_file"):  # type: ignore[arg-type]
            continue
        if package.name in chosen:
            raise LockError(f"{package.name} is named twice for {target.platform}", where=where)
        made = built.get(package.name)
        if made is not None and package.version == Version(made.version):
            chosen[package.name] = replace(made, requires=_requires(package))
        else:
            chosen[package.name] = _choose(package, folder, where, target, order)
    return tuple(chosen[name] for name in sorted(chosen))


def rank_of(file: str, order: dict[Tag, int]) -> int | None:
    """How well a wheel fits, 0 the best; None when it does not fit or is no wheel."""
    try:
        tags = parse_wheel_filename(file)[3]
    except InvalidWheelFilename:
        return None
    return min((order[tag] for tag in tags if tag in order), default=None)


def describe_platforms(files: Iterable[str]) -> str:
    """The platforms that wheels are for, in our names where there are such: ``linux/amd64, windows (amd64)``."""
    found: set[str] = set()
    for file in files:
        parts = file.removesuffix(".whl").split("-")
        if file.endswith(".whl") and len(parts) >= 5:
            found.update(_describe_tag(tag.platform) for tag in parse_tag("-".join(parts[-3:])))
    return ", ".join(sorted(found)) or "none"


_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm/v7", "armv6l": "arm/v6", "i686": "386"}


def _describe_tag(platform: str) -> str:
    if platform == "any":
        return "any platform"
    for prefix, words in (("manylinux", "linux/{}"), ("linux", "linux/{}"), ("musllinux", "linux/{} with musl")):
        if platform.startswith(prefix):
            for machine, name in (*_MACHINES.items(), ("ppc64le", "ppc64le"), ("s390x", "s390x"), ("riscv64", "riscv64")):
                if platform.endswith(f"_{machine}"):
                    return words.format(name)
    if platform.startswith("macosx"):
        return f"macOS ({'arm64' if platform.endswith('arm64') else 'universal' if 'universal' in platform else 'x86_64'})"
    return f"windows ({platform.removeprefix('win_')})" if platform.startswith("win") else platform


def _parse_pylock(text: str, where: str) -> Pylock:
    try:
        return Pylock.from_dict(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise FormatError(f"is not TOML: {str(error)[:200]}", where=where) from None
    except PylockValidationError as error:
        raise FormatError(f"is no pylock: {str(error)[:300]}", where=where) from None


def _choose(package: Package, folder: Path, where: str, target: WheelTarget, order: dict[Tag, int]) -> Candidate:
    if package.archive is not None and _name_in(package.archive.url, package.archive.path).endswith(".whl"):
        archive = package.archive
        file = _name_in(archive.url, archive.path)
        if rank_of(file, order) is None:
            raise no_wheel(package.name, target, [file], where=where)
        return _candidate(package, file, archive.url, archive.path, archive.hashes, archive.size, folder, where)
    source = _source_archive(package, folder)
    if not package.wheels and source is None:
        kind = next((word for word in ("vcs", "directory", "archive", "sdist") if getattr(package, word) is not None), "nothing")
        raise LockError(
            f"{package.name} comes as {kind}, not as a wheel",
            where=where,
            hint=f'environment = "pyproject.toml" or "requirements.txt" in wherry.toml, and {say_allow_build(package.name)}',
        )
    ranked = [(rank, wheel) for wheel in package.wheels or () if (rank := rank_of(wheel.filename, order)) is not None]
    if not ranked:
        refusal = no_wheel(package.name, target, [wheel.filename for wheel in package.wheels or ()], where=where)
        if source is None:
            raise refusal
        raise SourceOnlyError(refusal.what, source=source, where=where, hint=refusal.hint or "")
    wheel = min(ranked, key=lambda pair: (pair[0], pair[1].filename))[1]
    return _candidate(package, wheel.filename, wheel.url, wheel.path, wheel.hashes, wheel.size, folder, where)


def say_allow_build(requirement: str) -> str:
    """The line to write for a package that may be built; `requirement` begins with its name."""
    return f'allow-build = ["{name_of(requirement)}"] in wherry.toml: it is built once, in a sandbox without network'


def _source_archive(package: Package, folder: Path) -> Candidate | None:
    """The package's sdist, where the file gives its sha256."""
    sdist = package.sdist
    if sdist is None or package.version is None:
        return None
    file = _name_in(sdist.url, sdist.path)
    try:
        digest = Digest.parse(f"sha256:{str(dict(sdist.hashes).get('sha256', '')).lower()}")
    except FormatError:
        return None
    return Candidate(
        name=package.name,
        version=str(package.version),
        file=file,
        sha256=digest,
        url=sdist.url or (folder / (sdist.path or file)).resolve().as_uri(),
        size=sdist.size or None,
    )


def name_of(requirement: str) -> str:
    """The normalised name that a requirement begins with."""
    return canonicalize_name(re.split(r"[^A-Za-z0-9._-]", requirement.strip(), maxsplit=1)[0])


def no_wheel(name: str, target: WheelTarget, files: Iterable[str], *, where: str | None = None) -> NoWheelError:
    """The refusal for a package that this platform gets no wheel of."""
    python = ".".join(map(str, target.minor))
    have = describe_platforms(files)
    if have == "none":
        return NoWheelError(
            f"{name} has no wheel at all, and is not built unasked",
            package=name,
            where=where,
            hint=f"{say_allow_build(name)}; or an index that has a wheel",
        )
    known = name_in_conda(name_of(name))
    other = f"; or conda-forge's package {known} in an environment.yml" if known else ""
    return NoWheelError(
        f"{name} has no wheel for {target.platform} with Python {python} and glibc {target.glibc[0]}.{target.glibc[1]};"
        f" it has for: {have}",
        package=name,
        where=where,
        hint=f"another version of {name} or of Python, the platform left out, or an index that has such a wheel{other}",
    )


def _candidate(
    package: Package,
    file: str,
    url: str | None,
    path: str | None,
    hashes: object,
    size: int | None,
    folder: Path,
    where: str,
) -> Candidate:
    sha256 = dict(hashes).get("sha256", "") if isinstance(hashes, dict) or hasattr(hashes, "keys") else ""  # type: ignore[call-overload]
    try:
        name, version = parse_wheel_filename(file)[:2]
        digest = Digest.parse(f"sha256:{str(sha256).lower()}")
    except FormatError:
        raise LockError(f"{package.name} has no sha256 for {file}", where=where) from None
    except InvalidWheelFilename:
        raise LockError(f"{package.name}: {file[:120]!r} is no name of a wheel", where=where) from None
    if name != package.name:
        raise LockError(f"{package.name} names a file of another project, {file}", where=where)
    return Candidate(
        name=package.name,
        version=str(package.version or version),
        file=file,
        sha256=digest,
        url=url or (folder / (path or file)).resolve().as_uri(),
        size=size or None,
        requires=_requires(package),
    )


def _requires(package: Package) -> tuple[str, ...]:
    return tuple(sorted({canonicalize_name(str(entry.get("name", ""))) for entry in package.dependencies or ()}))


def _name_in(url: str | None, path: str | None) -> str:
    return unquote(urlsplit(url).path if url else path or "").rpartition("/")[2]
