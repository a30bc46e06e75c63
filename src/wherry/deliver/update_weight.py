"""What an update between two stored images would weigh, before there is a channel or a release.

Layers are cut for real. Documents are drafts: signed by one key a role, all of them gone afterwards, with the sizes of
stored layers where those of their tars would stand; so the parcel is right to some ten bytes.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import datetime

from wherry.deliver.body_cache import BodyCache
from wherry.deliver.metadata import PERIODS, RolePlan
from wherry.deliver.parcels import Base, LayerShelf, cut_parcel
from wherry.deliver.release_costs import ParcelCost, describe_cost, sign_draft
from wherry.errors import StoreError
from wherry.formats.oci_json import parse_config, parse_manifest
from wherry.formats.parcel import BaseDocuments, Documents, stream_parcel
from wherry.model.digest import Digest
from wherry.model.oci import Descriptor
from wherry.model.progress import Progress, be_silent
from wherry.model.release import Metadata, ReleaseLayer, ReleaseTarget
from wherry.store.disk import DiskStore
from wherry.store.images import StoredImage

_PLANS = {role: RolePlan(count=1, threshold=1, days=days) for role, days in PERIODS.items()}


def weigh_update(
    store: DiskStore, base: Digest, target: Digest, now: datetime, cache: BodyCache | None = None, progress: Progress = be_silent
) -> ParcelCost:
    """The cost of an update between two images, given by their manifests. Layers that are not here are a `StoreError`."""
    former, image = (_read_image(store, manifest) for manifest in (base, target))
    shelf = LayerShelf(store, (former, image))
    if gone := (*shelf.find_gone(former), *shelf.find_gone(image)):
        raise StoreError(
            f"{len(gone)} layers are not here", where=str(store.root), hint="wherry image pull brings an image's layers"
        )
    with closing(cut_parcel(shelf, image, Base(name=str(base), image=former), cache, progress)) as cut:
        before, after = (_draft(each, release, now) for release, each in enumerate((former, image), 1))
        documents = Documents(metadata=replace(after, roots=()), manifest=image.manifest.raw, config=image.config.raw)
        known = BaseDocuments(manifest=former.manifest.raw, config=former.config.raw, targets=before.targets)
        return describe_cost(cut, image, sum(map(len, stream_parcel(documents, known, cut.layers))))


def _read_image(store: DiskStore, digest: Digest) -> StoredImage:
    raw = store.read_bytes(digest)
    manifest = parse_manifest(raw, where=str(digest))
    return StoredImage(
        descriptor=Descriptor(media_type=manifest.media_type, digest=digest, size=len(raw)),
        manifest=manifest,
        config=parse_config(store.read_bytes(manifest.config.digest)),
    )


def _draft(image: StoredImage, release: int, now: datetime) -> Metadata:
    layers = tuple(ReleaseLayer(diff_id=layer.diff_id, size=layer.size) for layer in image.layers)
    target = ReleaseTarget(
        platform=image.platform,
        manifest=image.manifest.digest,
        size=len(image.manifest.raw),
        release=release,
        layers=layers,
        memory=4 << 20,
    )
    return sign_draft(_PLANS, (target,), now)
