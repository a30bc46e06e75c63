"""Makes the locked layers of one platform: found again where they were made before, else written, in parallel.

A layer is looked for by the diff_id that the lock names, here and in other images, then by what it is made of; only
then are its inputs fetched. A layer that comes out with another diff_id than the lock's is an error, never another image.

What a lock cannot know before wheels are opened, the first build tells it (`Assembly.learned`): the diff_ids, to which
other wheels a layer left files that both bring, and which bytecode layers would hold nothing, so that there are none.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from wherry.assemble.bytecode import HostInterpreter, compile_sources
from wherry.assemble.debian import debian_entries
from wherry.assemble.layers import EMPTY_LAYER, LayerBlob, LayerCache, write_layer
from wherry.assemble.skeleton import skeleton_entries
from wherry.assemble.spool import Spool
from wherry.assemble.wheels import Clash, PlannedWheels, is_test, plan_wheels
from wherry.errors import LockError, TrustError
from wherry.formats.tar import EntryKind, TarEntry, add_parents
from wherry.model.declaration import Compression
from wherry.model.digest import DiffId
from wherry.model.image import BuiltLayer
from wherry.model.layout import environment_layout
from wherry.model.lock import LayerKind, LockedDeb, LockedLayer, LockedWheel, PlatformLock
from wherry.store.disk import DiskStore

_OF_WHEELS = (LayerKind.WHEEL, LayerKind.WHEELS, LayerKind.BYTECODE)
_FIRST = 1 << 40  # more than any layer's size


class Inputs(Protocol):
    """Where the locked files come from; each call may fetch. All are asked for from several threads."""

    def find_layer(self, diff_id: DiffId) -> LayerBlob | None:
        """The layer out of an image that somebody built before; None where there is none."""
        ...

    def wheels(self, wheels: Sequence[LockedWheel]) -> Mapping[str, Path]:
        """The wheels' files by name. One that is nowhere is a `LockError`."""
        ...

    def debs(self, debs: Sequence[LockedDeb]) -> Sequence[tuple[LockedDeb, Path]]: ...

    def interpreter(self) -> HostInterpreter:
        """The image's interpreter, runnable on this host."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembly:
    """The layers in the lock's order, what the lock should say of them from now on, and the files of two wheels."""

    layers: tuple[BuiltLayer, ...]
    learned: tuple[LockedLayer, ...]
    clashes: tuple[Clash, ...]


def assemble_layers(
    locked: PlatformLock,
    inputs: Inputs,
    store: DiskStore,
    cache: Path,
    compression: Compression,
    progress: Callable[[str, int, int], None],
) -> Assembly:
    """Find or make every layer of the plan."""
    layer_cache = LayerCache(cache, store, compression)
    found = _find_all(locked.layers, layer_cache, inputs)
    with ExitStack() as stack:
        work = _Work(locked, inputs, store, layer_cache, compression, stack, found)
        made = _make_all(sorted(work.missing, key=work.cost, reverse=True), work.make, f"{locked.platform}: layers", progress)
        learned = [work.tell(layer, made.get(layer.name)) for layer in locked.layers]
        clashes = work.clashes
    blobs = {**found, **made}
    kept = [layer for layer, said in zip(learned, locked.layers, strict=True) if said.diff_id or not _is_empty(layer)]
    return Assembly(layers=tuple(_built(layer, blobs[layer.name]) for layer in kept), learned=tuple(kept), clashes=clashes)


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


