"""What of a base given by reference goes into an image: its own layers as they are, its history and environment.

No layer is fetched for that: a build names them by digest, and whoever needs their bytes (a run, a push to a registry
that lacks them, bytecode) fetches them then.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from wherry.assemble.bytecode import HostInterpreter, find_interpreter
from wherry.assemble.debian import debian_entries
from wherry.assemble.recipe import PlatformRecipe
from wherry.assemble.spool import Spool
from wherry.engines.unpack import lay_over, unpack_layer
from wherry.errors import FormatError
from wherry.formats.tar import stream_tar
from wherry.model.image import BuiltLayer
from wherry.model.lock import LayerKind, LockedDeb, LockedInterpreter
from wherry.model.oci import DOCKER_LAYER, LAYER_GZIP, History, ImageConfig, Manifest
from wherry.model.platform import Platform
from wherry.store.archive import read_layer
from wherry.store.disk import DiskStore
from wherry.store.folders import rename_unless_there
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
        base_history=_whole_history(config),
        base_env=config.env,
        base_digest=str(manifest.digest),
    )


def _whole_history(config: ImageConfig) -> tuple[History, ...]:
    """History is optional; one that does not fit the layers would shift what ours says of ours."""
    told = [entry for entry in config.history if not entry.empty_layer]
    if len(told) == len(config.diff_ids):
        return config.history
    return tuple(History(created_by="layer of the base") for _ in config.diff_ids)


def unpack_base_interpreter(
    interpreter: LockedInterpreter,
    manifest: Manifest,
    config: ImageConfig,
    debs: Sequence[LockedDeb],
    store: DiskStore,
    cache: Path,
    fetch: Callable[[Manifest], None],
    fetch_debs: Callable[[], Sequence[tuple[LockedDeb, Path]]],
) -> HostInterpreter:
    """The Python of a base and of the packages over it, made to run on this host.

    `fetch` brings the base's layers into the store, `fetch_debs` the packages.
    """
    root = unpack_base_root(manifest, config, debs, store, cache, fetch, fetch_debs)
    return find_interpreter(root, interpreter.path, interpreter.version)


def unpack_base_root(
    manifest: Manifest,
    config: ImageConfig,
    debs: Sequence[LockedDeb],
    store: DiskStore,
    cache: Path,
    fetch: Callable[[Manifest], None],
    fetch_debs: Callable[[], Sequence[tuple[LockedDeb, Path]]],
) -> Path:
    """The part of a base and of the packages over it that programs of Python need, as a root to run them in."""
    name = "\n".join((config.digest.hex, *sorted(deb.sha256.hex for deb in debs)))
    root = cache / "interpreters" / hashlib.sha256(name.encode()).hexdigest()
    if not root.is_dir():
        fetch(manifest)
        _unpack(manifest, config, fetch_debs() if debs else (), store, root)
    return root


def _unpack(manifest: Manifest, config: ImageConfig, debs: Sequence[tuple[LockedDeb, Path]], store: DiskStore, root: Path) -> None:
    """The part of the base that its Python needs to run, whole or not at all."""
    making = root.with_name(f"{root.name}.{os.getpid()}-{os.urandom(4).hex()}")
    try:
        (making / "root").mkdir(parents=True)
        for number, (layer, diff_id) in enumerate(zip(manifest.layers, config.diff_ids, strict=True)):
            folder = making / str(number)
            folder.mkdir()
            unpack_layer(read_layer(store, layer.digest, diff_id), folder, f"base: layer {diff_id}", _is_wanted)
            lay_over(folder, making / "root")
        if debs:
            _lay_packages(debs, making)
        rename_unless_there(making / "root", root)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _lay_packages(debs: Sequence[tuple[LockedDeb, Path]], making: Path) -> None:
    (making / "packages").mkdir()
    with Spool(making) as spool:
        parts = [debian_entries(debs, part, spool, over_base=True) for part in (LayerKind.BASE, LayerKind.INTERPRETER)]
        entries = {entry.path: entry for part in parts for entry in part}
        unpack_layer(stream_tar(entries.values()), making / "packages", "packages over the base", _is_wanted)
    lay_over(making / "packages", making / "root")


def _is_wanted(path: str) -> bool:
    """Interpreters, their libraries, what loads them, and whiteouts."""
    return bool(_WANTED.search(path)) and "/site-packages/" not in path
