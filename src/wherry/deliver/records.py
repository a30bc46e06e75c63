"""What a channel remembers of its releases, so that parcels can be made from them: their documents, not their layers.

    releases/7.json             number, time, root, images (platform, manifest, where its layers came from)
    releases/7.targets.json     the targets as signed with it
    releases/blobs/<hex>        manifests and configs, by digest

Devices read none of it. A record appears whole, after its documents, and is never changed. It holds no credential and no
path of a machine.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from wherry.errors import FormatError, StoreError, TrustError
from wherry.formats.oci_json import MAX_DOCUMENT, parse_json, parse_manifest, render_json
from wherry.formats.parcel_documents import BaseDocuments, same_images
from wherry.model.digest import Digest
from wherry.model.platform import Platform
from wherry.store.posix import explain_os_errors, write_atomically

RELEASES = "releases"
_SCHEMA = 1
_NAME = re.compile(r"([1-9][0-9]{0,15})\.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedImage:
    """One platform. `source` is the registry and repository that has its layers, such as ``ghcr.io/you/anomaly``."""

    platform: Platform
    manifest: Digest
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseRecord:
    """`root` is the number of the root under which it was released: who has it knows that root. `time` is aware."""

    release: int
    root: int
    time: datetime
    images: tuple[RecordedImage, ...]

    def for_platform(self, platform: Platform) -> RecordedImage | None:
        return next((image for image in self.images if image.platform == platform), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRecord:
    """A release that is not recorded yet: with its targets, and the manifests and configs of its images and their bases."""

    record: ReleaseRecord
    targets: bytes
    documents: tuple[bytes, ...]


class ReleaseRecords:
    """The records in the folder of a channel; with `coming`, as they will be when that is added."""

    def __init__(self, channel: Path, coming: NewRecord | None = None) -> None:
        self._folder = channel / RELEASES
        self._coming = coming
        self._documents = {Digest.of(document): document for document in coming.documents} if coming else {}

    def read_all(self) -> tuple[ReleaseRecord, ...]:
        """Every release, the newest first."""
        try:
            names = [entry.name for entry in self._folder.iterdir()]
        except FileNotFoundError:
            names = []
        except OSError as error:
            raise StoreError(error.strerror or str(error), where=str(self._folder)) from error
        numbers = sorted((int(match[1]) for name in names if (match := _NAME.fullmatch(name))), reverse=True)
        known = tuple(self.read(number) for number in numbers)
        return known if self._coming is None else (self._coming.record, *known)

    def read(self, release: int) -> ReleaseRecord:
        path = self._folder / f"{release}.json"
        record = _parse_record(_read(path), str(path))
        if record.release != release:
            raise FormatError(f"this is release {record.release}", where=str(path))
        return record

    def add(self, new: NewRecord) -> None:
        """Remember a release: its documents first, then what points at them."""
        blobs = self._folder / "blobs"
        with explain_os_errors(self._folder):
            blobs.mkdir(parents=True, exist_ok=True)
            for document in new.documents:
                path = blobs / Digest.of(document).hex
                if not path.exists():
                    write_atomically(path, document)
            write_atomically(self._folder / f"{new.record.release}.targets.json", new.targets)
            write_atomically(self._folder / f"{new.record.release}.json", _render_record(new.record))

    def read_document(self, digest: Digest) -> bytes:
        """A manifest or a config that some release had."""
        if digest in self._documents:
            return self._documents[digest]
        path = self._folder / "blobs" / digest.hex
        data = _read(path)
        if Digest.of(data) != digest:
            raise TrustError("not what its name says", where=str(path), hint="restore the channel's folder from its copy")
        return data

    def has_document(self, digest: Digest) -> bool:
        return digest in self._documents or (self._folder / "blobs" / digest.hex).exists()

    def base_documents(self, platform: Platform, manifest: Digest) -> BaseDocuments:
        """What the owner of an image certainly has of it. An image of two releases that say different things has no targets."""
        raw = self.read_document(manifest)
        config = self.read_document(parse_manifest(raw, where=str(manifest)).config.digest)
        told = [self.read_targets(record.release) for record in self._releases_of(platform, manifest)]
        agreed = bool(told) and all(same_images(told[0], other) for other in told[1:])
        return BaseDocuments(manifest=raw, config=config, targets=told[0] if agreed else None)

    def known_root(self, platform: Platform, manifest: Digest | None) -> int:
        """The number of the newest root that whoever has this image certainly knows; 0 for one who may know none."""
        return min((record.root for record in self._releases_of(platform, manifest)), default=0)

    def _releases_of(self, platform: Platform, manifest: Digest | None) -> list[ReleaseRecord]:
        named = [(record, record.for_platform(platform)) for record in self.read_all()]
        return [record for record, image in named if image is not None and image.manifest == manifest]

    def read_targets(self, release: int) -> bytes:
        if self._coming is not None and release == self._coming.record.release:
            return self._coming.targets
        return _read(self._folder / f"{release}.targets.json")


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_DOCUMENT + 1)
    except OSError as error:
        raise StoreError(error.strerror or str(error), where=str(path)) from error
    if len(data) > MAX_DOCUMENT:
        raise FormatError(f"more than {MAX_DOCUMENT} bytes", where=str(path))
    return data


def _render_record(record: ReleaseRecord) -> bytes:
    images = [_render_image(image) for image in record.images]
    return render_json(
        {"images": images, "release": record.release, "root": record.root, "schema": _SCHEMA, "time": record.time.isoformat()}
    )


def _render_image(image: RecordedImage) -> dict[str, str]:
    members = {"manifest": str(image.manifest), "platform": str(image.platform)}
    return members | ({"source": image.source} if image.source else {})


def _parse_record(raw: bytes, where: str) -> ReleaseRecord:
    value = parse_json(raw, where)
    if value.get("schema") != _SCHEMA:
        raise FormatError("a record of another version of wherry", where=where)
    try:
        return ReleaseRecord(
            release=int(value["release"]),
            root=int(value["root"]),
            time=datetime.fromisoformat(value["time"]),
            images=tuple(_parse_image(image) for image in value["images"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"a damaged record: {error}", where=where) from error


def _parse_image(value: Any) -> RecordedImage:
    return RecordedImage(
        platform=Platform.parse(value["platform"]), manifest=Digest.parse(value["manifest"]), source=str(value.get("source", ""))
    )
