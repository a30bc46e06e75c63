"""Finds the images of a release, and those that devices have: in the store, in a registry, in an archive of any builder.

A name with a registry's host is asked for there, so that an old copy is never released; another name is the store's. What
is found lies in the store when this is done, with all its layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wherry.deliver.parcels import LayerShelf
from wherry.deliver.records import RecordedImage, ReleaseRecord, ReleaseRecords
from wherry.errors import StoreError, TransferError, TrustError, UsageError, WherryError
from wherry.formats.oci_json import parse_config, parse_manifest
from wherry.model.digest import DiffId
from wherry.model.oci import Descriptor
from wherry.model.platform import Platform
from wherry.model.progress import Progress, be_silent
from wherry.model.reference import HUB, Reference
from wherry.sources.images import BaseImages, complete_image, fetch_image
from wherry.sources.registries import RegistryAccess
from wherry.store.disk import DiskStore
from wherry.store.images import StoredImage, read_images
from wherry.store.loading import load_archive


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundImages:
    """`source` is the registry and repository that has the layers too; empty where none is known."""

    images: tuple[StoredImage, ...]
    source: str = ""


class ImageFinder:
    """Brings images into a store. `access` is how this machine reaches registries."""

    def __init__(self, store: DiskStore, access: RegistryAccess, progress: Progress = be_silent) -> None:
        self._store, self._access, self._progress = store, access, progress

    def find(self, text: str, platforms: Sequence[Platform] = ()) -> FoundImages:
        """All platforms that there are, or those asked for. One that is missing is a `StoreError`."""
        descriptor, source = self._resolve(text, platforms)
        images = read_images(self._store, descriptor)
        chosen = tuple(image for image in images if not platforms or image.platform in platforms)
        missing = set(platforms) - {image.platform for image in chosen}
        if missing or not chosen:
            have = ", ".join(str(image.platform) for image in images) or "nothing"
            raise StoreError(f"no image for {', '.join(map(str, sorted(missing))) or 'any platform'}: it has {have}", where=text)
        for image in chosen:
            complete_image(self._access, self._store, image.manifest, self._progress)
        return FoundImages(images=chosen, source=source)

    def _resolve(self, text: str, platforms: Sequence[Platform]) -> tuple[Descriptor, str]:
        if Path(text).is_file() and not self._knows(text):
            return self._load(Path(text)), ""
        if not _names_registry(text):
            return self._store.resolve(text), ""
        reference = Reference.parse(text)
        descriptor = fetch_image(self._access, self._store, reference, platforms or None, self._progress)
        return descriptor, reference.name

    def _knows(self, text: str) -> bool:
        """Whether the store has an image of this name; it comes before a file that happens to be called so."""
        return "/" not in text and bool({text, f"{text}:latest"} & self._store.names().keys())

    def _load(self, path: Path) -> Descriptor:
        with path.open("rb") as file:
            names = load_archive(self._store, file, where=path.name)
        found = {descriptor.digest: descriptor for descriptor in map(self._store.resolve, names)}
        if len(found) != 1:
            raise UsageError(f"{len(found)} images in it: {', '.join(names)}", where=path.name, hint="wherry image load, then NAME")
        return next(iter(found.values()))

    # -- what a channel released

    def recall(self, records: ReleaseRecords, record: ReleaseRecord, image: RecordedImage, *, beside: StoredImage) -> StoredImage:
        """An image that was released, with its layers; those that it shares with `beside` are here. Others that are gone from
        everywhere are a `StoreError`."""
        raw = records.read_document(image.manifest)
        manifest = parse_manifest(raw, where=f"release {record.release}")
        stored = StoredImage(
            descriptor=Descriptor(media_type=manifest.media_type, digest=manifest.digest, size=len(raw)),
            manifest=manifest,
            config=parse_config(records.read_document(manifest.config.digest)),
        )
        gone = self._bring_layers(stored, image.source, beside)
        if gone:
            raise StoreError(
                f"{len(gone)} of {len(stored.config.diff_ids)} layers of release {record.release} are gone from this machine",
                where=f"{image.platform}: {image.manifest}",
                hint="wherry image load, or pull, the image again; until then its devices take the full parcel",
            )
        return stored

    def _bring_layers(self, image: StoredImage, source: str, beside: StoredImage) -> tuple[DiffId, ...]:
        """What could not be brought."""
        gone = LayerShelf(self._store, [image, beside]).find_gone(image)
        if gone and source:
            reference, bases = Reference.parse(source), BaseImages(self._access)
            for layer in image.manifest.layers:
                try:
                    bases.fetch_layer(reference, layer, self._store, self._progress)
                except (TransferError, StoreError, TrustError):
                    break
        elif gone:
            try:
                complete_image(self._access, self._store, image.manifest, self._progress)
            except WherryError:
                return gone
        return LayerShelf(self._store, [image, beside]).find_gone(image) if gone else ()


def _names_registry(text: str) -> bool:
    host, slash, _ = text.partition("/")
    return bool(slash) and host not in ("", ".", "..") and ("." in host or ":" in host or host in ("localhost", HUB))
