"""Takes another tool's lock as it is: pixi.lock, conda-lock.yml, an ``@EXPLICIT`` list. Nothing is resolved anew.

What the file does not say of a record (conda-lock.yml: sizes; explicit lists: nearly everything) comes from the former lock, else
from the channel's index, else from the archive itself. What the file says stands: an index that says another digest is an
error. Distributions of pip's world must be wheels that fit the platform.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from wherry.errors import DeclarationError, LockError, TrustError
from wherry.formats.conda_package import inspect_conda_package
from wherry.formats.foreign_lock import parse_foreign_lock
from wherry.lock.candidates import NOTHING_BUILT, Candidate, SourceOnlyError, no_wheel, rank_of, say_allow_build
from wherry.lock.conda import Channels, find_records, names_in
from wherry.lock.target import WheelTarget, markers_of, tags_of
from wherry.model.declaration import Declaration
from wherry.model.digest import Digest
from wherry.model.foreign_lock import ForeignLock, ForeignPlatform, ForeignRecord, ForeignWheel
from wherry.model.lock import LockedRecord, PlatformLock

_LARGEST = 64 << 20
_GLIBC = re.compile(r"__glibc\s+>=(\d+)\.(\d+)")


def read_foreign_lock(declaration: Declaration) -> ForeignLock:
    """The file that is the declaration's environment."""
    environment = declaration.environment
    file = environment.files[0]
    return parse_foreign_lock(environment.kind, _read_text(declaration.root / file, file), file, environment.groups)


def foreign_channels(lock: ForeignLock) -> tuple[str, ...]:
    """Those that the file names, and those that its records come from."""
    records = (record for platform in lock.platforms for record in platform.records)
    return tuple(dict.fromkeys((*lock.channels, *(record.channel for record in records))))


def adopt_records(
    platform: ForeignPlatform,
    file: str,
    channels: Channels,
    keep: PlatformLock | None,
    *,
    glibc: tuple[int, int],
    says_depends: bool,
) -> tuple[LockedRecord, ...]:
    """The records of one platform, sorted by name, for a base with this `glibc`.

    `says_depends`: an empty list of dependencies means that there are none.
    """
    _check_names(platform, file)
    names = {record.name for record in platform.records}
    former: dict[tuple[str, Digest | None], LockedRecord] = {}
    former.update({(record.file, record.sha256): record for record in (keep.records if keep is not None else ())})
    untold = [
        record
        for record in platform.records
        if not (says_depends and _is_told(record)) and (record.file, record.sha256) not in former
    ]
    found = {
        record.name: _look_up(record, document, channels, file)
        for record, document in find_records(untold, platform.subdir, channels)
    }
    adopted = []
    for record in sorted(platform.records, key=lambda each: each.name):
        known = former.get((record.file, record.sha256))
        told = found.get(record.name, record)
        _check_glibc(told, glibc, file)
        adopted.append(known or _as_record(told, names, channels))
    return _mark_requested(adopted)


def adopt_wheels(
    platform: ForeignPlatform, file: str, folder: Path, target: WheelTarget, built: Mapping[str, Candidate] = NOTHING_BUILT
) -> tuple[Candidate, ...]:
    """The wheels of one platform, sorted by name; `folder` is that of the lock. Of a source archive, what was `built` of it."""
    order = {tag: number for number, tag in enumerate(tags_of(target))}
    chosen: dict[str, Candidate] = {}
    for wheel in platform.wheels:
        made = built.get(wheel.name)
        if not wheel.is_wheel and made is not None and made.version == wheel.version:
            chosen[wheel.name] = replace(made, requires=tuple(sorted(_names_required(wheel.requires, target))))
            continue
        if not wheel.file or wheel.editable:
            kind = "in editable form" if wheel.editable else "as a folder or a repository"
            raise LockError(
                f"{wheel.name} comes {kind}, not as a wheel",
                where=file,
                hint=f"make a wheel of it (pip wheel {wheel.name}), or lock from the environment.yml with allow-build",
            )
        if wheel.sha256 is None:
            raise LockError(f"{wheel.name} has no sha256 for {wheel.file}", where=file)
        if not wheel.is_wheel:
            source = _as_candidate(wheel, wheel.sha256, folder, target)
            what = f"{wheel.name} comes as {wheel.file}, not as a wheel"
            raise SourceOnlyError(what, source=source, where=file, hint=say_allow_build(wheel.name))
        if rank_of(wheel.file, order) is None:
            raise no_wheel(wheel.name, target, [wheel.file], where=file)
        if wheel.name in chosen:
            raise LockError(f"{wheel.name} is listed twice for {platform.subdir}", where=file)
        chosen[wheel.name] = _as_candidate(wheel, wheel.sha256, folder, target)
    return tuple(chosen[name] for name in sorted(chosen))


