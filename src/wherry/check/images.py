"""Examines images: of the store, in an archive, or wherever their layers come from. Layers whose facts are known are not read.

A layer is believed only when its tar is what its diff_id says; facts of one that is not are never kept.
"""

from __future__ import annotations

import hashlib
import tempfile
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from wherry.check.contents import CONTENTS_KIND, LayerContents, read_contents
from wherry.check.doctor import examine_layers
from wherry.check.facts import Facts, LayerCache, Learned, open_fact_cache
from wherry.check.gpu import DeclaredGpu
from wherry.check.maintainer_scripts import judge_locked_scripts
from wherry.check.scan import scan_layer
from wherry.check.tree import LayeredTree
from wherry.errors import StoreError, TrustError
from wherry.model.digest import DiffId
from wherry.model.image import BuiltLayer
from wherry.model.lock import PlatformLock
from wherry.model.oci import ImageConfig
from wherry.model.platform import Platform
from wherry.model.progress import Progress, be_silent
from wherry.model.report import Report, order_findings
from wherry.store.archive import load_archive, read_layer
from wherry.store.disk import DiskStore
from wherry.store.images import StoredImage, find_missing, read_images
from wherry.store.parallel import run_jobs

_WORKERS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSource:
    """`built` is what manifest and history say of it; `open` gives its tar, uncompressed."""

    built: BuiltLayer
    open: Callable[[], Iterator[bytes]]

    @property
    def diff_id(self) -> DiffId:
        return self.built.diff_id


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSubject:
    name: str
    platform: Platform
    config: ImageConfig
    layers: tuple[LayerSource, ...]


def describe_stored(store: DiskStore, image: StoredImage, name: str) -> ImageSubject:
    """An image of a store."""
    layers = (LayerSource(built=layer, open=partial(read_layer, store, layer.digest, layer.diff_id)) for layer in image.layers)
    return ImageSubject(name=name, platform=image.platform, config=image.config, layers=tuple(layers))


def lacks_layers(store: DiskStore, image: StoredImage, cache: Path) -> bool:
    """Whether blobs are missing that an examination would have to read."""
    missing = {part.digest for part in find_missing(store, image.manifest)}
    facts = open_fact_cache(cache)
    return any(layer.digest in missing and facts.find(layer.diff_id) is None for layer in image.layers)


def examine_archive(
    path: Path,
    platforms: Sequence[Platform],
    cache: Path,
    progress: Progress = be_silent,
    *,
    files: bool = False,
    measured: bool = False,
    gpu: DeclaredGpu | None = None,
) -> tuple[Report, ...]:
    """All images of an archive that `docker save` and its like wrote. Nothing of it stays in a store."""
    with describe_archive(path, platforms) as subjects:
        return tuple(examine_image(each, cache, progress, files=files, measured=measured, gpu=gpu) for each in subjects)


@contextmanager
def describe_archive(path: Path, platforms: Sequence[Platform]) -> Iterator[tuple[ImageSubject, ...]]:
    """The images of an archive, of all platforms or these, for as long as they are looked at."""
    with tempfile.TemporaryDirectory(prefix="wherry-check-") as folder:
        store = DiskStore(Path(folder) / "store")
        try:
            with path.open("rb") as file:
                names = load_archive(store, file, where=str(path))
        except OSError as error:
            raise StoreError(f"cannot be read: {error.strerror}", where=str(path), hint="an archive, or a wheel") from error
        first = {store.resolve(name).digest: name for name in reversed(names)}  # an image that has two names is told once
        found = [(name, image) for name in first.values() for image in read_images(store, store.resolve(name))]
        chosen = choose_platforms(found, platforms, str(path))
        yield tuple(describe_stored(store, image, name) for name, image in chosen)


def choose_platforms(
    images: Sequence[tuple[str, StoredImage]], platforms: Sequence[Platform], where: str
) -> list[tuple[str, StoredImage]]:
    """Those for `platforms`, or all; none at all is a `StoreError`."""
    chosen = [(name, image) for name, image in images if not platforms or image.platform in platforms]
    if not chosen:
        have = ", ".join(sorted({str(image.platform) for _, image in images})) or "no image"
        raise StoreError(f"not for {', '.join(map(str, platforms)) or 'any platform'}, but for {have}", where=where)
    return chosen


def examine_image(
    subject: ImageSubject,
    cache: Path,
    progress: Progress = be_silent,
    *,
    files: bool = False,
    locked: PlatformLock | None = None,
    measured: bool = False,
    gpu: DeclaredGpu | None = None,
) -> Report:
    """Read what is not known of the layers, and judge the root that they make.

    With `files` every file is held against what its publisher says, and with `locked` the distributions against a lock;
    with `measured` the report has sizes. `gpu` is what is known of the target.
    """
    facts = _learn(subject.layers, open_fact_cache(cache), scan_layer, progress)
    contents = None
    if files:
        known = LayerCache(cache, CONTENTS_KIND, LayerContents)
        contents = _learn(subject.layers, known, read_contents, progress)
    built = [layer.built for layer in subject.layers] if measured else None
    report = examine_layers(
        facts, subject.name, subject.platform, subject.config, contents=contents, locked=locked, measured=built, gpu=gpu
    )
    unpacked = [deb for deb in locked.debs if deb.name in report.packages] if locked else ()
    unrun = list(judge_locked_scripts(unpacked, cache))
    return replace(report, findings=order_findings([*report.findings, *unrun])) if unrun else report


def list_paths(subject: ImageSubject, cache: Path, progress: Progress = be_silent) -> Collection[str]:
    """What lies in an image's root."""
    return LayeredTree(_learn(subject.layers, open_fact_cache(cache), scan_layer, progress)).entries.keys()


def read_facts(layers: Sequence[LayerSource], cache: Path, progress: Progress = be_silent) -> list[Facts]:
    """The facts of layers, in their order; those that are not known are read."""
    return _learn(layers, open_fact_cache(cache), scan_layer, progress)


def read_digests(layers: Sequence[LayerSource], cache: Path, progress: Progress = be_silent) -> list[LayerContents]:
    """The digests of all files of layers, in their order."""
    return _learn(layers, LayerCache(cache, CONTENTS_KIND, LayerContents), read_contents, progress)


def _learn(
    layers: Sequence[LayerSource],
    cache: LayerCache[Learned],
    read: Callable[[Iterable[bytes], str], Learned],
    progress: Progress,
) -> list[Learned]:
    learned = {layer.diff_id: cache.find(layer.diff_id) for layer in layers}
    unknown = list({layer.diff_id: layer for layer in layers if learned[layer.diff_id] is None}.values())
    done = 0

    def learn(layer: LayerSource) -> None:
        nonlocal done
        learned[layer.diff_id] = found = read(_verify(layer.open(), layer.diff_id), f"layer {layer.diff_id}")
        cache.keep(layer.diff_id, found)
        done += 1
        progress("reading layers", done, len(unknown))

    run_jobs([partial(learn, layer) for layer in unknown], _WORKERS, threading.Event())
    return [found for layer in layers if (found := learned[layer.diff_id]) is not None]


def _verify(chunks: Iterable[bytes], diff_id: DiffId) -> Iterator[bytes]:
    hasher = hashlib.sha256()
    for chunk in chunks:
        hasher.update(chunk)
        yield chunk
    if hasher.hexdigest() != diff_id.hex:
        raise TrustError(f"a layer's tar is sha256:{hasher.hexdigest()}, its image says {diff_id}", hint="pull or build it again")
