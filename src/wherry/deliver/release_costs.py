"""What a release will move to each device, and what for: measured on its parcels before they are published.

Parcels are exact but for their signatures, which a draft makes with keys of the moment (ten bytes or so). What passes the
socket and what a carrier counts is estimated (`wire`), and so is a registry pull of the same change.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from wherry.deliver.channel import Channel, write_roots
from wherry.deliver.difference import Difference, diff_images
from wherry.deliver.keys import Keys
from wherry.deliver.metadata import RolePlan, plan_role, sign_first_root, sign_release
from wherry.deliver.parcels import CutParcel, stream_cut
from wherry.deliver.records import NewRecord, ReleaseRecords
from wherry.deliver.release import CutRelease
from wherry.deliver.wire import Pull, Update, plan_update
from wherry.errors import BudgetError
from wherry.formats.delta import Form
from wherry.model.image import BuiltImage
from wherry.model.platform import Platform
from wherry.model.release import Metadata, ReleaseTarget
from wherry.store.images import StoredImage


@dataclass(frozen=True, slots=True, kw_only=True)
class MovedPart:
    """What of a parcel a layer takes. `whole` when it is not a delta, but the layer itself."""

    cause: str
    size: int
    whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ParcelCost:
    """One parcel. `pull` is what a registry pull of the same change moves, `single_layer` that of an image with one layer."""

    platform: Platform
    base: str
    parts: tuple[MovedPart, ...]
    update: Update
    pull: Pull
    single_layer: Pull

    @property
    def size(self) -> int:
        return self.update.parcel

    @property
    def documents(self) -> int:
        return self.size - sum(part.size for part in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseCosts:
    """`updates` are the parcels from bases; `polls` those from the release to itself, `full` those for who has nothing."""

    updates: tuple[ParcelCost, ...]
    polls: tuple[ParcelCost, ...]
    full: tuple[ParcelCost, ...]


def draft_metadata(channel: Channel, targets: Sequence[ReleaseTarget], now: datetime) -> Metadata:
    """Metadata as long as the channel's keys would make it."""
    plans = {role: plan_role(channel.root, role) for role in channel.root.roles}
    return replace(sign_draft(plans, targets, now), roots=tuple(root.raw for root in channel.roots))


def sign_draft(plans: Mapping[str, RolePlan], targets: Sequence[ReleaseTarget], now: datetime) -> Metadata:
    """Metadata by as many keys as have to sign, which are gone when this returns."""
    with tempfile.TemporaryDirectory(prefix="wherry-") as scratch:
        folder, keys = Path(scratch, "channel"), Keys([Path(scratch, "keys")], lambda _path: "")
        signing = {role: replace(plan, count=plan.threshold) for role, plan in plans.items()}
        write_roots(folder, (sign_first_root(signing, keys, {}, now),))
        return sign_release(folder, targets, keys, now)


def measure_release(folder: Path, cut: CutRelease, new: NewRecord, metadata: Metadata) -> ReleaseCosts:
    """The cost of each parcel of a release that is signed, and not published yet."""
    records = ReleaseRecords(folder, new)
    image_of = {image.platform: image for image in cut.images}
    updates, polls, full = list[ParcelCost](), list[ParcelCost](), list[ParcelCost]()
    for part in cut.cuts:
        image = image_of[part.platform]
        size = sum(map(len, stream_cut(records, part, image, metadata)))
        kind = full if part.base is None else polls if part.base.manifest == image.manifest.digest else updates
        kind.append(describe_cost(part, image, size))
    return ReleaseCosts(updates=tuple(updates), polls=tuple(polls), full=tuple(full))


def refuse_larger(costs: ReleaseCosts, most: int, passed_over: Sequence[str]) -> None:
    """A parcel from a base that is larger than allowed is a `BudgetError` that says what makes it so large.

    So is a base that there is no parcel from: its devices would take the full one.
    """
    largest_full = max((cost.size for cost in costs.full), default=0)
    if passed_over and largest_full > most:
        raise BudgetError(
            f"{most:,} bytes are allowed, the full parcel has {largest_full:,}: {passed_over[0]}",
            where="--max-update",
            hint="wherry image load, or pull, that image; or --from without it, if no device has it any more",
        )
    for cost in costs.updates:
        if cost.size > most:
            largest = max(cost.parts, key=lambda part: part.size, default=None)
            because = f"; {largest.size:,} of them are {largest.cause}" if largest else ""
            raise BudgetError(
                f"the update from {cost.base} has {cost.size:,} bytes, {most:,} are allowed{because}",
                where=f"{cost.platform}: --max-update",
                hint="wherry release --dry-run shows what brings the bytes; a larger --max-update allows them",
            )


def describe_cost(cut: CutParcel, image: StoredImage, size: int) -> ParcelCost:
    """A parcel of `size` bytes by what brought them, next to registry pulls."""
    base = cut.base.image if cut.base else None
    difference = _diff(base, image)
    cause_of = {name: cause.text for cause in difference.causes for name in cause.layers}
    layer_of = {layer.diff_id: layer for layer in image.layers}
    parts = []
    for body in cut.bodies:
        layer = layer_of[body.diff_id]
        parts.append(MovedPart(cause=cause_of.get(layer.name, layer.cause), size=body.body.size, whole=body.form is Form.FULL))
    return ParcelCost(
        platform=cut.platform,
        base=cut.base.name if cut.base else "nothing",
        parts=tuple(sorted(parts, key=lambda part: -part.size)),
        update=plan_update(size),
        pull=difference.pull,
        single_layer=difference.single_layer,
    )


def _diff(base: StoredImage | None, target: StoredImage) -> Difference:
    built = _built(target)
    nothing = replace(built, manifest=built.config, layers=())
    return diff_images(_built(base) if base else nothing, built, config_size=target.manifest.config.size)


def _built(image: StoredImage) -> BuiltImage:
    return BuiltImage(
        platform=image.platform,
        manifest=image.manifest.digest,
        manifest_size=len(image.manifest.raw),
        config=image.config.digest,
        layers=image.layers,
    )
