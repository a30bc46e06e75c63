"""An operator's order to release an image, carried out from its name to the channel's files; or weighed, and nothing done.

One writer at a time holds the channel. What is too large is refused before anything is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from wherry.deliver.body_cache import BodyCache
from wherry.deliver.channel import hold_channel, read_channel
from wherry.deliver.keys import Keys
from wherry.deliver.metadata import sign_release
from wherry.deliver.records import ReleaseRecords
from wherry.deliver.release import (
    DEFAULT_BASES,
    CutRelease,
    cut_release,
    describe_release,
    next_number,
    publish_release,
    select_bases,
)
from wherry.deliver.release_costs import ReleaseCosts, draft_metadata, measure_release, refuse_larger
from wherry.deliver.release_images import ImageFinder
from wherry.model.platform import Platform
from wherry.model.progress import Progress, be_silent
from wherry.model.release import Health
from wherry.sources.registries import RegistryAccess
from wherry.store.disk import DiskStore

_KEPT = timedelta(days=30)  # bodies that were cut, for another release


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseOrder:
    """`image` is a name of the store, a registry reference or an archive; `bases` as `select_bases` reads them.

    An update larger than `most` bytes is a `BudgetError`.
    """

    image: str
    platforms: tuple[Platform, ...] = ()
    bases: tuple[str, ...] = DEFAULT_BASES
    health: Health | None = None
    most: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderResult:
    """`passed_over` says from which releases there is no parcel, and why."""

    release: int
    costs: ReleaseCosts
    passed_over: tuple[str, ...]


def carry_out_release(
    order: ReleaseOrder,
    channel: Path,
    store: DiskStore,
    access: RegistryAccess,
    keys: Keys | None,
    now: datetime,
    progress: Progress = be_silent,
) -> OrderResult:
    """Release an image; without keys, find out what that would move. What was cut is kept in `access.cache`."""
    read_channel(channel, keys.read_pinned_root() if keys else None)
    if keys:
        keys.refuse_inside(channel)
    with hold_channel(channel), store.in_use():
        finder, records = ImageFinder(store, access, progress), ReleaseRecords(channel)
        found = finder.find(order.image, order.platforms)
        selected = select_bases(records, finder, order.bases, found.images)
        cache = BodyCache(access.cache / "bodies") if access.cache else None
        with cut_release(channel, store, found, selected, cache, progress) as cut:
            number = next_number(read_channel(channel), records)
            costs = _finish(order, channel, store, cut, number, keys, now, selected.passed_over)
        if cache:
            cache.forget((now - _KEPT).timestamp())
    return OrderResult(release=number, costs=costs, passed_over=selected.passed_over)


def _finish(
    order: ReleaseOrder,
    channel: Path,
    store: DiskStore,
    cut: CutRelease,
    number: int,
    keys: Keys | None,
    now: datetime,
    passed_over: Sequence[str],
) -> ReleaseCosts:
    targets = cut.targets(number, order.health)
    signed = sign_release(channel, targets, keys, now) if keys else None
    metadata = signed or draft_metadata(read_channel(channel), targets, now)
    new = describe_release(cut, number, metadata, now)
    costs = measure_release(channel, cut, new, metadata)
    if order.most is not None:
        refuse_larger(costs, order.most, passed_over)
    if signed:
        publish_release(channel, store, cut, new, signed)
    return costs
