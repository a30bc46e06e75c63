"""The two kinds of base behind one face: what each stage needs to know of what lies below the wheels.

A base of Debian packages is locked and assembled; one given by reference is pinned and carried along as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

from wherry.assemble.build import Inputs
from wherry.assemble.bytecode import HostInterpreter
from wherry.assemble.inputs import FetchedInputs, HostPython, ReferenceInputs
from wherry.assemble.interpreter import unpack_packages
from wherry.assemble.layer_search import FindLayer
from wherry.assemble.recipe import PlatformRecipe
from wherry.assemble.reference_base import extend_base, unpack_base_interpreter, unpack_base_root
from wherry.errors import LockError, StoreError, TrustError
from wherry.formats.oci_json import parse_config, parse_manifest
from wherry.lock.bases import DebianBases
from wherry.lock.reference_base import OpenArchive, ReferenceBases
from wherry.lock.resolution import BaseLock
from wherry.managed import ManagedPython, open_managed
from wherry.model.declaration import DebianBase, Declaration, ReferenceBase
from wherry.model.image import BuiltLayer
from wherry.model.layout import environment_layout
from wherry.model.lock import Lock, LockedBase, LockedDeb, LockedInterpreter, PlatformLock
from wherry.model.oci import ImageConfig, Manifest
from wherry.model.platform import Platform
from wherry.model.progress import Progress
from wherry.model.reference import Reference
from wherry.sources.artefacts import ArtefactFinder
from wherry.sources.debian import DebianArchive, open_archive
from wherry.sources.debian_trust import DISTRIBUTIONS
from wherry.sources.images import BaseImages, name_in_lock
from wherry.sources.registries import RegistryAccess, access_registries
from wherry.store.archive import read_layer
from wherry.store.disk import DiskStore
from wherry.store.host import read_host_platform
from wherry.store.survey import BaseSurvey, survey_base


class Bases(Protocol):
    """One declaration's base, on every platform."""

    def lock_base(self, platform: Platform, former: PlatformLock | None) -> BaseLock:
        """Lock what lies below the wheels."""
        ...

    def inputs(self, locked: PlatformLock, lock: Lock, finder: ArtefactFinder, find_layer: FindLayer) -> Inputs:
        """Where the locked files of a platform come from."""
        ...

    def recipe(self, locked: PlatformLock, layers: tuple[BuiltLayer, ...]) -> PlatformRecipe:
        """The platform's layers, the base's own included."""
        ...

    def unpack_root(self, locked: PlatformLock) -> Path:
        """The base's libraries for this host, as a root that a Python which the base does not bring can run in."""
        ...


@contextmanager
def open_bases(
    declared: Declaration,
    env: Mapping[str, str],
    store: DiskStore,
    cache: Path,
    upgrade: bool | Collection[str],
    offline: bool,
    progress: Progress,
    find: tuple[Path, ...] = (),
) -> Iterator[Bases]:
    """The base that is declared, with connections that close at the end. `find` are folders to look in for a locked Python."""
    managed = open_managed(declared, env, cache, upgrade, offline, progress, find)
    if isinstance(declared.base, ReferenceBase):
        with closing(access_registries(env, cache=cache)) as access, ExitStack() as stack:

            def open_of(distribution: str) -> DebianArchive | None:
                if distribution not in DISTRIBUTIONS:
                    return None
                known = DISTRIBUTIONS[distribution]
                archive = open_archive(
                    env, cache, mirror=declared.debian_mirror, offline=offline, progress=progress, distribution=known
                )
                return stack.enter_context(archive) if archive else None

            reference = declared.base.reference
            yield ReferenceSide(declared, reference, access, open_of, store, cache, upgrade, offline, progress, managed)
        return
    archive = open_archive(env, cache, mirror=declared.debian_mirror, offline=offline, progress=progress)
    if archive is None:
        raise LockError(
            "this machine has no apt configuration for Debian",
            where="base",
            hint='[debian] mirror = "…" in wherry.toml, or a base given by reference',
        )
    with archive:
        yield DebianSide(declared, declared.base, archive, cache, upgrade, managed)


