"""What of a channel nothing needs any longer: parcels of platforms and files that no release has, documents by number that
the timestamp no longer leads to, half-written files, and, if told so, records of releases long past.

Whatever is younger than the age that is kept stays: somebody may be reading it. Roots are never removed, for a device may
come with any of them; nor is anything whose name wherry does not give.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from wherry.deliver.channel import METADATA, Channel, hold_channel, read_channel
from wherry.deliver.metadata import read_release
from wherry.deliver.records import RELEASES, ReleaseRecord, ReleaseRecords
from wherry.formats.oci_json import parse_manifest
from wherry.model.digest import Digest
from wherry.model.release import FULL, PARCELS, name_platform
from wherry.store.posix import explain_os_errors

_NUMBERED = re.compile(r"([1-9][0-9]*)\.(snapshot|targets)\.json")
_PARCEL = re.compile(rf"[0-9a-f]{{64}}|{FULL}")
_RECORD = re.compile(r"([1-9][0-9]*)(?:\.targets)?\.json")
_BLOB = re.compile(r"[0-9a-f]{64}")
_PART = re.compile(r"\..+\.part")


@dataclass(frozen=True, slots=True, kw_only=True)
class Waste:
    """A file that may go."""

    path: Path
    size: int
    reason: str


def plan_gc(folder: Path, now: datetime, keep: timedelta, releases: int | None = None) -> tuple[Waste, ...]:
    """The files that may go. `releases` is how many records stay at least; None: all of them."""
    channel = read_channel(folder)
    found = [*_find_documents(folder, channel), *_find_parcels(folder, channel), *_find_parts(folder)]
    if releases is not None:
        found += _find_records(folder, releases)
    waste = []
    with explain_os_errors(folder):
        for path, reason in found:
            status = path.lstat()
            if status.st_mtime <= (now - keep).timestamp():
                waste.append(Waste(path=path, size=status.st_size, reason=reason))
    return tuple(sorted(waste, key=lambda each: each.path))


def collect_garbage(
    folder: Path, now: datetime, keep: timedelta, releases: int | None = None, *, dry_run: bool = False
) -> tuple[Waste, ...]:
    """Remove what `plan_gc` finds, while nobody writes to the channel."""
    with hold_channel(folder):
        waste = plan_gc(folder, now, keep, releases)
        for each in () if dry_run else waste:
            with explain_os_errors(each.path):
                each.path.unlink(missing_ok=True)
    return waste


def _find_documents(folder: Path, channel: Channel) -> Iterator[tuple[Path, str]]:
    if channel.snapshot is None or channel.targets is None:
        return
    needed = {f"{channel.snapshot.signed.version}.snapshot.json", f"{channel.targets.signed.version}.targets.json"}
    for path in (folder / METADATA).iterdir():
        if _NUMBERED.fullmatch(path.name) and path.name not in needed:
            yield path, "superseded"


def _find_parcels(folder: Path, channel: Channel) -> Iterator[tuple[Path, str]]:
    """Parcels of this release are exchanged with it; what is left over is of platforms that it no longer has."""
    if channel.targets is None:
        return
    released = {name_platform(target.platform) for target in read_release(channel)}
    for path in (folder / PARCELS).glob("*/*"):
        if _PARCEL.fullmatch(path.name) and path.parent.name not in released:
            yield path, "its platform is no longer released"


def _find_parts(folder: Path) -> Iterator[tuple[Path, str]]:
    for path in folder.rglob(".*.part"):
        if _PART.fullmatch(path.name) and path.is_file():
            yield path, "never finished"


def _find_records(folder: Path, releases: int) -> Iterator[tuple[Path, str]]:
    """Records beyond the newest ones that no parcel leads from, and documents that nothing kept needs."""
    records, place = ReleaseRecords(folder), folder / RELEASES
    bases = {parcel.name for parcel in (folder / PARCELS).glob("*/*")}
    everything = records.read_all()
    kept = [*everything[:releases], *(record for record in everything[releases:] if bases & _images_of(record))]
    needed = bases.union(*map(_images_of, kept))
    needed |= {config for name in needed if (config := _find_config(records, place / "blobs" / name))}
    numbers = {str(record.release) for record in kept}
    for path in place.iterdir() if place.is_dir() else ():
        match = _RECORD.fullmatch(path.name)
        if match and match[1] not in numbers:
            yield path, "a release long past"
    for path in (place / "blobs").glob("*"):
        if _BLOB.fullmatch(path.name) and path.name not in needed:
            yield path, "of no release that is kept"


def _images_of(record: ReleaseRecord) -> set[str]:
    return {image.manifest.hex for image in record.images}


def _find_config(records: ReleaseRecords, manifest: Path) -> str | None:
    if not _BLOB.fullmatch(manifest.name) or not manifest.is_file():
        return None
    return parse_manifest(records.read_document(Digest(manifest.name))).config.digest.hex
