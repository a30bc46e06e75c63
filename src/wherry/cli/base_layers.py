"""Brings the layers of an image's base, which a build names without fetching them, where a command needs their bytes."""

from __future__ import annotations

import os
from collections.abc import Iterable

from wherry.cli.talk import say, show_progress
from wherry.store.disk import DiskStore
from wherry.store.images import StoredImage, find_missing
from wherry.store.places import cache_path


def bring_base_layers(store: DiskStore, images: Iterable[StoredImage]) -> None:
    """Fetch what is not here of the images' bases from the registry that they came from."""
    lacking = [image for image in images if find_missing(store, image.manifest)]
    if not lacking:
        return
    # Lazily: most images are whole, and then no connection is needed.
    from wherry.sources.images import complete_image
    from wherry.sources.registries import access_registries

    say("fetching the layers of the base")
    access = access_registries(os.environ, cache=cache_path(os.environ))
    try:
        with show_progress() as progress:
            for image in lacking:
                complete_image(access, store, image.manifest, progress)
    finally:
        access.close()
