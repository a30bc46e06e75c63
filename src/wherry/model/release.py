"""A release: what an operator signs, what a device believes, and where both lie in a channel (docs/spec/channel.md).

A channel is a folder of static files. The TUF targets of it are image manifests, one a platform, and only the newest
release stands in them. A number is given once: a release of a former image is a new release.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from wherry.errors import FormatError
from wherry.model.digest import DiffId, Digest
from wherry.model.platform import Platform

PARCELS = "parcels"
FULL = "full"
_HTTP = re.compile(r"([1-9][0-9]{0,4})(?:/[!-~]*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """The signed documents of a channel, as bytes, none of them believed yet.

    `roots` ascend without a gap, the newest last; which of them a parcel carries is the parcel's matter. The timestamp
    is signed again while a release lasts, and so, more rarely, are snapshot and targets: nobody can know which of them
    a device has last seen.
    """

    roots: tuple[bytes, ...]
    timestamp: bytes
    snapshot: bytes
    targets: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseLayer:
    """One layer of a released image; `size` is that of its uncompressed tar, in bytes."""

    diff_id: DiffId
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """When a new release counts as well. Exactly one of `command`, `http` and `log` is given.

    `command` runs in the container and ends with 0; `http` is ``PORT/PATH`` of the container and answers 2xx; `log` is
    a text that a line of its output has to contain. It has to come true `within` so many seconds and then, for
    `seconds`, not to come untrue.
    """

    command: tuple[str, ...] = ()
    http: str = ""
    log: str = ""
    within: int = 120
    seconds: int = 30

    def __post_init__(self) -> None:
        if sum(map(bool, (self.command, self.http, self.log))) != 1:
            raise FormatError("a health check is one of command, http and log")
        place = _HTTP.fullmatch(self.http)
        if self.http and not (place and int(place[1]) < 1 << 16):
            raise FormatError(f"a health check asks PORT/PATH, not {self.http[:80]!r}")
        if not 1 <= self.within <= 86_400 or not 0 <= self.seconds <= 86_400:
            raise FormatError("a health check's times are from 1 second to a day")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseTarget:
    """One platform of a release. `size` is the manifest's, in bytes; `memory` bounds the decoder's, in bytes."""

    platform: Platform
    manifest: Digest
    size: int
    release: int
    layers: tuple[ReleaseLayer, ...]
    health: Health | None = None
    memory: int = 0


def name_on_device(name: str, manifest: Digest) -> str:
    """What wherry-agent calls an image in a device's engine, whose container is called `name`; no two have one name."""
    return f"{name}:{manifest.hex[:12]}"


def name_platform(platform: Platform) -> str:
    """A platform as the name of a folder or file, such as ``linux-arm-v7``."""
    return str(platform).replace("/", "-")


def locate_parcel(platform: Platform, base: Digest | None) -> str:
    """Where a channel has the parcel for the device that runs `base`; None stands for a device that has nothing."""
    return f"{PARCELS}/{name_platform(platform)}/{base.hex if base else FULL}"
