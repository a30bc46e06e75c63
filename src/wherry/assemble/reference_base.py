"""What of a base given by reference goes into an image: its own layers as they are, its history and environment.

No layer is fetched for that: a build names them by digest, and whoever needs their bytes (a run, a push to a registry
that lacks them, bytecode) fetches them then.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from wherry.assemble.bytecode import HostInterpreter, find_interpreter
from wherry.assemble.interpreter import rename_unless_there
from wherry.assemble.recipe import PlatformRecipe
from wherry.engines.unpack import lay_over, unpack_layer
from wherry.errors import FormatError
from wherry.model.image import BuiltLayer
from wherry.model.lock import LayerKind, LockedInterpreter
from wherry.model.oci import DOCKER_LAYER, LAYER_GZIP, ImageConfig, Manifest
from wherry.model.platform import Platform
from wherry.store.archive import read_layer
from wherry.store.disk import DiskStore
from wherry.store.images import layers_of

_WANTED = re.compile(r"/python3|\.so(?:\.|$)|(?:^|/)ld-[^/]*$|(?:^|/)\.wh\.")


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
    root = cache / "interpreters" / config.digest.hex
    if not root.is_dir():
        fetch(manifest)
        _unpack(manifest, config, store, root)
    return find_interpreter(root, interpreter.path, interpreter.version)


def _unpack(manifest: Manifest, config: ImageConfig, store: DiskStore, root: Path) -> None:
    """The part of the base that its Python needs to run, whole or not at all."""
    making = root.with_name(f"{root.name}.{os.getpid()}-{os.urandom(4).hex()}")
    try:
        (making / "root").mkdir(parents=True)
        for number, (layer, diff_id) in enumerate(zip(manifest.layers, config.diff_ids, strict=True)):
            folder = making / str(number)
            folder.mkdir()
            unpack_layer(read_layer(store, layer.digest, diff_id), folder, f"base: layer {diff_id}", _is_wanted)
            lay_over(folder, making / "root")
        rename_unless_there(making / "root", root)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _is_wanted(path: str) -> bool:
    """Interpreters, their libraries, what loads them, and whiteouts."""
    return bool(_WANTED.search(path)) and "/site-packages/" not in path
