"""Builds an image again from its sources alone, and compares: each layer by its diff_id, the whole by its image ID.

Nothing else is asked: a cache and a store of its own that are empty at the start, no index, no mirror, no registry. What
the image's base, interpreter, packages and bytecode come out as is compared with what the image has; the layers of code and models,
which nothing else says, are the image's own. Where the image has a bytecode layer its Python runs here, as for any build.

Refused: sources that lack a file that their lock names, or have one that is another than its digest says.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

from wherry.assemble.build import assemble_layers
from wherry.assemble.image import compose_image
from wherry.assemble.layers import LayerBlob
from wherry.assemble.recipe import PlatformRecipe, Recipe, parse_recipe
from wherry.bases import open_bases
from wherry.conda_side import conda_source, open_conda_side
from wherry.errors import FormatError, StoreError, TrustError
from wherry.formats.lockfile import parse_lock
from wherry.formats.oci_json import parse_json
from wherry.model.declaration import DebianBase, Declaration, Environment, EnvironmentKind, InterpreterSource, ReferenceBase
from wherry.model.digest import DiffId, Digest
from wherry.model.image import BuiltLayer
from wherry.model.lock import LayerKind, Lock, PlatformLock
from wherry.model.platform import Platform
from wherry.model.progress import Progress, be_silent
from wherry.model.reference import Reference
from wherry.model.sources import ImageSources, SourceFile, SourceKind
from wherry.sources.package_sources import PackageSources
from wherry.store.disk import DiskStore
from wherry.store.images import layers_of
from wherry.store.parallel import run_jobs
from wherry.store.posix import explain_os_errors, write_atomically

_SCHEMA = 1
_WORKERS = 4
_BLOCK = 1 << 18
_MAKE_ROOM = "WHERRY_CACHE on another disk: an image is built there, from nothing"
_NOWHERE = "https://sources.invalid/debian"  # never asked: what is not carried along is an error
_KEPT_VARIABLES = ("PATH", "TMPDIR", "LANG", "LD_LIBRARY_PATH")
_OWN = (LayerKind.CODE, LayerKind.MODEL)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerProof:
    """One layer of the image. `found` is what it came out as; None: it did not come out at all. `built`: not the image's own."""

    name: str
    kind: LayerKind
    expected: DiffId | None
    found: DiffId | None
    built: bool

    @property
    def equal(self) -> bool:
        return self.expected == self.found


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What came of building one platform's image again. `differences` are sentences; there are none where all is equal."""

    platform: Platform
    expected: Digest  # the image ID
    found: Digest
    layers: tuple[LayerProof, ...]
    files: int
    size: int  # of the files, in bytes
    differences: tuple[str, ...]

    @property
    def equal(self) -> bool:
        return self.expected == self.found and all(layer.equal for layer in self.layers)


def prove_images(
    images: Sequence[ImageSources], cache: Path, env: Mapping[str, str], progress: Progress = be_silent
) -> tuple[Proof, ...]:
    """Build each image again. Below `cache` is a folder while it works, and nothing after."""
    with explain_os_errors(cache, _MAKE_ROOM):
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="rebuild-", dir=cache) as folder:
            yard = _Yard(Path(folder), env, progress)
            # First all of them: hosts of one platform may compile with what another one's image is made of.
            yard.bring(file for image in images for file in image.files)
            return tuple(yard.prove(image) for image in images)


