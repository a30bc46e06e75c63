"""A release from images to a channel: which bases it is cut for, what it will move, and its way into the folder.

Order: bodies are cut, documents are signed, the record is kept, the metadata is put in place, parcels are replaced one by
one. So no number is ever given twice, wherever it stops: until the metadata is there, devices know nothing of it; from
then on a parcel leads to the former release or to the new one, each with all it needs. The same command again makes the
next number, and what devices took meanwhile is a base of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from wherry.deliver.body_cache import BodyCache
from wherry.deliver.channel import Channel, write_metadata
from wherry.deliver.metadata import read_release
from wherry.deliver.parcels import Base, CutParcel, LayerShelf, cut_full_parcel, cut_parcel, write_parcels
from wherry.deliver.records import NewRecord, RecordedImage, ReleaseRecord, ReleaseRecords
from wherry.deliver.release_images import FoundImages, ImageFinder
from wherry.errors import StoreError, UsageError
from wherry.model.digest import DiffId, Digest
from wherry.model.platform import Platform
from wherry.model.progress import Progress, be_silent
from wherry.model.release import Health, Metadata, ReleaseLayer, ReleaseTarget
from wherry.store.disk import DiskStore
from wherry.store.images import StoredImage

DEFAULT_BASES = ("last:5",)
_LAST = "last:"


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectedBases:
    """The bases by platform; `passed_over` says of which no parcel can be made, and why."""

    bases: dict[Platform, tuple[Base, ...]]
    passed_over: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CutRelease:
    """A release before it has a number and signatures. `cuts` hold temporary files: close it after use."""

    images: tuple[StoredImage, ...]
    source: str
    cuts: tuple[CutParcel, ...]

    def targets(self, release: int, health: Health | None) -> tuple[ReleaseTarget, ...]:
        """What is signed: one target a platform."""
        return tuple(self._target(image, release, health) for image in self.images)

    def _target(self, image: StoredImage, release: int, health: Health | None) -> ReleaseTarget:
        own = [cut for cut in self.cuts if cut.platform == image.platform]
        sizes: dict[DiffId, int] = {body.diff_id: body.size for cut in own for body in cut.bodies}
        return ReleaseTarget(
            platform=image.platform,
            manifest=image.manifest.digest,
            size=len(image.manifest.raw),
            release=release,
            layers=tuple(ReleaseLayer(diff_id=diff_id, size=sizes[diff_id]) for diff_id in image.config.diff_ids),
            health=health,
            memory=_round_up(max(cut.memory for cut in own)),
        )

    def close(self) -> None:
        for cut in self.cuts:
            cut.close()

    def __enter__(self) -> CutRelease:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _round_up(memory: int) -> int:
    """The next power of two, at least 4 MiB: a limit that is seldom another one costs seldom bytes."""
    return 1 << max(22, (memory - 1).bit_length())


def next_number(channel: Channel, records: ReleaseRecords) -> int:
    """The number of the next release: one that neither a record nor a signature has."""
    known = [record.release for record in records.read_all()[:1]]
    return max([*known, *(target.release for target in read_release(channel))], default=0) + 1


def select_bases(
    records: ReleaseRecords, finder: ImageFinder, texts: Sequence[str], targets: Sequence[StoredImage]
) -> SelectedBases:
    """``last:N`` are the newest releases, a number is one of them, anything else an image that devices have.

    A release whose layers are gone is passed over, unless it was named by its number: then it is a `StoreError`.
    """
    found: dict[Platform, dict[Digest, Base]] = {image.platform: {} for image in targets}
    passed_over = []
    for record, named in _select_records(records, texts):
        for target in targets:
            known = record.for_platform(target.platform)
            if known is None or known.manifest in found[target.platform] or known.manifest == target.manifest.digest:
                continue
            try:
                stored = finder.recall(records, record, known, beside=target)
            except StoreError as error:
                if named:
                    raise
                passed_over.append(f"{error.what}: its devices take the full parcel ({error.hint})")
                continue
            found[target.platform][known.manifest] = Base(name=f"release {record.release}", image=stored)
    released = {target.manifest.digest for target in targets}
    for text in texts:
        if not text.startswith(_LAST) and not text.isdecimal():
            for image in finder.find(text, list(found)).images:
                if image.manifest.digest not in released:
                    found[image.platform].setdefault(image.manifest.digest, Base(name=text, image=image))
    return SelectedBases(
        bases={platform: tuple(bases.values()) for platform, bases in found.items()}, passed_over=tuple(dict.fromkeys(passed_over))
    )


def _select_records(records: ReleaseRecords, texts: Sequence[str]) -> Iterator[tuple[ReleaseRecord, bool]]:
    """Records with whether they were named by their number."""
    known = records.read_all()
    for text in texts:
        if text.startswith(_LAST):
            if not text.removeprefix(_LAST).isdecimal():
                raise UsageError(f"not a number of releases: {text!r}", where="--from", hint="last:5")
            yield from ((record, False) for record in known[: int(text.removeprefix(_LAST))])
        elif text.isdecimal():
            chosen = [record for record in known if record.release == int(text)]
            if not chosen:
                have = ", ".join(str(record.release) for record in known[:10]) or "none"
                raise UsageError(f"the channel has no release {text}", where="--from", hint=f"it has {have}")
            yield chosen[0], True


def cut_release(
    channel: Path,
    store: DiskStore,
    found: FoundImages,
    bases: SelectedBases,
    cache: BodyCache | None = None,
    progress: Progress = be_silent,
) -> CutRelease:
    """Cut all bodies: the full parcel of each platform, one from the release to itself, one from each base."""
    with ExitStack() as made:
        cuts: list[CutParcel] = []
        for image in found.images:
            mine = bases.bases[image.platform]
            shelf = LayerShelf(store, [image, *(base.image for base in mine)])
            itself = Base(name="this release", image=image)
            for base in (itself, *mine):
                cuts.append(cut_parcel(shelf, image, base, cache, progress))
                made.callback(cuts[-1].close)
            cuts.append(cut_full_parcel(channel, shelf, image, cache, progress))
            made.callback(cuts[-1].close)
        made.pop_all()
    return CutRelease(images=found.images, source=found.source, cuts=tuple(cuts))


def describe_release(cut: CutRelease, release: int, metadata: Metadata, now: datetime) -> NewRecord:
    """What the channel will remember of it."""
    images = [RecordedImage(platform=image.platform, manifest=image.manifest.digest, source=cut.source) for image in cut.images]
    bases = [part.base.image for part in cut.cuts if part.base]
    documents = [raw for image in (*cut.images, *bases) for raw in (image.manifest.raw, image.config.raw)]
    return NewRecord(
        record=ReleaseRecord(release=release, root=len(metadata.roots), time=now, images=tuple(images)),
        targets=metadata.targets,
        documents=tuple(dict.fromkeys(documents)),
    )


def publish_release(channel: Path, store: DiskStore, cut: CutRelease, new: NewRecord, metadata: Metadata) -> None:
    """Put what is signed where devices look. Its images keep names in the store, so that later releases find their layers."""
    for image in cut.images:
        store.tag(name_in_store(channel, new.record.release, image.platform), replace(image.descriptor, platform=image.platform))
    records = ReleaseRecords(channel)
    records.add(new)
    write_metadata(channel, metadata)
    write_parcels(channel, records, cut.cuts, cut.images, metadata)


def name_in_store(channel: Path, release: int, platform: Platform) -> str:
    """What a released image is called in the store, so that pruning leaves its layers: ``released/vans-1f0c9ab2:7-linux-amd64``."""
    place = hashlib.sha256(str(channel.absolute()).encode()).hexdigest()[:8]
    plain = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in channel.absolute().name) or "channel"
    return f"released/{plain}-{place}:{release}-{str(platform).replace('/', '-')}"
