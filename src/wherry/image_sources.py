"""Gathers what a project's image was made of: the lock and each file that it names, out of the cache or where it came from.

Only of the image that the project's last build made: the recipe of that build must give this very manifest, and the lock its
layers, so that what is attached is what the image can be built from again. Where a host of another platform compiles the
bytecode, the Python that it does so with belongs to the sources, too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from wherry.assemble.conda_python import python_closure
from wherry.assemble.image import compose_image
from wherry.assemble.layers import LayerBlob
from wherry.assemble.recipe import Recipe, render_recipe
from wherry.bases import Bases, open_bases
from wherry.building import Building
from wherry.conda_side import CondaSide, conda_source, open_conda_side
from wherry.declare.project import read_declaration
from wherry.errors import LockError, StoreError, TransferError
from wherry.formats.lockfile import render_lock
from wherry.formats.oci_json import parse_manifest, render_json
from wherry.lock.storage import read_lock
from wherry.model.declaration import Bytecode
from wherry.model.digest import DiffId, Digest
from wherry.model.image import BuiltLayer
from wherry.model.lock import LayerKind, Lock, LockedBase, LockedDeb, LockedRecord, LockedWheel, PlatformLock
from wherry.model.platform import Platform
from wherry.model.progress import Progress, be_silent
from wherry.model.sources import ImageSources, SourceFile, SourceKind
from wherry.rebuild import read_last_build
from wherry.sources.artefacts import ArtefactFinder
from wherry.sources.package_sources import PackageSources
from wherry.store.disk import DiskStore
from wherry.store.images import StoredImage

SOURCES_VERSION = 1


def gather_sources(
    root: Path,
    images: Sequence[StoredImage],
    store: DiskStore,
    cache: Path,
    env: Mapping[str, str],
    *,
    offline: bool = False,
    find: tuple[Path, ...] = (),
    progress: Progress = be_silent,
    say: Callable[[str], None] = lambda _text: None,
) -> tuple[ImageSources, ...]:
    """The sources of each image, which the last build of the project in `root` must have made."""
    recipe, own, lock = _read_build(root, cache)
    for image in images:
        _require_same(image, recipe, own, lock)
    declared = read_declaration(root, env)
    packages = PackageSources(declared.root, declared.environment.indexes, env, cache, offline=offline)
    side = open_conda_side(declared, lock, env, cache, offline=offline, find=find, progress=progress)
    with open_bases(declared, env, store, cache, False, offline, progress, find) as bases, side as conda:
        building = Building(declared=declared, bases=bases, sources=packages, env=env, find=find, say=say)
        gathering = _Gathering(
            lock=lock,
            bases=bases,
            finder=packages.finder(find, progress, building.rebuild_from(lock)),
            conda=conda,
            building=building,
            store=store,
            compiles=recipe.bytecode is Bytecode.LAYER,
            say=say,
        )
        return tuple(
            ImageSources(
                manifest=image.manifest,
                config=image.config,
                document=render_document(recipe, image.platform),
                lock=render_lock(lock).encode(),
                files=gathering.list_files(lock.for_platform(image.platform)),
            )
            for image in images
        )


def render_document(recipe: Recipe, platform: Platform) -> bytes:
    """What besides the lock decides the image of one platform (docs/spec/sources.md, "The document")."""
    alone = replace(recipe, platforms=tuple(one for one in recipe.platforms if one.platform == platform))
    plain = json.loads(json.dumps(render_recipe(alone)))
    return render_json({"schema": SOURCES_VERSION, "recipe": plain})


def _read_build(root: Path, cache: Path) -> tuple[Recipe, tuple[BuiltLayer, ...], Lock]:
    last, lock = read_last_build(root, cache), read_lock(root)
    if last is None or lock is None:
        raise StoreError("nobody built this project here, so its sources are not known", where=str(root), hint="wherry build")
    return *last, lock


def _require_same(image: StoredImage, recipe: Recipe, own: Sequence[BuiltLayer], lock: Lock) -> None:
    """The recipe gives this image, and the lock its layers."""
    hint = "wherry build, and then its image"
    platform = next((one for one in recipe.platforms if one.platform == image.platform), None)
    if platform is None or compose_image(recipe, platform, own, image.config.created).manifest != image.manifest.raw:
        what = f"the image for {image.platform} is not what this project's last build made"
        raise StoreError(what, where=str(image.manifest.digest), hint=hint)
    locked = {layer.diff_id for layer in lock.for_platform(image.platform).layers}
    made = {layer.diff_id for layer in platform.layers if layer.kind is not LayerKind.FOREIGN}
    if made != locked:
        raise LockError(f"the lock is not that of the image for {image.platform}", where="wherry.lock", hint=hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gathering:
    """Finds the files of one lock."""

    lock: Lock
    bases: Bases
    finder: ArtefactFinder
    conda: CondaSide | None
    building: Building
    store: DiskStore
    compiles: bool
    say: Callable[[str], None]

    def list_files(self, locked: PlatformLock) -> tuple[SourceFile, ...]:
        """Everything that the image of this platform is made of, each file once."""
        found = [
            *self._base(locked.base),
            *self._debs(locked, locked.debs),
            *self._records(locked, locked.records),
            *self._wheels(SourceKind.WHEEL, locked.wheels),
            *self._archive(locked),
            *self._builds(locked),
        ]
        for other in self.lock.platforms:
            if self.compiles and other.platform != locked.platform and other.interpreter.version == locked.interpreter.version:
                found += self._compiler(other)
        return tuple({file.digest: file for file in found}.values())

    def _compiler(self, other: PlatformLock) -> Iterator[SourceFile]:
        """The Python of another platform, with which its hosts compile for this one."""
        yield from self._archive(other)
        if other.interpreter.source == "conda":
            yield from self._records(other, python_closure(other.records))
        elif other.interpreter.source == "debian":
            yield from self._debs(other, other.debs)

    def _base(self, base: LockedBase | None) -> Iterator[SourceFile]:
        if base is None:
            return
        manifest = parse_manifest(self.store.read_bytes(base.manifest))
        sizes = {base.manifest: len(manifest.raw), base.config: manifest.config.size}
        sizes |= {layer.digest: layer.size for layer in manifest.layers}
        for digest, size in sizes.items():
            opener = partial(self.store.open, digest)
            yield SourceFile(kind=SourceKind.BASE, file=digest.hex, digest=digest, size=size, open=opener)

    def _debs(self, locked: PlatformLock, debs: Sequence[LockedDeb]) -> Iterator[SourceFile]:
        if debs:
            for deb, path in self.bases.inputs(locked, self.lock, self.finder, _find_no_layer).debs(debs):
                yield _on_disk(SourceKind.DEB, deb.file, deb.sha256, deb.size, path)

    def _records(self, locked: PlatformLock, records: Sequence[LockedRecord]) -> Iterator[SourceFile]:
        if records:
            archives = conda_source(self.conda, locked, self.lock).fetch(records)
            for record in records:
                yield _on_disk(SourceKind.RECORD, record.file, record.sha256, record.size, archives[record.name])

    def _wheels(self, kind: SourceKind, wheels: Sequence[LockedWheel]) -> Iterator[SourceFile]:
        for wheel, path in zip(wheels, self.finder.fetch_all(wheels), strict=True):
            yield _on_disk(kind, wheel.file, wheel.sha256, wheel.size, path)

    def _archive(self, locked: PlatformLock) -> Iterator[SourceFile]:
        archive = locked.interpreter.archive
        if archive is not None:
            path = self.bases.inputs(locked, self.lock, self.finder, _find_no_layer).managed_python()
            yield _on_disk(SourceKind.PYTHON, archive.file, archive.sha256, archive.size, path)

    def _builds(self, locked: PlatformLock) -> Iterator[SourceFile]:
        """What wheels were built from and with. An image needs but the wheels, so what is gone is told and left out."""
        yard = self.building.open_yard(locked)
        for build in locked.builds:
            try:
                path = yard.sources.bring_locked(build).path
                yield _on_disk(SourceKind.ARCHIVE, build.file, build.sha256, build.size, path)
                yield from self._wheels(SourceKind.TOOL, build.tools)
            except (LockError, TransferError) as error:
                self.say(f"what {build.name} was built from is not attached, its wheel is: {error.what}")


def _on_disk(kind: SourceKind, file: str, digest: Digest, size: int, path: Path) -> SourceFile:
    return SourceFile(kind=kind, file=file, digest=digest, size=size, open=lambda: cast(BinaryIO, path.open("rb")))


def _find_no_layer(_diff_id: DiffId, _platform: Platform) -> LayerBlob | None:
    return None