class _Yard:
    """An empty place to build in. `root` stands for the project's folder."""

    def __init__(self, folder: Path, env: Mapping[str, str], progress: Progress) -> None:
        self._root, self._cache = folder / "project", folder / "cache"
        self._root.mkdir()
        self._store = DiskStore(folder / "store")
        kept = {name: env[name] for name in _KEPT_VARIABLES if name in env}
        self._env = {**kept, "HOME": str(self._root), "UV_OFFLINE": "1", "UV_CACHE_DIR": str(folder / "uv")}
        self._progress = progress
        self._stop = Event()

    def bring(self, files: Iterator[SourceFile]) -> None:
        """Lay files where a build looks for them first."""
        once = {(file.digest, file.file): file for file in files}
        run_jobs([partial(self._keep, file) for file in once.values()], _WORKERS, self._stop)

    def prove(self, image: ImageSources) -> Proof:
        recipe, lock = _read_document(image), parse_lock(image.lock.decode("utf-8", "replace"), "wherry.lock of the sources")
        locked = lock.for_platform(image.config.platform)
        _require_whole(locked, image)
        made, platform = self._build(recipe, lock, locked)
        own = tuple(layer for layer in layers_of(image.manifest, image.config) if layer.kind in _OWN)
        again = compose_image(replace(recipe, platforms=(platform,)), platform, own, image.config.created)
        layers = _compare(layers_of(image.manifest, image.config), (*platform.layers, *own))
        differences = [*_tell_layers(layers), *_tell_lock(locked, made), *_tell_config(image.config.raw, again.config)]
        return Proof(
            platform=image.config.platform,
            expected=image.config.digest,
            found=again.image.config,
            layers=layers,
            files=len(image.files),
            size=sum(file.size for file in image.files),
            differences=tuple(differences),
        )

    def _build(self, recipe: Recipe, lock: Lock, locked: PlatformLock) -> tuple[PlatformLock, PlatformRecipe]:
        """The layers of the lock, as if no build had ever told their digests."""
        declared = _declare(recipe, locked, self._root)
        unbuilt = replace(locked, layers=tuple(replace(layer, diff_id=None) for layer in locked.layers))
        packages = PackageSources(self._root, declared.environment.indexes, self._env, self._cache, offline=True)
        side = open_conda_side(declared, lock, self._env, self._cache, offline=True, find=(), progress=self._progress)
        with open_bases(declared, self._env, self._store, self._cache, False, True, self._progress) as bases, side as conda:
            inputs = bases.inputs(locked, lock, packages.finder(), _find_no_layer)
            source = conda_source(conda, locked, lock)
            made = assemble_layers(unbuilt, inputs, self._store, self._cache, recipe.compression, self._progress, source)
            return replace(locked, layers=made.learned), bases.recipe(locked, made.layers)

    def _keep(self, file: SourceFile) -> None:
        if file.kind is SourceKind.BASE:
            with file.open() as stream:
                self._store.put(iter(partial(stream.read, _BLOCK), b""), file.digest, file.size)
            return
        target = self._cache / "artefacts" / "sha256" / file.digest.hex / file.file
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, self._read(file), target.parent)

    def _read(self, file: SourceFile) -> Iterator[bytes]:
        hasher, done = hashlib.sha256(), 0
        with file.open() as stream:
            while block := stream.read(_BLOCK):
                hasher.update(block)
                done += len(block)
                self._progress(file.file, done, file.size)
                yield block
        if hasher.hexdigest() != file.digest.hex or done != file.size:
            raise TrustError(f"{file.file} is sha256:{hasher.hexdigest()} instead of {file.digest}", where="sources")


def _read_document(image: ImageSources) -> Recipe:
    where = "the sources' document"
    value = parse_json(image.document, where)
    if value.get("schema") != _SCHEMA:
        raise FormatError(f"schema {str(value.get('schema'))[:20]} is unknown", where=where, hint="a newer wherry")
    try:
        recipe = parse_recipe(value.get("recipe"))
    except AttributeError as error:
        raise FormatError(f"damaged: {error}", where=where) from error
    if [one.platform for one in recipe.platforms] != [image.config.platform]:
        raise FormatError(f"it is not about {image.config.platform}", where=where)
    return recipe


