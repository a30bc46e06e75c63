"""Opens a parcel: whatever is in it counts only when what was signed says so.

Rules, in this order: the parcel's own checksum (damage, not attack); the metadata by what this device trusts; the manifest by the
digest and size that were signed; the config by the digest in the manifest; its layers by those that were signed. Only then a
layer's body is looked at, within the bounds that were signed, and what it makes counts by its diff_id.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from wherry.agent.parcel_source import ParcelSource
from wherry.agent.state import ImageRecord
from wherry.agent.trust import TrustStore
from wherry.errors import TrustError
from wherry.formats.delta import Limits
from wherry.formats.oci_json import parse_config, parse_manifest
from wherry.formats.parcel import BodyPlace, ParcelLimits, locate_bodies, parse_parcel, read_documents
from wherry.formats.parcel_documents import Documents
from wherry.model.digest import Digest
from wherry.model.platform import Platform
from wherry.model.release import ReleaseTarget

MAX_MEMORY = 34 << 20  # bytes that a decoder's windows may take on a small device


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedParcel:
    """What a parcel proved to be. `expired_for` is how long ago its timestamp expired, within what the device allows.

    `floor` is the newest signed time: it is not earlier than that.
    """

    record: ImageRecord
    bodies: tuple[BodyPlace, ...]
    expired_for: timedelta
    is_full: bool
    floor: datetime | None


def open_parcel(
    source: ParcelSource,
    base: ImageRecord | None,
    trust: TrustStore,
    platform: Platform,
    *,
    now: datetime,
    max_age: timedelta,
    limits: ParcelLimits | None = None,
) -> OpenedParcel:
    """Verify, and from now on trust nothing older than it. A parcel for another base is a `DeviceError`."""
    head = parse_parcel(source.read, source.size, limits, source.where)
    documents = read_documents(source.read, head, base.documents if base else None, limits, source.where)
    verified = trust.verify_metadata(documents.metadata, platform, now=now, max_age=max_age)
    check_documents(documents, verified.target, source.where)
    bodies = locate_bodies(head, documents.config, base.config if base else None, source.where)
    trust.accept(verified)
    record = ImageRecord(
        target=verified.target,
        manifest=documents.manifest,
        config=documents.config,
        targets=documents.metadata.targets,
    )
    return OpenedParcel(
        record=record,
        bodies=bodies,
        expired_for=verified.expired_for,
        is_full=head.is_full,
        floor=verified.trusted.floor,
    )


def check_documents(documents: Documents, target: ReleaseTarget, where: str) -> None:
    """Manifest and config are those that were signed, and agree with one another."""
    if len(documents.manifest) != target.size or Digest.of(documents.manifest) != target.manifest:
        raise TrustError("the manifest is not the one that was signed", where=where)
    manifest = parse_manifest(documents.manifest)
    if Digest.of(documents.config) != manifest.config.digest:
        raise TrustError("the config is not the one that the manifest names", where=where)
    config = parse_config(documents.config)
    if config.diff_ids != tuple(layer.diff_id for layer in target.layers) or len(manifest.layers) != len(config.diff_ids):
        raise TrustError("the image has other layers than were signed", where=where)
    if config.platform != target.platform:
        raise TrustError(f"the image is for {config.platform}, signed for {target.platform}", where=where)


def decoder_limits(target: ReleaseTarget, size: int, memory: int = MAX_MEMORY) -> Limits:
    """The bounds for one layer: its signed size, and the signed memory, if the device allows as much."""
    return Limits(target_size=size, memory=min(target.memory or memory, memory))