class _Work:
    """What making one platform's layers shares: the opened wheels and the fetched packages."""

    def __init__(
        self,
        locked: PlatformLock,
        inputs: Inputs,
        store: DiskStore,
        cache: LayerCache,
        compression: Compression,
        stack: ExitStack,
        found: Mapping[str, LayerBlob],
    ) -> None:
        """`missing` are the layers to make: those not found, and those found that no longer are what they should be."""
        self._locked = locked
        self._inputs = inputs
        self._store = store
        self._cache = cache
        self._compression = compression
        self._environment = environment_layout(locked.interpreter)
        missing = [layer for layer in locked.layers if layer.name not in found]
        self._planned = self._plan(stack, missing)
        stale = [layer for layer in locked.layers if layer.name in found and self._is_stale(layer)]
        if stale:
            missing = [layer for layer in locked.layers if layer in missing or layer in stale]
            self._planned = self._plan(stack, missing)
        self.missing = [replace(layer, diff_id=None) if layer in stale else layer for layer in missing]
        kinds = {layer.kind for layer in missing}
        wanted = {LayerKind.BASE, LayerKind.INTERPRETER} & kinds or any(layer.name == "bytecode-python" for layer in missing)
        self._debs = inputs.debs(locked.debs) if wanted else ()
        # Unpacking an interpreter takes as long as a layer: it goes on while layers that need none are written.
        compiles = any(self._has_sources(layer) for layer in missing)
        self._interpreter = stack.enter_context(_Ahead(inputs.interpreter)) if compiles else None
        self._spool_folder = cache.folder
        python_layers = {layer.name for layer in missing} & {"python", "bytecode-python"}
        self._python = self._unpack_interpreter(stack) if python_layers and self._debs else []

    @property
    def clashes(self) -> tuple[Clash, ...]:
        return self._planned.clashes

    def _plan(self, stack: ExitStack, missing: Sequence[LockedLayer]) -> PlannedWheels:
        """Open all wheels when one wheel's layer must be made: which file is whose is known only from all."""
        if not any(layer.kind in _OF_WHEELS for layer in missing):
            return PlannedWheels(layouts={}, dropped={}, yields={}, clashes=())
        needed = [wheel for wheel in self._locked.wheels if any(wheel in self._members(layer) for layer in missing)]
        spared = [wheel for wheel in self._locked.wheels if wheel not in needed]
        paths = dict(self._inputs.wheels(needed))
        for wheel in spared:
            try:
                paths.update(self._inputs.wheels([wheel]))
            except LockError:
                continue  # it has vanished, but its layer is here, and that is enough
        return plan_wheels(
            [(wheel, paths[wheel.name]) for wheel in self._locked.wheels if wheel.name in paths], self._environment, stack
        )

    def _members(self, layer: LockedLayer) -> tuple[LockedWheel, ...]:
        named = set(layer.members)
        return tuple(wheel for wheel in self._locked.wheels if f"{wheel.name} {wheel.version}" in named)

    def _is_stale(self, layer: LockedLayer) -> bool:
        """Whether a wheel that the lock did not know when it learned this layer's diff_id brings a file of it now."""
        new = self._yields(layer) - set(layer.yields)
        unbuilt = [other for other in self._locked.layers if other.diff_id is None and other.kind in _OF_WHEELS]
        return bool(new & {wheel.name for other in unbuilt for wheel in self._members(other)})

    def _yields(self, layer: LockedLayer) -> set[str]:
        members = {wheel.name for wheel in self._members(layer)} if layer.kind in _OF_WHEELS else set()
        return {owner for name in members for owner in self._planned.yields.get(name, ())} - members

    def _has_sources(self, layer: LockedLayer) -> bool:
        if layer.kind is not LayerKind.BYTECODE:
            return False
        members = (wheel.name for wheel in self._members(layer))
        return layer.name == "bytecode-python" or any(any(self._planned.python_sources(name)) for name in members)

    def tell(self, layer: LockedLayer, made: LayerBlob | None) -> LockedLayer:
        """What the lock should say of a layer, now that it is here."""
        return replace(layer, diff_id=made.diff_id, yields=tuple(sorted(self._yields(layer)))) if made else layer

    def cost(self, layer: LockedLayer) -> int:
        """About how long a layer takes, in bytes to compress: the longest begin first, bytecode when the others have."""
        if layer.kind is LayerKind.BYTECODE:
            sources = (entry for wheel in self._members(layer) for entry in self._planned.python_sources(wheel.name))
            return sum(entry.size for entry in sources)
        return _FIRST + sum(entry.size for wheel in self._members(layer) for entry in self._planned.entries(wheel.name))

    def make(self, layer: LockedLayer) -> LayerBlob:
        key = self._cache.key(self._ingredients(layer))
        blob = self._cache.find(key)
        if blob is None:
            blob = self._write(layer)
            self._cache.remember(key, blob)
        if layer.diff_id is not None and blob.diff_id != layer.diff_id:
            raise TrustError(
                f"layer {layer.name!r} came out as {blob.diff_id}, the lock says {layer.diff_id}",
                where=f"wherry.lock: {self._locked.platform}",
                hint="wherry lock --upgrade-package of its members, if this version of wherry is to make it anew",
            )
        self._cache.remember(self._cache.by_diff_id(blob.diff_id), blob)
        return blob

    def _ingredients(self, layer: LockedLayer) -> list[str]:
        """Names all that decides a layer's bytes."""
        given = [layer.kind.value, self._environment.minor]
        if layer.kind in (LayerKind.BASE, LayerKind.INTERPRETER):
            given += [str(self._locked.platform), self._locked.interpreter.path, self._locked.interpreter.version]
            given += [str(deb.sha256) for deb in self._locked.debs]
        for wheel in self._members(layer):
            given.append(str(wheel.sha256))
            given += sorted(self._planned.dropped.get(wheel.name, ()))
        if layer.kind is LayerKind.BYTECODE:
            given.append(self._locked.interpreter.version)
            given += [str(deb.sha256) for deb in self._locked.debs if layer.name == "bytecode-python"]
        return given

    def _unpack_interpreter(self, stack: ExitStack) -> list[TarEntry]:
        """Two layers are made of it, its files and their bytecode, so its spool stays open for both."""
        spool = stack.enter_context(Spool(self._spool_folder))
        return debian_entries(self._debs, LayerKind.INTERPRETER, spool)

    def _write(self, layer: LockedLayer) -> LayerBlob:
        with Spool(self._spool_folder) as spool:
            return write_layer(self._entries(layer, spool), self._store, self._compression)

    def _entries(self, layer: LockedLayer, spool: Spool) -> list[TarEntry]:
        if layer.kind is LayerKind.BASE:
            return debian_entries(self._debs, LayerKind.BASE, spool, over_base=self._locked.base is not None)
        if layer.kind is LayerKind.INTERPRETER:
            return add_parents([*_without_directories(self._python), *skeleton_entries(self._locked.interpreter)])
        if layer.kind is LayerKind.BYTECODE:
            return add_parents(self._compile(layer, spool))
        return add_parents(entry for wheel in self._members(layer) for entry in self._planned.entries(wheel.name))

    def _compile(self, layer: LockedLayer, spool: Spool) -> Iterator[TarEntry]:
        if self._interpreter is None:
            return
        interpreter = self._interpreter.result()
        if layer.name == "bytecode-python":
            yield from compile_sources(self._standard_library(), interpreter, spool)
        for wheel in self._members(layer):
            yield from compile_sources(self._planned.python_sources(wheel.name), interpreter, spool)

    def _standard_library(self) -> Iterator[TarEntry]:
        wanted = (entry for entry in self._python if entry.kind is EntryKind.FILE and entry.path.endswith(".py"))
        return (entry for entry in wanted if not is_test(entry.path))


class _Ahead:
    """A result that is worked out in a thread of its own from the start, and waited for when it is asked for."""

    def __init__(self, work: Callable[[], HostInterpreter]) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="interpreter")
        self._future = self._pool.submit(work)

    def result(self) -> HostInterpreter:
        return self._future.result()

    def __enter__(self) -> _Ahead:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


def _without_directories(entries: Iterable[TarEntry]) -> list[TarEntry]:
    return [entry for entry in entries if entry.kind is not EntryKind.DIRECTORY]
