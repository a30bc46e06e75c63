"""Makes the locked layers of one platform: found again where they were made before, else written, in parallel.

A layer is looked for by the diff_id that the lock names, here and in other images, then by what it is made of; only
then are its inputs fetched. A layer that comes out with another diff_id than the lock's is an error, never another image.

What a lock cannot know before wheels are opened, the first build tells it (`Assembly.learned`): the diff_ids, to which
other wheels a layer left files that both bring, and which bytecode layers would hold nothing, so that there are none.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from wherry.assemble.layers import EMPTY_LAYER, LayerBlob, LayerCache
from wherry.assemble.packages import NO_CONDA, CondaSource
from wherry.assemble.wheels import Clash
from wherry.assemble.work import LayerWork, WorkInputs
from wherry.model.declaration import Compression
from wherry.model.digest import DiffId
from wherry.model.image import BuiltLayer
from wherry.model.lock import LayerKind, LockedLayer, PlatformLock
from wherry.store.disk import DiskStore


class Inputs(WorkInputs, Protocol):
    """Where the locked files come from; each call may fetch. All are asked for from several threads."""

    def find_layer(self, diff_id: DiffId) -> LayerBlob | None:
        """The layer out of an image that somebody built before; None where there is none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembly:
    """The layers in the lock's order, what the lock should say of them from now on, the files of two packages, and what
    else the author should know."""

    layers: tuple[BuiltLayer, ...]
    learned: tuple[LockedLayer, ...]
    clashes: tuple[Clash, ...]
    notes: tuple[str, ...] = ()


def assemble_layers(
    locked: PlatformLock,
    inputs: Inputs,
    store: DiskStore,
    cache: Path,
    compression: Compression,
    progress: Callable[[str, int, int], None],
    conda: CondaSource = NO_CONDA,
) -> Assembly:
    """Find or make every layer of the plan."""
    layer_cache = LayerCache(cache, store, compression)
    found = _find_all(locked.layers, layer_cache, inputs)
    with ExitStack() as stack:
        work = LayerWork(locked, inputs, conda, store, layer_cache, compression, stack, found)
        made = _make_all(sorted(work.missing, key=work.cost, reverse=True), work.make, f"{locked.platform}: layers", progress)
        learned = [work.tell(layer, made.get(layer.name)) for layer in locked.layers]
        clashes, notes = work.packages.clashes, (*work.notes, *work.packages.list_notes())
    blobs = {**found, **made}
    kept = [layer for layer, said in zip(learned, locked.layers, strict=True) if said.diff_id or not _is_empty(layer)]
    return Assembly(
        layers=tuple(_built(layer, blobs[layer.name]) for layer in kept), learned=tuple(kept), clashes=clashes, notes=notes
    )


def _is_empty(layer: LockedLayer) -> bool:
    """Whether a layer needs not be: wheels without a Python file have no bytecode."""
    return layer.kind is LayerKind.BYTECODE and layer.diff_id == EMPTY_LAYER


def _find_all(layers: Sequence[LockedLayer], cache: LayerCache, inputs: Inputs) -> dict[str, LayerBlob]:
    """The layers whose diff_id the lock names, as far as they are anywhere."""

    def find(layer: LockedLayer) -> LayerBlob | None:
        blob = inputs.find_layer(layer.diff_id) if layer.diff_id else None
        if blob is not None:
            cache.remember(cache.by_diff_id(blob.diff_id), blob)
        return blob

    found = {layer.name: blob for layer in layers if (blob := _find_by_diff_id(layer, cache))}
    rest = [layer for layer in layers if layer.name not in found and layer.diff_id]
    if rest:
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            found |= {layer.name: blob for layer, blob in zip(rest, pool.map(find, rest), strict=True) if blob}
    return found


def _make_all(
    missing: Sequence[LockedLayer], make: Callable[[LockedLayer], LayerBlob], title: str, progress: Callable[[str, int, int], None]
) -> dict[str, LayerBlob]:
    made: dict[str, LayerBlob] = {}
    if not missing:
        return made
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        waiting = {layer.name: pool.submit(make, layer) for layer in missing}
        try:
            for name, future in waiting.items():
                made[name] = future.result()
                progress(title, len(made), len(missing))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return made


def _find_by_diff_id(layer: LockedLayer, cache: LayerCache) -> LayerBlob | None:
    return cache.find(cache.by_diff_id(layer.diff_id)) if layer.diff_id else None


def _built(layer: LockedLayer, blob: LayerBlob) -> BuiltLayer:
    return BuiltLayer(
        name=layer.name,
        kind=layer.kind,
        diff_id=blob.diff_id,
        digest=blob.digest,
        size=blob.size,
        media_type=blob.media_type,
        members=layer.members,
    )