def _as_candidate(wheel: ForeignWheel, sha256: Digest, folder: Path, target: WheelTarget) -> Candidate:
    return Candidate(
        name=wheel.name,
        version=wheel.version,
        file=wheel.file,
        sha256=sha256,
        url=wheel.url if "://" in wheel.url else (folder / wheel.url).resolve().as_uri(),
        size=wheel.size,
        requires=tuple(sorted(_names_required(wheel.requires, target))),
    )


def _names_required(lines: Iterable[str], target: WheelTarget) -> set[str]:
    names: set[str] = set()
    for line in lines:
        try:
            parsed = Requirement(line)
        except InvalidRequirement:
            continue
        if parsed.marker is None or parsed.marker.evaluate({**markers_of(target), "extra": ""}):
            names.add(canonicalize_name(parsed.name))
    return names


def _check_names(platform: ForeignPlatform, file: str) -> None:
    seen: set[str] = set()
    for record in platform.records:
        if record.name in seen:
            raise LockError(f"{record.name} is listed twice for {platform.subdir}", where=file)
        seen.add(record.name)
    if "python" not in seen:
        raise LockError(f"there is no python for {platform.subdir}, and an image runs one", where=file, hint="add python to it")


def _check_glibc(record: ForeignRecord, glibc: tuple[int, int], file: str) -> None:
    for needed in filter(None, map(_GLIBC.match, record.depends)):
        if (int(needed[1]), int(needed[2])) > glibc:
            raise LockError(
                f"{record.name} {record.version} needs glibc {needed[1]}.{needed[2]}, and the base has {glibc[0]}.{glibc[1]}",
                where=file,
                hint="a newer base, such as debian:trixie, or an older version of it",
            )


def _is_told(record: ForeignRecord) -> bool:
    return None not in (record.size, record.sha256, record.noarch_python)


def _look_up(record: ForeignRecord, document: Mapping[str, Any] | None, channels: Channels, file: str) -> ForeignRecord:
    """With what the channel's index says of it (`document`), or else its archive."""
    if document is not None:
        record = _merge_index(record, document, file)
    if _is_told(record):
        return record
    size, sha256, path = channels.measure(record.channel, record.subdir, record.file, record.md5)
    if record.sha256 not in (None, sha256):
        raise TrustError(
            f"{record.file} has the digest {sha256} instead of {record.sha256}", where=channels.describe(record.channel)
        )
    with path.open("rb") as stream:
        package = inspect_conda_package(stream, record.file)
    depends = record.depends or package.depends
    return replace(record, size=size, sha256=sha256, noarch_python=package.noarch == "python", depends=depends)


def _merge_index(record: ForeignRecord, document: Mapping[str, Any], file: str) -> ForeignRecord:
    said = {"sha256": record.sha256.hex if record.sha256 is not None else None, "md5": record.md5, "size": record.size}
    for kind, value in said.items():
        if value is not None and document.get(kind) not in (None, value):
            raise LockError(
                f"the index of {record.channel} says another {kind} of {record.file}: {document[kind]} instead of {value}",
                where=file,
                hint="lock it again with the tool that made the file",
            )
    sha256 = said["sha256"] or document.get("sha256")
    return replace(
        record,
        size=record.size or document.get("size"),
        sha256=Digest.parse(f"sha256:{sha256}") if sha256 else None,
        noarch_python=document.get("noarch") == "python",
        depends=record.depends or tuple(map(str, document.get("depends", ()))),
    )


def _as_record(record: ForeignRecord, names: set[str], channels: Channels) -> LockedRecord:
    assert record.size is not None and record.sha256 is not None  # noqa: S101, PT018 - looked up before
    return LockedRecord(
        name=record.name,
        version=record.version,
        build=record.build,
        channel=channels.name_of(record.channel),
        subdir=record.subdir,
        file=record.file,
        size=record.size,
        sha256=record.sha256,
        noarch_python=bool(record.noarch_python),
        requires=tuple(sorted(names_in(record.depends) & names)),
        requested=record.requested,
    )


def _mark_requested(records: Sequence[LockedRecord]) -> tuple[LockedRecord, ...]:
    """Where the file does not tell who was asked for, those are that nobody else needs."""
    if any(record.requested for record in records):
        return tuple(records)
    needed = {name for record in records for name in record.requires}
    return tuple(replace(record, requested=record.name not in needed) for record in records)


def _read_text(path: Path, file: str) -> str:
    try:
        with path.open("rb") as opened:
            raw = opened.read(_LARGEST + 1)
    except OSError as error:
        raise DeclarationError(f"cannot be read: {error.strerror}", where=file) from error
    if len(raw) > _LARGEST:
        raise DeclarationError(f"larger than {_LARGEST >> 20} MiB", where=file)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DeclarationError("not UTF-8", where=file) from None
