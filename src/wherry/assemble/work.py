"""The making of one platform's layers: what they share is fetched, opened and unpacked once, then each is written.

Everything that takes long and that only some layers need (an interpreter for bytecode, records laid out) is begun at the
start and waited for where it is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from wherry.assemble.bytecode import HostInterpreter, compile_sources
from wherry.assemble.debian import debian_entries
from wherry.assemble.layers import LayerBlob, LayerCache, write_layer
from wherry.assemble.maintainer_scripts import describe_maintainer_scripts
from wherry.assemble.managed_python import managed_entries
from wherry.assemble.packages import CondaSource, LayerMembers, open_packages
from wherry.assemble.skeleton import skeleton_entries
from wherry.assemble.spool import Spool
from wherry.assemble.wheels import is_test
from wherry.errors import TrustError
from wherry.formats.tar import EntryKind, TarEntry, add_parents
from wherry.model.declaration import Compression
from wherry.model.layout import environment_layout
from wherry.model.lock import LayerKind, LockedDeb, LockedLayer, LockedWheel, PlatformLock
from wherry.sources.staged_records import StagedRecord, stage_records
from wherry.store.disk import DiskStore

_FIRST = 1 << 40  # more than any layer's size
_UNPACKED = 4  # times as great as its archive is about what a record holds
_T = TypeVar("_T")


class WorkInputs(Protocol):
    """Where what is locked besides conda's records comes from; each call may fetch, from several threads."""

    def wheels(self, wheels: Sequence[LockedWheel]) -> Mapping[str, Path]:
        """The wheels' files by name. One that is nowhere is a `LockError`."""
        ...

    def debs(self, debs: Sequence[LockedDeb]) -> Sequence[tuple[LockedDeb, Path]]: ...

    def interpreter(self) -> HostInterpreter:
        """The image's interpreter, runnable on this host."""
        ...

    def managed_python(self) -> Path:
        """The archive of the locked interpreter, which is one that has an archive."""
        ...