def _require_whole(locked: PlatformLock, image: ImageSources) -> None:
    """Everything that the lock names for the platform is there, so that nothing is looked for elsewhere."""
    have = {file.digest for file in image.files}
    named = [(deb.file, deb.sha256) for deb in locked.debs]
    named += [(wheel.file, wheel.sha256) for wheel in locked.wheels]
    named += [(record.file, record.sha256) for record in locked.records]
    if locked.interpreter.archive is not None:
        named.append((locked.interpreter.archive.file, locked.interpreter.archive.sha256))
    if locked.base is not None:
        named += [("the base's manifest", locked.base.manifest), ("the base's config", locked.base.config)]
    missing = [file for file, digest in named if digest not in have]
    if missing:
        shown = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
        raise StoreError(f"the sources lack {len(missing)} of {len(named)} files: {shown}", where=str(image.manifest.digest))


def _declare(recipe: Recipe, locked: PlatformLock, root: Path) -> Declaration:
    """A project that asks for what the lock has. Its environment is empty: nothing is resolved again."""
    suite = recipe.base_name.removeprefix("debian:")
    base = DebianBase(suite=suite) if locked.base is None else ReferenceBase(reference=Reference.parse(recipe.base_name))
    managed = locked.interpreter.archive is not None
    return Declaration(
        root=root,
        origin="sources",
        name=recipe.name,
        python=locked.interpreter.minor,
        interpreter=InterpreterSource.MANAGED if managed else InterpreterSource.BASE,
        base=base,
        platforms=(locked.platform,),
        environment=Environment(kind=EnvironmentKind.EMPTY),
        bytecode=recipe.bytecode,
        compression=recipe.compression,
        debian_mirror=_NOWHERE,
    )


def _find_no_layer(_diff_id: DiffId, _platform: Platform) -> LayerBlob | None:
    return None


def _compare(expected: Sequence[BuiltLayer], found: Sequence[BuiltLayer]) -> tuple[LayerProof, ...]:
    """Layers by name, in the image's order; then what the image does not have."""
    named = {layer.name: layer for layer in found}
    known = {layer.name for layer in expected}
    pairs = [(layer, named.get(layer.name)) for layer in expected]
    proofs = [_prove_layer(layer, layer, other) for layer, other in pairs]
    return (*proofs, *(_prove_layer(layer, None, layer) for layer in found if layer.name not in known))


def _prove_layer(layer: BuiltLayer, expected: BuiltLayer | None, found: BuiltLayer | None) -> LayerProof:
    return LayerProof(
        name=layer.name,
        kind=layer.kind,
        expected=expected.diff_id if expected else None,
        found=found.diff_id if found else None,
        built=layer.kind not in (*_OWN, LayerKind.FOREIGN),
    )


def _tell_layers(layers: Sequence[LayerProof]) -> Iterator[str]:
    for layer in layers:
        if not layer.equal:
            had, given = layer.expected or "none", layer.found or "none"
            yield f"layer {layer.name} ({layer.kind.value}): the image has {had}, its sources give {given}"


def _tell_lock(locked: PlatformLock, made: PlatformLock) -> Iterator[str]:
    """Layers of the lock that came out as something else than it says."""
    found = {layer.name: layer.diff_id for layer in made.layers}
    for layer in locked.layers:
        if layer.diff_id is not None and layer.diff_id != found.get(layer.name):
            yield f"layer {layer.name}: the lock says {layer.diff_id}, its sources give {found.get(layer.name) or 'none'}"


def _tell_config(expected: bytes, found: bytes) -> Iterator[str]:
    """Members of the config that differ, but for the layers, which are told by name."""
    ours: dict[str, Any] = json.loads(expected)
    theirs: dict[str, Any] = json.loads(found)
    for one in (ours, theirs):
        one.update({f"config.{key}": value for key, value in (one.pop("config", None) or {}).items()})
        one.pop("rootfs", None)
    for key in sorted(ours.keys() | theirs.keys()):
        if ours.get(key) != theirs.get(key):
            yield f"{key}: the image has {_short(ours.get(key))}, its sources give {_short(theirs.get(key))}"


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else f"{text[:100]}…"
