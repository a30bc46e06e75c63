"""Resolves what is asked of conda's channels, for one platform, to exact records. py-rattler solves, in a process of its own.

Channels are asked for their indexes by name; the solver gets the files. There is always a Python among the records: an
image runs one, and with conda's packages it is conda's. What a former lock has stays unless it is upgraded: the very
record on the same platform, the version on a platform that is new.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from packaging.utils import canonicalize_name

from wherry.errors import DeclarationError, FormatError, LockError, TransferError, TrustError
from wherry.lock.conda_refusals import Unsolved, explain_unsolved
from wherry.lock.places import name_place
from wherry.lock.virtual_packages import VirtualPackage, list_virtual_packages
from wherry.lock.wheels import LockOptions
from wherry.model.declaration import CondaRequest, CondaSpec
from wherry.model.digest import Digest
from wherry.model.foreign_lock import ForeignRecord
from wherry.model.lock import LockedRecord, PlatformLock
from wherry.model.platform import Platform
from wherry.sources.rattler_program import run_rattler

_TIMEOUT = 300.0
_NAME = re.compile(r"(?:[^\s:]+::)?([A-Za-z0-9_][A-Za-z0-9_.-]*)")
_CHANNEL = re.compile(r"(?P<channel>[^\s\[]+?)::(?P<rest>\S.*)", re.DOTALL)
_SUBDIR = re.compile(r"/((?:linux|osx|win)-[a-z0-9_]+|noarch)(?=::)")
_BRACKETED = re.compile(r"\[(?P<before>[^\]]*?)\bchannel\s*=\s*(?P<quote>['\"]?)(?P<channel>[^'\",\]]+)(?P=quote)\s*,?\s*")


class Channels(Protocol):
    """What is needed of conda's channels (`sources.conda_channels`)."""

    def name_of(self, channel: str) -> str: ...

    def expand(self, channel: str) -> tuple[str, ...]: ...

    def describe(self, channel: str) -> str: ...

    def fetch_repodata(self, channel: str, subdir: str) -> Path | None: ...

    def fetch_all(self, records: Sequence[LockedRecord]) -> list[Path]: ...

    def measure(self, channel: str, subdir: str, file: str, md5: str | None) -> tuple[int, Digest, Path]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaTarget:
    """What the records are to run on."""

    platform: Platform
    glibc: tuple[int, int]
    cuda: str | None = None

    @property
    def virtual_packages(self) -> tuple[VirtualPackage, ...]:
        return list_virtual_packages(self.platform, self.glibc, self.cuda)


def lock_records(
    request: CondaRequest, target: CondaTarget, channels: Channels, *, keep: PlatformLock | None, options: LockOptions
) -> tuple[LockedRecord, ...]:
    """The records of one platform, sorted by name. `keep` is a former lock of this platform, or else of another."""
    specs = tuple(_choose_specs(request, target))
    names = list(_expand(channels_of(request), channels))
    places = {name: place for channel, place in _places_of(request) for name in channels.expand(channel)}
    indexes = _fetch_indexes(names, target.platform, channels, places)
    answer = run_rattler(
        "solve",
        {
            "specs": [_describe_spec(spec, channels) for spec in specs],
            "channels": [{"name": name, "indexes": found} for name, found in indexes.items()],
            "virtual": target.virtual_packages,
            "priority": request.priority.value,
            **_remember(keep, target.platform, options),
        },
        timeout=_TIMEOUT,
    )
    if "unsolved" in answer:
        unsolved = Unsolved(specs=specs, channels=tuple(names), platform=target.platform, **answer["unsolved"])
        raise explain_unsolved(unsolved)
    requested = {spec.name for spec in specs if spec.where}
    return _as_records(answer["records"], requested, keep, channels)


def find_records(
    records: Sequence[ForeignRecord], subdir: str, channels: Channels
) -> Iterator[tuple[ForeignRecord, Mapping[str, Any] | None]]:
    """Each with what its channel's index says of it: repodata's own fields; None where it is not in it."""
    if not records:
        return
    indexes = {}
    for channel in dict.fromkeys(record.channel for record in records):
        paths = {one: channels.fetch_repodata(channel, one) for one in (subdir, "noarch")}
        indexes[channels.name_of(channel)] = {one: str(path) for one, path in paths.items() if path is not None}
    wanted = [
        {"channel": channels.name_of(record.channel), "subdir": record.subdir, "name": record.name, "file": record.file}
        for record in records
    ]
    given = [{"name": name, "indexes": found} for name, found in indexes.items()]
    answer = run_rattler("find", {"channels": given, "wanted": wanted}, timeout=_TIMEOUT)
    yield from zip(records, answer["records"], strict=True)


def channels_of(request: CondaRequest) -> tuple[str, ...]:
    """As they were written, the first one first: those declared, then those that only a spec names."""
    named = sorted({channel for spec in request.specs if (channel := _split_channel(spec)[0])})
    return tuple(dict.fromkeys((*request.channels, *named)))


def declared_channels(request: CondaRequest) -> tuple[str, ...]:
    """Those that channels get their names by. A name in a spec is not among them: it may be one that an address was given."""
    return tuple(dict.fromkeys((*request.channels, *(channel for channel in channels_of(request) if "://" in channel))))


def _places_of(request: CondaRequest) -> Iterator[tuple[str, str]]:
    """Where each channel is written; in the list of channels rather than in a spec, in the first spec rather than in another."""
    for spec in reversed(request.specs):
        if spec.where and (channel := _split_channel(spec)[0]):
            yield channel, spec.where
    yield from request.places


