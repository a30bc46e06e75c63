"""The image of a module out of a channel's newest release, as signed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.simulators.channels import make_channel
from tests.simulators.tuf_repository import NOW
from tests.unit.store.tiny import AMD64, ARM64, put_image
from wherry.deliver.channel import write_metadata
from wherry.deliver.edge_images import EdgeImage, find_released_image
from wherry.deliver.metadata import sign_release
from wherry.deliver.records import NewRecord, RecordedImage, ReleaseRecord, ReleaseRecords
from wherry.errors import StoreError, TrustError, UsageError
from wherry.model.platform import Platform
from wherry.model.reference import Reference
from wherry.model.release import Health, ReleaseTarget
from wherry.store.disk import DiskStore
from wherry.store.images import read_images

HEALTH = Health(command=("check",))
SOURCE = "ghcr.io/you/anomaly"


def release(folder: Path, *platforms: Platform, source: str = SOURCE) -> Path:
    """A channel with one release, number 4."""
    channel, store = folder / "channel", DiskStore(folder / "store")
    keys = make_channel(channel, folder / "keys")
    images = [read_images(store, put_image(store, platform))[0] for platform in platforms]
    targets = [
        ReleaseTarget(
            platform=image.platform,
            manifest=image.manifest.digest,
            size=len(image.manifest.raw),
            release=4,
            layers=(),
            health=HEALTH,
        )
        for image in images
    ]
    metadata = sign_release(channel, targets, keys, NOW)
    documents = tuple(raw for image in images for raw in (image.manifest.raw, image.config.raw))
    recorded = tuple(RecordedImage(platform=image.platform, manifest=image.manifest.digest, source=source) for image in images)
    record = ReleaseRecord(release=4, root=1, time=NOW, images=recorded)
    ReleaseRecords(channel).add(NewRecord(record=record, targets=metadata.targets, documents=documents))
    write_metadata(channel, metadata)
    return channel


def digest_of(folder: Path, platform: Platform) -> str:
    return str(put_image(DiskStore(folder / "other"), platform).digest)


def test_the_only_platform(tmp_path: Path) -> None:
    found = find_released_image(release(tmp_path, ARM64), None)
    assert found.name_pulled() == f"{SOURCE}@{digest_of(tmp_path, ARM64)}"
    assert found.name_brought("app") == f"app:{found.digest.hex[:12]}"
    assert (found.version, found.health, found.config.platform) == ("4", HEALTH, ARM64)


def test_one_of_several(tmp_path: Path) -> None:
    channel = release(tmp_path, AMD64, ARM64, source="")
    found = find_released_image(channel, Reference.parse("r.example/x/y:1"), ARM64)
    assert found.name_pulled() == f"r.example/x/y@{digest_of(tmp_path, ARM64)}"
    with pytest.raises(StoreError, match="linux/amd64, linux/arm64"):
        find_released_image(channel, None)
    with pytest.raises(StoreError, match="linux/amd64, linux/arm64"):
        find_released_image(channel, None, Platform("linux", "s390x"))
    with pytest.raises(UsageError, match="--repository"):
        find_released_image(channel, None, AMD64).name_pulled()


def test_nothing_released_yet(tmp_path: Path) -> None:
    make_channel(tmp_path / "channel", tmp_path / "keys")
    with pytest.raises(StoreError, match="no release yet"):
        find_released_image(tmp_path / "channel", None)


def test_only_what_was_signed_counts(tmp_path: Path) -> None:
    channel = release(tmp_path, AMD64)
    path = channel / "metadata" / "1.targets.json"
    document = json.loads(path.read_bytes())
    document["signed"]["targets"]["linux/amd64"]["hashes"]["sha256"] = "0" * 64
    path.write_text(json.dumps(document))
    with pytest.raises(TrustError):
        find_released_image(channel, None)


def test_an_altered_document_is_refused(tmp_path: Path) -> None:
    channel = release(tmp_path, AMD64)
    found: EdgeImage = find_released_image(channel, None)
    (channel / "releases" / "blobs" / found.digest.hex).write_bytes(b"{}")
    with pytest.raises(TrustError, match="not what its name says"):
        find_released_image(channel, None)