class LayerWork:
    """What making one platform's layers shares. `missing` are the layers to make: those not found, and those found that
    no longer are what they should be."""

    def __init__(
        self,
        locked: PlatformLock,
        inputs: WorkInputs,
        conda: CondaSource,
        store: DiskStore,
        cache: LayerCache,
        compression: Compression,
        stack: ExitStack,
        found: Mapping[str, LayerBlob],
    ) -> None:
        self._locked = locked
        self._store = store
        self._cache = cache
        self._compression = compression
        self._environment = environment_layout(locked.interpreter)
        self._members = LayerMembers(locked)
        missing = [layer for layer in locked.layers if layer.name not in found]
        self.packages = open_packages(locked, missing, inputs.wheels, conda.fetch, stack)
        stale = [layer for layer in locked.layers if layer.name in found and self._is_stale(layer)]
        if stale:
            missing = [layer for layer in locked.layers if layer in missing or layer in stale]
            self.packages = open_packages(locked, missing, inputs.wheels, conda.fetch, stack)
        self.missing = [replace(layer, diff_id=None) if layer in stale else layer for layer in missing]
        self._begin(missing, inputs, conda, stack)

    def _begin(self, missing: Sequence[LockedLayer], inputs: WorkInputs, conda: CondaSource, stack: ExitStack) -> None:
        kinds = {layer.kind for layer in missing}
        wanted = {LayerKind.BASE, LayerKind.INTERPRETER} & kinds or any(layer.name == "bytecode-python" for layer in missing)
        self._debs = inputs.debs(self._locked.debs) if wanted else ()
        self.notes = tuple(describe_maintainer_scripts(self._debs)) if LayerKind.BASE in kinds else ()
        # Unpacking an interpreter takes as long as a layer: it goes on while layers that need none are written.
        compiles = any(self._has_sources(layer) for layer in missing)
        interpreter = conda.interpreter if self._environment.is_conda else inputs.interpreter
        self._interpreter = stack.enter_context(_Ahead(interpreter)) if compiles else None
        python_layers = {layer.name for layer in missing} & {"python", "bytecode-python"}
        self._python = self._unpack_interpreter(inputs, stack) if python_layers else []
        staged = {record.name for layer in missing if self._reads(layer) for record in self._members.records(layer)}
        shelf = stack.enter_context(ExitStack())
        self._staged = stack.enter_context(_Ahead(lambda: self._stage(staged, shelf))) if staged else None

    def _is_stale(self, layer: LockedLayer) -> bool:
        """Whether a package that the lock did not know when it learned this layer's diff_id brings a file of it now."""
        new = self.packages.yields(self._members, layer) - set(layer.yields)
        unbuilt = [other for other in self._locked.layers if other.diff_id is None]
        return bool(new & {name for other in unbuilt for name in self._members.names(other)})

    def _has_sources(self, layer: LockedLayer) -> bool:
        if layer.kind is not LayerKind.BYTECODE:
            return False
        if layer.name == "bytecode-python":
            return True
        if any(any(self.packages.wheels.python_sources(wheel.name)) for wheel in self._members.wheels(layer)):
            return True
        return any(any(self._sources_in(record.name)) for record in self._members.records(layer))

    def _sources_in(self, record: str) -> Iterator[str]:
        return self.packages.records.python_sources(record, self._environment)

    def _reads(self, layer: LockedLayer) -> bool:
        """Whether a layer is made of its records' files."""
        return layer.kind is not LayerKind.BYTECODE or self._has_sources(layer)

    def tell(self, layer: LockedLayer, made: LayerBlob | None) -> LockedLayer:
        """What the lock should say of a layer, now that it is here."""
        if made is None:
            return layer
        return replace(layer, diff_id=made.diff_id, yields=tuple(sorted(self.packages.yields(self._members, layer))))

    def cost(self, layer: LockedLayer) -> int:
        """About how long a layer takes, in bytes to compress: the longest begin first, bytecode when the others have."""
        records = sum(record.size for record in self._members.records(layer))
        wheels = self._members.wheels(layer)
        if layer.kind is LayerKind.BYTECODE:
            return records + sum(entry.size for wheel in wheels for entry in self.packages.wheels.python_sources(wheel.name))
        return (
            _FIRST + _UNPACKED * records + sum(entry.size for wheel in wheels for entry in self.packages.wheels.entries(wheel.name))
        )

    def make(self, layer: LockedLayer) -> LayerBlob:
        key = self._cache.key(self._ingredients(layer))
        blob = self._cache.find(key)
        if blob is None:
            with Spool(self._cache.folder) as spool:
                blob = write_layer(self._entries(layer, spool), self._store, self._compression)
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
            given += [str(archive.sha256)] if (archive := self._locked.interpreter.archive) is not None else []
        if self._environment.is_conda:
            given.append(self._environment.prefix)
        for record in self._members.records(layer):
            given += [str(record.sha256), record.channel, record.subdir, record.file]
            given += sorted(self.packages.records.dropped.get(record.name, ()))
        for wheel in self._members.wheels(layer):
            given.append(str(wheel.sha256))
            given += sorted(self.packages.wheels.dropped.get(wheel.name, ()))
        if layer.kind is LayerKind.BYTECODE:
            given.append(self._locked.interpreter.version)
            given += [str(deb.sha256) for deb in self._locked.debs if layer.name == "bytecode-python"]
            if layer.name == "bytecode-python" and self._locked.interpreter.archive is not None:
                given.append(str(self._locked.interpreter.archive.sha256))
        return given

    def _entries(self, layer: LockedLayer, spool: Spool) -> list[TarEntry]:
        if layer.kind is LayerKind.BASE:
            return debian_entries(self._debs, LayerKind.BASE, spool, over_base=self._locked.base is not None)
        if layer.kind is LayerKind.BYTECODE:
            return add_parents(self._compile(layer, spool))
        entries = [entry for wheel in self._members.wheels(layer) for entry in self.packages.wheels.entries(wheel.name)]
        if layer.kind is LayerKind.INTERPRETER:
            entries += [*_without_directories(self._python), *skeleton_entries(self._locked.interpreter)]
        return add_parents([*entries, *self._record_entries(layer)])

    def _record_entries(self, layer: LockedLayer) -> Iterator[TarEntry]:
        for record in self._members.records(layer):
            kept = self.packages.records.kept[record.name]
            yield from self._staged_record(record.name).entries(self._environment.prefix, kept)

    def _compile(self, layer: LockedLayer, spool: Spool) -> Iterator[TarEntry]:
        if self._interpreter is None:
            return
        interpreter = self._interpreter.result()
        if layer.name == "bytecode-python" and self._python:
            yield from compile_sources(self._standard_library(), interpreter, spool)
        for record in self._members.records(layer):
            if sources := list(self._sources_in(record.name)):
                staged = self._staged_record(record.name)
                entries = (staged.entry(self._environment.prefix, path) for path in sources)
                yield from compile_sources(entries, interpreter, spool)
        for wheel in self._members.wheels(layer):
            yield from compile_sources(self.packages.wheels.python_sources(wheel.name), interpreter, spool)

    def _standard_library(self) -> Iterator[TarEntry]:
        wanted = (entry for entry in self._python if entry.kind is EntryKind.FILE and entry.path.endswith(".py"))
        return (entry for entry in wanted if not is_test(entry.path))

    def _unpack_interpreter(self, inputs: WorkInputs, stack: ExitStack) -> list[TarEntry]:
        """Two layers are made of it, its files and their bytecode, so its spool stays open for both."""
        interpreter = self._locked.interpreter
        if interpreter.archive is None and not self._debs:
            return []
        spool = stack.enter_context(Spool(self._cache.folder))
        if interpreter.archive is not None:
            return managed_entries(inputs.managed_python(), interpreter, spool)
        return debian_entries(self._debs, LayerKind.INTERPRETER, spool)

    def _stage(self, names: set[str], shelf: ExitStack) -> dict[str, StagedRecord]:
        """Lay out the records of all layers at once; what they are made of stays until all are written."""
        records = [record for record in self._locked.records if record.name in names]
        archives = [(record, self.packages.archives[record.name]) for record in records]
        # Of Python only the minor version may matter to a record's layer.
        python = f"{self._environment.minor}.0" if self._environment.is_conda else None
        return shelf.enter_context(
            stage_records(archives, python=python, prefix=self._environment.prefix, folder=self._cache.folder)
        )

    def _staged_record(self, name: str) -> StagedRecord:
        assert self._staged is not None  # noqa: S101 - tells the type checker
        staged = self._staged.result()[name]
        self.packages.contents[name].require(staged.files)
        return staged


class _Ahead(Generic[_T]):
    """A result that is worked out in a thread of its own from the start, and waited for when it is asked for."""

    def __init__(self, work: Callable[[], _T]) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ahead")
        self._future = self._pool.submit(work)

    def result(self) -> _T:
        return self._future.result()

    def __enter__(self) -> _Ahead[_T]:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


def _without_directories(entries: Iterable[TarEntry]) -> list[TarEntry]:
    return [entry for entry in entries if entry.kind is not EntryKind.DIRECTORY]