def _choose_specs(request: CondaRequest, target: CondaTarget) -> Iterator[CondaSpec]:
    """Those meant for the platform, and Python if there is none among them."""
    chosen = [spec for spec in request.specs if not spec.subdirs or target.platform.subdir in spec.subdirs]
    yield from chosen
    if all(spec.name != "python" for spec in chosen):
        yield CondaSpec(text="python", name="python")


def _describe_spec(spec: CondaSpec, channels: Channels) -> dict[str, Any]:
    channel, text = _split_channel(spec)
    subdir = _SUBDIR.search(spec.text)
    return {
        "text": text,
        "where": spec.where,
        "channels": list(channels.expand(channel)) if channel else [],
        "subdir": subdir[1] if channel and subdir is not None else "",
    }


def _split_channel(spec: CondaSpec) -> tuple[str, str]:
    """The channel that a spec names, or "", and the spec without it: the solver knows channels by our names for them."""
    if (found := _CHANNEL.fullmatch(spec.text.strip())) is not None:
        return _SUBDIR.sub("", f"{found['channel']}::").removesuffix("::"), found["rest"]
    if (found := _BRACKETED.search(spec.text)) is not None:
        rest = f"{spec.text[: found.start()]}[{found['before']}{spec.text[found.end() :]}".replace("[]", "").replace(", ]", "]")
        return found["channel"], rest.replace(",]", "]")
    return "", spec.text


def _expand(named: Iterable[str], channels: Channels) -> Iterator[str]:
    """The names of all single channels, each once."""
    yield from dict.fromkeys(name for channel in named for name in channels.expand(channel))


def _fetch_indexes(
    names: Sequence[str], platform: Platform, channels: Channels, places: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    """The paths of each channel's indexes by subdir. A channel that has neither of the two is an error.

    `places` are where the author wrote the channels.
    """
    if not names:
        raise DeclarationError("no channel is named to take packages from", where="channels", hint="channels: [conda-forge]")
    indexes: dict[str, dict[str, str]] = {}
    for name in names:
        try:
            paths = {subdir: channels.fetch_repodata(name, subdir) for subdir in (platform.subdir, "noarch")}
        except TransferError as error:
            raise name_place(error, places.get(name)) from error
        indexes[name] = {subdir: str(path) for subdir, path in paths.items() if path is not None}
        if not indexes[name]:
            looked = f", looked in {channels.describe(name)}" if name in places else ""
            raise LockError(
                f"the channel {name} has nothing for {platform.subdir}, and no noarch either{looked}",
                where=places.get(name) or channels.describe(name),
                hint="check the channel's name; where it lies is what conda's configuration on this machine says",
            )
    return indexes


def _remember(keep: PlatformLock | None, platform: Platform, options: LockOptions) -> dict[str, Any]:
    """What the former lock has, as the solver is to hold to it: all of it, else what was asked for, else what it can."""
    if keep is None or options.upgrade:
        return {"favoured": [], "wishes": [[]]}
    kept = [record for record in keep.records if canonicalize_name(record.name) not in options.upgrade_packages]
    favoured = [
        {"channel": record.channel, "subdir": record.subdir, "name": record.name, "file": record.file}
        for record in kept
        if record.subdir in (platform.subdir, "noarch")
    ]
    wishes = {record: f"{record.name} =={record.version}" for record in kept}
    if keep.platform == platform:
        wishes = {record: f"{wish} {record.build}" for record, wish in wishes.items()}
    asked = [wish for record, wish in wishes.items() if record.requested or record.name == "python"]
    return {"favoured": favoured, "wishes": [list(wishes.values()), asked, []]}


def _as_records(
    found: Sequence[Mapping[str, Any]], requested: set[str], keep: PlatformLock | None, channels: Channels
) -> tuple[LockedRecord, ...]:
    names = {str(document["name"]).lower() for document in found}
    former = {(record.channel, record.subdir, record.file): record for record in (keep.records if keep is not None else ())}
    records = []
    for document in sorted(found, key=lambda each: str(each["name"]).lower()):
        place = (str(document["channel"]), str(document["subdir"]), str(document["file"]))
        size, sha256 = _tell_size_and_digest(document, former.get(place), channels)
        records.append(
            LockedRecord(
                name=str(document["name"]).lower(),
                version=str(document["version"]),
                build=str(document["build"]),
                channel=place[0],
                subdir=place[1],
                file=place[2],
                size=size,
                sha256=sha256,
                noarch_python=document.get("noarch") == "python",
                requires=tuple(sorted(names_in(document.get("depends", ())) & names)),
                requested=str(document["name"]).lower() in requested,
            )
        )
    return tuple(records)


def names_in(depends: Iterable[str]) -> set[str]:
    """The names that match specs ask for."""
    return {found[1].lower() for text in depends if (found := _NAME.match(text)) is not None}


def _tell_size_and_digest(document: Mapping[str, Any], former: LockedRecord | None, channels: Channels) -> tuple[int, Digest]:
    """From the index; one that does not say them makes us fetch the archive, once."""
    size, sha256 = document.get("size"), document.get("sha256")
    if sha256 and size:
        try:
            return int(size), Digest.parse(f"sha256:{sha256}")
        except (FormatError, ValueError):
            raise FormatError(f"the index says of {document['file']} that its sha256 is {str(sha256)[:80]!r}") from None
    if former is not None and sha256 in (None, former.sha256.hex):
        return former.size, former.sha256
    md5 = document.get("md5")
    channel, file = str(document["channel"]), str(document["file"])
    found, digest, _ = channels.measure(channel, str(document["subdir"]), file, str(md5) if md5 else None)
    if sha256 and digest.hex != sha256:
        raise TrustError(f"{file} is not what the index of {channel} says: {digest}", where=channels.describe(channel))
    return found, digest