class DebianSide:
    """A base of Debian packages."""

    def __init__(
        self,
        declared: Declaration,
        base: DebianBase,
        archive: DebianArchive,
        cache: Path,
        upgrade: bool | Collection[str],
        managed: ManagedPython | None = None,
    ) -> None:
        self._suite = base.suite
        self._archive = archive
        self._cache = cache
        self._managed = managed
        self._bases = DebianBases(declared, base, archive, upgrade, managed.lock_python if managed else None)

    def lock_base(self, platform: Platform, former: PlatformLock | None) -> BaseLock:
        return self._bases(platform, former)

    def inputs(self, locked: PlatformLock, lock: Lock, finder: ArtefactFinder, find_layer: FindLayer) -> Inputs:
        host = read_host_platform()
        on_host = next((one for one in lock.platforms if one.platform == host), None)

        def find_packages() -> tuple[tuple[LockedDeb, ...], LockedInterpreter]:
            return self._bases.lock_packages(host, ())

        python = HostPython(platform=host, locked=on_host, find_packages=find_packages)
        managed = self._managed.source(locked, lock) if self._managed else None
        return FetchedInputs(locked, finder, self._archive, self._suite, self._cache, python, find_layer, managed)

    def recipe(self, locked: PlatformLock, layers: tuple[BuiltLayer, ...]) -> PlatformRecipe:
        return _with_conda(PlatformRecipe(platform=locked.platform, layers=layers), locked)

    def unpack_root(self, locked: PlatformLock) -> Path:
        host = read_host_platform()
        debs = locked.debs if locked.platform == host else self._bases(host, None).debs
        return unpack_packages(debs, lambda some: self._archive.fetch_all(some, suite=self._suite, platform=host), self._cache)


