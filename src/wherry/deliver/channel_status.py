"""What a channel has: its release, its keys, until when its documents hold, and its parcels. Decides nothing."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from wherry.deliver.channel import Channel, read_channel
from wherry.deliver.keys import ROLES
from wherry.deliver.metadata import read_release
from wherry.formats.tuf_workflow import Document
from wherry.model.digest import Digest
from wherry.model.platform import Platform
from wherry.model.release import FULL, PARCELS, ReleaseTarget, name_platform
from wherry.store.posix import explain_os_errors

_BASE = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleStatus:
    """`number` and `expires` are those of its document; None before the first release."""

    role: str
    keyids: tuple[str, ...]
    threshold: int
    number: int | None
    expires: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ParcelFile:
    """A file where devices look. `base` is the manifest of the image from which it leads; None: the full parcel."""

    path: Path
    platform: Platform
    base: Digest | None
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelStatus:
    roles: tuple[RoleStatus, ...]
    release: tuple[ReleaseTarget, ...]
    parcels: tuple[ParcelFile, ...]


def read_status(folder: Path, pinned: bytes | None = None) -> ChannelStatus:
    channel = read_channel(folder, pinned)
    release = read_release(channel)
    parcels = tuple(parcel for target in release for parcel in list_parcels(folder, target.platform))
    return ChannelStatus(roles=tuple(_describe(channel, role) for role in ROLES), release=release, parcels=parcels)


def list_parcels(folder: Path, platform: Platform) -> tuple[ParcelFile, ...]:
    """The parcels for one platform, the full one first."""
    place = folder / PARCELS / name_platform(platform)
    found = []
    with explain_os_errors(place):
        try:
            entries = list(os.scandir(place))
        except FileNotFoundError:
            return ()
        for entry in entries:
            if entry.is_file(follow_symlinks=False) and (entry.name == FULL or _BASE.fullmatch(entry.name)):
                base = None if entry.name == FULL else Digest(entry.name)
                found.append(ParcelFile(path=Path(entry.path), platform=platform, base=base, size=entry.stat().st_size))
    return tuple(sorted(found, key=lambda parcel: (parcel.base is not None, parcel.path.name)))


def _describe(channel: Channel, role: str) -> RoleStatus:
    has = channel.root.roles[role]
    documents: dict[str, Document[Any] | None] = {
        "root": channel.roots[-1],
        "targets": channel.targets,
        "snapshot": channel.snapshot,
        "timestamp": channel.timestamp,
    }
    document = documents[role]
    return RoleStatus(
        role=role,
        keyids=tuple(has.keyids),
        threshold=has.threshold,
        number=document.signed.version if document else None,
        expires=document.signed.expires if document else None,
    )
