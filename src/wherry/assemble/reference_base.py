"""What of a base given by reference goes into an image: its own layers as they are, its history and environment.

No layer is fetched for that: a build names them by digest, and whoever needs their bytes (a run, a push to a registry
that lacks them, bytecode) fetches them then.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from wherry.assemble.bytecode import HostInterpreter, find_interpreter
from wherry.assemble.recipe import PlatformRecipe
from wherry.engines.port import EngineImage
from wherry.engines.roots import RootCache
from wherry.errors import FormatError
from wherry.model.digest import DiffId, Digest
from wherry.model.image import BuiltLayer
from wherry.model.lock import LayerKind, LockedInterpreter
from wherry.model.oci import DOCKER_LAYER, LAYER_GZIP, ImageConfig, Manifest
from wherry.model.platform import Platform
from wherry.store.archive import read_layer
from wherry.store.disk import DiskStore
from wherry.store.images import layers_of


def foreign_layers(manifest: Manifest, config: ImageConfig) -> tuple[BuiltLayer, ...]:
    """The base's layers. Docker's media type becomes OCI's of the same bytes."""
    if len(manifest.layers) != len(config.diff_ids):
        raise FormatError(f"{len(manifest.layers)} layers, {len(config.diff_ids)} diff_ids", where="base")
    return tuple(
        BuiltLayer(
            name=layer.name,
            kind=LayerKind.FOREIGN,
            diff_id=layer.diff_id,
            digest=layer.digest,
            size=layer.size,
            media_type=LAYER_GZIP if layer.media_type == DOCKER_LAYER else layer.media_type,
            members=layer.members,
        )
        for layer in layers_of(manifest, config)
    )


def extend_base(platform: Platform, manifest: Manifest, config: ImageConfig, own: tuple[BuiltLayer, ...]) -> PlatformRecipe:
    """The recipe of an image over this base."""
    return PlatformRecipe(
        platform=platform,
        layers=(*foreign_layers(manifest, config), *own),
        base_history=config.history,
        base_env=config.env,
        base_digest=str(manifest.digest),
    )


def unpack_base_interpreter(
    interpreter: LockedInterpreter,
    manifest: Manifest,
    config: ImageConfig,
    store: DiskStore,
    cache: Path,
    fetch: Callable[[Manifest], None],
) -> HostInterpreter:
    """The base's Python, made to run on this host; `fetch` brings the base's layers into the store."""
    roots = RootCache(cache / "bases")
    image = EngineImage(config=config)
    if not roots.has(image):
        fetch(manifest)
        blobs: dict[DiffId, Digest] = {
            diff_id: layer.digest for diff_id, layer in zip(config.diff_ids, manifest.layers, strict=True)
        }
        roots.load_layers(image, lambda diff_id: read_layer(store, blobs[diff_id], diff_id))
    return find_interpreter(roots.root_of(image), interpreter.path, interpreter.version)
