"""The images that a rebase works with: found wherever they lie, brought into the store, and read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wherry.assemble.rebase import AddedLayer
from wherry.assemble.rebase_layers import OpenLayer, concerns
from wherry.check.contents import LayerContents
from wherry.check.facts import Facts
from wherry.check.images import describe_stored, read_digests, read_facts
from wherry.check.scan import scan_layer
from wherry.deliver.release_images import FoundImages, ImageFinder
from wherry.errors import StoreError, UsageError, WherryError
from wherry.formats.oci_json import parse_any_manifest, parse_config
from wherry.model.digest import Digest
from wherry.model.oci import BASE_DIGEST, BASE_NAME, Descriptor, ImageConfig, Manifest
from wherry.model.platform import Platform
from wherry.model.progress import Progress, be_silent
from wherry.model.reference import Reference
from wherry.sources.images import BaseImages
from wherry.sources.registries import RegistryAccess
from wherry.store.archive import read_layer
from wherry.store.disk import DiskStore
from wherry.store.images import StoredImage, pick_image
from wherry.store.layout_folder import is_layout, load_layout
from wherry.store.loading import load_archive


class RebaseImages:
    """Finds and reads images. Facts of layers are kept in the cache, so that most layers are read once."""

    def __init__(self, store: DiskStore, cache: Path, access: RegistryAccess, progress: Progress = be_silent) -> None:
        self._store, self._cache, self._access, self._progress = store, cache, access, progress
        self._finder = ImageFinder(store, access, progress)

    def find(self, text: str, platforms: Sequence[Platform]) -> FoundImages:
        """An image by its name; or out of an archive or a layout, which leave no names in the store."""
        path, before = Path(text), self._store.names()
        if before.keys() & {text, f"{text}:latest"} or not (path.is_file() or is_layout(path)):
            return self._finder.find(text, platforms)
        loaded = self._load(path)
        try:
            digests = {self._store.resolve(name).digest for name in loaded}
            if len(digests) != 1:
                raise UsageError(
                    f"{len(digests)} images in it: {', '.join(loaded)}", where=text, hint="wherry image load, then NAME"
                )
            return self._finder.find(str(digests.pop()), platforms)
        finally:
            for name in loaded:
                if name in before:
                    self._store.tag(name, before[name])
                else:
                    self._store.untag(name)

    def find_annotated_base(self, image: StoredImage) -> ImageConfig | None:
        """The config of the base that the image's manifest names, if it can still be had."""
        name, digest = (image.manifest.annotations.get(key, "") for key in (BASE_NAME, BASE_DIGEST))
        if not digest:
            return None
        try:
            wanted = Digest.parse(digest)
            if self._store.has(wanted):
                document = parse_any_manifest(self._store.read_bytes(wanted))
                size = len(document.raw)
                descriptor = Descriptor(media_type=document.media_type, digest=wanted, size=size)
                if isinstance(document, Manifest):
                    return parse_config(self._store.read_bytes(document.config.digest))
                return pick_image(self._store, descriptor, image.platform).config
            origin = Reference.parse(name)
            pinned = Reference(origin.registry, origin.repository, origin.tag, wanted)
            return BaseImages(self._access).pin_base(pinned, image.platform).config
        except WherryError:
            return None  # gone, or out of reach: there are other ways to tell

    def facts(self, image: StoredImage) -> list[Facts]:
        return read_facts(describe_stored(self._store, image, "").layers, self._cache, self._progress)

    def digests(self, image: StoredImage) -> Sequence[LayerContents]:
        return read_digests(describe_stored(self._store, image, "").layers, self._cache, self._progress)

    def facts_of_added(self, layer: AddedLayer) -> Facts:
        return scan_layer(read_layer(self._store, layer.descriptor.digest, layer.diff_id), f"layer {layer.diff_id}")

    def open_concerned(self, image: StoredImage, taken: Sequence[str]) -> list[OpenLayer]:
        """Of the layers those that say something about the paths: most have not to be read."""
        sources = describe_stored(self._store, image, "").layers
        pairs = zip(sources, self.facts(image), strict=True)
        return [source.open for source, facts in pairs if any(concerns(entry.path, taken) for entry in facts.entries)]

    def _load(self, path: Path) -> tuple[str, ...]:
        if is_layout(path):
            return load_layout(self._store, path)
        try:
            with path.open("rb") as file:
                return load_archive(self._store, file, where=str(path))
        except OSError as error:
            raise StoreError(f"cannot be read: {error.strerror}", where=str(path)) from error