class ReferenceSide:
    """A base that somebody published. Its documents are kept in the store; its layers come when somebody needs them."""

    def __init__(
        self,
        declared: Declaration,
        reference: Reference,
        access: RegistryAccess,
        open_of: OpenArchive,
        store: DiskStore,
        cache: Path,
        upgrade: bool | Collection[str],
        offline: bool,
        progress: Progress,
        managed: ManagedPython | None = None,
    ) -> None:
        self._managed = managed
        self._reference = reference
        self._name = name_in_lock(reference) + (f"@{reference.digest}" if reference.digest else "")
        self._images = BaseImages(access)
        self._open_of = open_of
        self._store = store
        self._cache = cache
        self._offline = offline
        self._progress = progress
        lock_python = managed.lock_python if managed else None
        self._bases = ReferenceBases(declared, self._name, self._find, open_of, upgrade, lock_python)

    def lock_base(self, platform: Platform, former: PlatformLock | None) -> BaseLock:
        return self._bases(platform, former)

    def inputs(self, locked: PlatformLock, lock: Lock, finder: ArtefactFinder, find_layer: FindLayer) -> Inputs:
        host = read_host_platform()
        on_host = next((one for one in lock.platforms if one.platform == host), None)
        interpreter = partial(self._interpreter, locked, on_host, host)
        managed = self._managed.source(locked, lock) if self._managed else None
        return ReferenceInputs(locked, finder, interpreter, lambda: self._fetch_debs(locked), find_layer, managed)

    def recipe(self, locked: PlatformLock, layers: tuple[BuiltLayer, ...]) -> PlatformRecipe:
        manifest, config = self._documents(locked.platform, locked.base)
        return _with_conda(extend_base(locked.platform, manifest, config, layers), locked)

    def unpack_root(self, locked: PlatformLock) -> Path:
        host = read_host_platform()
        if locked.platform != host:
            base = self._bases(host, None)
            locked = replace(locked, platform=host, base=base.base, debs=base.debs)
        manifest, config = self._documents(host, locked.base)
        return unpack_base_root(
            manifest, config, locked.debs, self._store, self._cache, self._fetch, partial(self._fetch_debs, locked)
        )

    def _documents(self, platform: Platform, pinned: LockedBase | None) -> tuple[Manifest, ImageConfig]:
        """From the store where a build was before, else from the registry, by the digest that is pinned."""
        if pinned is not None and self._store.has(pinned.manifest) and self._store.has(pinned.config):
            manifest = parse_manifest(self._store.read_bytes(pinned.manifest))
            return manifest, parse_config(self._store.read_bytes(pinned.config))
        self._require_network()
        reference = replace(self._reference, digest=pinned.manifest) if pinned is not None else self._reference
        found = self._images.pin_base(reference, platform)
        if pinned is not None and found.config.diff_ids != pinned.diff_ids:
            raise TrustError("the base's layers are not those of the lock", where=f"{reference}", hint="wherry lock --upgrade")
        self._store.put_bytes(found.manifest.raw)
        self._store.put_bytes(found.config.raw)
        return found.manifest, found.config

    def _find(self, platform: Platform, pinned: LockedBase | None) -> tuple[LockedBase, ImageConfig, Callable[[], BaseSurvey]]:
        manifest, config = self._documents(platform, pinned)
        locked = LockedBase(name=self._name, manifest=manifest.digest, config=config.digest, diff_ids=config.diff_ids)

        def survey() -> BaseSurvey:
            self._fetch(manifest)
            pairs = zip(manifest.layers, config.diff_ids, strict=True)
            layers = [lambda pair=pair: read_layer(self._store, pair[0].digest, pair[1]) for pair in pairs]
            return survey_base(layers, str(self._reference))

        return locked, config, survey

    def _fetch(self, manifest: Manifest) -> None:
        for layer in manifest.layers:
            if not self._store.has(layer.digest):
                self._require_network()
            self._images.fetch_layer(self._reference, layer, self._store, self._progress)

    def _require_network(self) -> None:
        if self._offline:
            raise StoreError(
                f"the base {self._reference} is not in the store", where="--offline", hint="lock or build once without --offline"
            )

    def _fetch_debs(self, locked: PlatformLock) -> Sequence[tuple[LockedDeb, Path]]:
        """The packages over the base, out of the archive of its distribution."""
        if not locked.debs:
            return ()
        distribution, _, suite = ((locked.base and locked.base.release) or "debian:").partition(":")
        archive = self._open_of(distribution)
        if archive is None:
            raise LockError(
                f"the lock names packages of {distribution} {suite}, and this machine has no apt configuration for them",
                where="wherry.lock",
                hint='[debian] mirror = "…" in wherry.toml',
            )
        return archive.fetch_all(locked.debs, suite=suite or None, platform=locked.platform)

    def _interpreter(self, locked: PlatformLock, on_host: PlatformLock | None, host: Platform) -> HostInterpreter:
        """The image's Python as this host can run it: out of the base's image for this host."""
        wanted = locked.interpreter
        if on_host is None or on_host.interpreter != wanted:
            on_host = self._lock_host(locked, host)
        manifest, config = self._documents(host, on_host.base)
        return unpack_base_interpreter(
            wanted, manifest, config, on_host.debs, self._store, self._cache, self._fetch, partial(self._fetch_debs, on_host)
        )

    def _lock_host(self, locked: PlatformLock, host: Platform) -> PlatformLock:
        hint = 'layers-from = [an image that was built on another host], or bytecode = "cache" or "none"'
        what = f"bytecode for {locked.platform} needs Python {locked.interpreter.version} on this host, {host}"
        try:
            base = self._bases(host, None)
        except (LockError, StoreError) as error:
            raise StoreError(f"{what}: {error.what}", where=error.where, hint=hint) from error
        if base.interpreter.version != locked.interpreter.version:
            raise StoreError(f"{what}, and its base has {base.interpreter.version}", where=str(self._reference), hint=hint)
        return PlatformLock(platform=host, base=base.base, interpreter=base.interpreter, debs=base.debs, wheels=(), layers=())


def _with_conda(recipe: PlatformRecipe, locked: PlatformLock) -> PlatformRecipe:
    environment = environment_layout(locked.interpreter)
    channels = sorted({record.channel for record in locked.records})
    return replace(recipe, conda_prefix=environment.prefix if environment.is_conda else "", conda_channels=tuple(channels))
