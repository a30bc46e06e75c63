"""Looks for locked layers in images that exist already: those of the store, then those that `layers-from` names.

So a layer whose wheel has vanished from every index, or whose bytecode this host cannot make, is still built into an
image (docs/spec/layers.md, "A layer found elsewhere"). A layer is believed only when its bytes unpack to the diff_id
that the lock names; an image that lies, or that cannot be reached, is passed over. Wrong bytes from a registry are not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from wherry.assemble.layers import LayerBlob, keep_layer
from wherry.errors import FormatError, StoreError, TrustError, WherryError
from wherry.formats.decompress import codec_of
from wherry.model.declaration import Compression
from wherry.model.digest import DiffId
from wherry.model.oci import Descriptor
from wherry.model.platform import Platform
from wherry.model.progress import Progress
from wherry.model.reference import Reference
from wherry.sources.images import BaseImages, PinnedBase
from wherry.sources.registries import RegistryAccess, access_registries
from wherry.store.archive import read_layer
from wherry.store.disk import DiskStore
from wherry.store.images import find_missing, read_images

FindLayer = Callable[[DiffId, Platform], LayerBlob | None]


class LayerSearch:
    """Use it as a context manager: connections close at its end. `find` may be called from several threads."""

    def __init__(
        self,
        store: DiskStore,
        references: Sequence[str],
        compression: Compression,
        env: Mapping[str, str],
        cache: Path,
        progress: Progress,
        say: Callable[[str], None],
    ) -> None:
        self._store = store
        self._references = tuple(Reference.parse(text) for text in references)
        self._compression = compression
        self._env = env
        self._cache = cache
        self._progress = progress
        self._say = say
        self._turn = threading.Lock()
        self._stored: dict[DiffId, Descriptor] | None = None
        self._access: RegistryAccess | None = None
        self._pinned: dict[tuple[Reference, Platform], PinnedBase | None] = {}

    def __enter__(self) -> LayerSearch:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._access is not None:
            self._access.close()

    def find(self, diff_id: DiffId, platform: Platform) -> LayerBlob | None:
        """The layer, in the compression that is wanted, in the store; None when no image has it."""
        with self._turn:
            if self._stored is None:
                self._stored = dict(_list_layers(self._store))
        if diff_id in self._stored and (blob := self._adopt(self._stored[diff_id], diff_id)):
            return blob
        for reference in self._references:
            blob = self._bring(reference, diff_id, platform)
            if blob is not None:
                return blob
        return None

    def _adopt(self, layer: Descriptor, diff_id: DiffId) -> LayerBlob | None:
        """Read the layer once: it is taken as it is, or compressed anew where it is compressed in another way."""
        try:
            with self._store.open(layer.digest) as file:
                codec = codec_of(file.read(8))
            same = codec == self._compression.value
            return keep_layer(
                read_layer(self._store, layer.digest, diff_id), diff_id, self._store, self._compression, layer if same else None
            )
        except (FormatError, StoreError, TrustError):
            return None  # not what its image says: nothing is lost, the layer is looked for elsewhere or made

    def _bring(self, reference: Reference, diff_id: DiffId, platform: Platform) -> LayerBlob | None:
        pinned = self._pin(reference, platform)
        if pinned is None or diff_id not in pinned.config.diff_ids:
            return None
        layer = pinned.manifest.layers[pinned.config.diff_ids.index(diff_id)]
        try:
            self._images().fetch_layer(reference, layer, self._store, self._progress)
        except TrustError:
            raise
        except WherryError as error:
            self._say(f"layers-from: {error.what} ({reference})")
            return None
        return self._adopt(layer, diff_id)

    def _pin(self, reference: Reference, platform: Platform) -> PinnedBase | None:
        with self._turn:
            key = (reference, platform)
            if key not in self._pinned:
                try:
                    self._pinned[key] = self._images().pin_base(reference, platform)
                except TrustError:
                    raise
                except WherryError as error:
                    self._say(f"layers-from: {error.what} ({reference})")
                    self._pinned[key] = None
            return self._pinned[key]

    def _images(self) -> BaseImages:
        if self._access is None:
            self._access = access_registries(self._env, cache=self._cache)
        return BaseImages(self._access)


def _list_layers(store: DiskStore) -> Iterator[tuple[DiffId, Descriptor]]:
    """What the images in the store say of the layers that are here."""
    for root in store.roots():
        try:
            images = read_images(store, root)
            for image in images:
                missing = {part.digest for part in find_missing(store, image.manifest)}
                pairs = zip(image.config.diff_ids, image.manifest.layers, strict=False)
                yield from ((diff_id, layer) for diff_id, layer in pairs if layer.digest not in missing)
        except WherryError:
            continue  # a damaged image is no place to look in
