"""Images out of a registry: whole ones into the store, and bases of which only the documents are read.

Rules: layers first, then manifests, the index last, so that a store never shows an image that is not whole; every blob
is verified by digest and size; a pull that broke off goes on where it was, with what it left in the cache folder.
Pinning a base downloads a manifest and a config, no layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from wherry.errors import FormatError, StoreError, TrustError
from wherry.formats.oci_json import parse_any_manifest, parse_config, parse_manifest
from wherry.model.digest import Digest
from wherry.model.lock import LockedBase
from wherry.model.oci import BASE_DIGEST, BASE_NAME, LAYER_NAME, Descriptor, ImageConfig, Index, Manifest
from wherry.model.platform import Platform
from wherry.model.progress import Progress, be_silent
from wherry.model.reference import Reference
from wherry.sources.registries import RegistryAccess
from wherry.store.disk import BlobWriter, DiskStore
from wherry.store.parallel import run_jobs
from wherry.store.registry import RegistryStore, choose_platform

_WORKERS = 4
_MAX_DEPTH = 4
_MAX_MANIFESTS = 200
_BLOCK = 1 << 17


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedBase:
    """A base image of one platform, by digest. `reference` has the manifest's digest and the tag that was asked for."""

    reference: Reference
    manifest: Manifest
    config: ImageConfig

    @property
    def locked(self) -> LockedBase:
        return LockedBase(
            name=name_in_lock(self.reference),
            manifest=self.manifest.digest,
            config=self.config.digest,
            diff_ids=self.config.diff_ids,
        )


def name_in_lock(reference: Reference) -> str:
    """A reference as the lock writes it: without the registry, which is configuration, and without the digest."""
    return f"{reference.repository}:{reference.tag}" if reference.tag else reference.repository


class BaseImages:
    """Bases of registries for the stages that lock and assemble."""

    def __init__(self, access: RegistryAccess) -> None:
        self._access = access

    def pin_base(self, reference: Reference, platform: Platform) -> PinnedBase:
        """Resolve a reference to what it means now, for a platform; reads no layer."""
        source = self._access.open(reference)
        descriptor, raw = source.resolve(reference, platform)
        manifest = parse_manifest(raw, where=str(reference))
        with source.open_sized(manifest.config.digest, manifest.config.size) as file:
            config = parse_config(file.read(), where=f"{reference}: config")
        _check_pair(manifest, config, platform, str(reference))
        for layer in manifest.layers:
            self._access.sightings.record(reference.registry, layer.digest, reference.repository)
        pinned = Reference(reference.registry, reference.repository, reference.tag, descriptor.digest)
        return PinnedBase(reference=pinned, manifest=manifest, config=config)

    def open_blob(self, reference: Reference, digest: Digest, size: int | None = None) -> BinaryIO:
        """A layer of a base as a stream that is verified at its end."""
        return self._access.open(reference).open_sized(digest, size)

    def fetch_layer(self, reference: Reference, layer: Descriptor, store: DiskStore, progress: Progress = be_silent) -> None:
        """Bring one layer of a base into the store, unless it is there."""
        if not store.has(layer.digest):
            source = self._access.open(reference)
            fetch_blob(source, store, layer, self._access.cache, _report(layer, progress))


def complete_image(access: RegistryAccess, store: DiskStore, image: Manifest, progress: Progress = be_silent) -> None:
    """Bring the layers of the image's base, which a build names without fetching them, into the store."""
    missing = [layer for layer in image.layers if not (store.has(layer.digest) and store.size(layer.digest) == layer.size)]
    if not missing:
        return
    name = image.annotations.get(BASE_NAME, "")
    if not name or not image.annotations.get(BASE_DIGEST):
        raise StoreError(f"{len(missing)} layers are not here", where=str(store.root), hint="build or pull the image again")
    origin, bases = Reference.parse(name), BaseImages(access)
    jobs = [lambda layer=layer: bases.fetch_layer(origin, layer, store, progress) for layer in missing]
    with store.in_use():
        run_jobs(jobs, _WORKERS, access.stop)


def fetch_image(
    access: RegistryAccess,
    store: DiskStore,
    reference: Reference,
    platforms: Sequence[Platform] | None = None,
    progress: Progress = be_silent,
) -> Descriptor:
    """Bring an image into the store, all platforms of it or those named; gives what to tag. What is there is not moved."""
    source = access.open(reference)
    with store.in_use():
        documents = list(_walk(source, *source.resolve(reference), platforms, str(reference)))
        blobs = {
            part.digest: part
            for _, document in documents
            if isinstance(document, Manifest)
            for part in (document.config, *document.layers)
        }
        missing = [part for part in blobs.values() if not (store.has(part.digest) and store.size(part.digest) == part.size)]
        jobs = [_fetch_job(source, store, part, access.cache, progress) for part in missing]
        run_jobs(jobs, _WORKERS, access.stop)
        _check_configs(store, documents, str(reference))
        for _, document in reversed(documents):
            store.put_bytes(document.raw)
    for digest in blobs:
        access.sightings.record(reference.registry, digest, reference.repository)
    return documents[0][0]


def fetch_blob(
    source: RegistryStore, store: DiskStore, blob: Descriptor, cache: Path | None, report: Callable[[int], None]
) -> None:
    """Bring one blob into the store, going on with what an earlier attempt left in `cache`."""
    partial = cache / "partial" / blob.digest.hex if cache else None
    with store.begin() as writer:
        offset = _take_partial(partial, writer, blob.size)
        try:
            _copy(source, blob, writer, offset, report)
        except TrustError:
            if partial:
                partial.unlink(missing_ok=True)
            if not offset:
                raise
        except BaseException:
            if partial and writer.size > offset:
                with suppress(OSError, StoreError):  # the next pull starts anew, that is all
                    writer.keep(partial)
            raise
        else:
            writer.commit()
            if partial:
                partial.unlink(missing_ok=True)
            return
    # What the cache had was not the beginning of this blob: once more, from the registry alone.
    fetch_blob(source, store, blob, None, report)


def _copy(source: RegistryStore, blob: Descriptor, writer: BlobWriter, offset: int, report: Callable[[int], None]) -> None:
    reader = source.reader(blob.digest, blob.size, offset=offset, hasher=_WriterHash(writer))
    with reader:
        while chunk := reader.read(_BLOCK):
            writer.write(chunk)
            report(writer.size)


class _WriterHash:
    """Lets the reader verify with the digest that the writer computes anyway."""

    def __init__(self, writer: BlobWriter) -> None:
        self._writer = writer

    def update(self, data: Any, /) -> None:
        """The writer sees the same bytes."""

    def hexdigest(self) -> str:
        return self._writer.digest.hex


def _take_partial(partial: Path | None, writer: BlobWriter, size: int) -> int:
    if partial is None:
        return 0
    try:
        with partial.open("rb") as file:
            while writer.size < size and (block := file.read(min(_BLOCK, size - writer.size))):
                writer.write(block)
    except FileNotFoundError:
        return 0
    except OSError:
        return writer.size
    return writer.size


def _fetch_job(
    source: RegistryStore, store: DiskStore, blob: Descriptor, cache: Path | None, progress: Progress
) -> Callable[[], None]:
    return lambda: fetch_blob(source, store, blob, cache, _report(blob, progress))


def _report(blob: Descriptor, progress: Progress) -> Callable[[int], None]:
    name = blob.annotations.get(LAYER_NAME) or blob.digest.hex[:12]
    return lambda done: progress(name, done, blob.size)


def _walk(
    source: RegistryStore,
    descriptor: Descriptor,
    raw: bytes,
    platforms: Sequence[Platform] | None,
    where: str,
    depth: int = 0,
) -> Iterator[tuple[Descriptor, Manifest | Index]]:
    """A manifest or index and what it points at, as far as it was asked for."""
    if depth > _MAX_DEPTH:
        raise FormatError("indexes nested too deep", where=where)
    document = parse_any_manifest(raw, where=where)
    yield descriptor, document
    if isinstance(document, Index):
        chosen = document.manifests
        if platforms is not None:
            chosen = tuple(choose_platform(document, platform, where) for platform in platforms)
        if len(chosen) > _MAX_MANIFESTS:
            raise FormatError(f"an index of {len(chosen)} manifests", where=where)
        for inner in dict.fromkeys(part.digest for part in chosen):
            yield from _walk(source, *source.read_manifest(inner), None, where, depth + 1)


def _check_configs(store: DiskStore, documents: Sequence[tuple[Descriptor, Manifest | Index]], where: str) -> None:
    """Refuse an image whose config does not fit its layers, before it is shown."""
    for _, document in documents:
        if isinstance(document, Manifest) and "image" in document.config.media_type and document.layers:
            config = parse_config(store.read_bytes(document.config.digest), where=f"{where}: config")
            if document.artifact_type is None and config.platform.os != "unknown":
                _check_pair(document, config, None, where)


def _check_pair(manifest: Manifest, config: ImageConfig, platform: Platform | None, where: str) -> None:
    if len(config.diff_ids) != len(manifest.layers):
        raise FormatError(f"{len(manifest.layers)} layers, but {len(config.diff_ids)} in the config", where=where)
    own = (config.platform.os, config.platform.architecture)
    if platform is not None and own != (platform.os, platform.architecture):
        raise StoreError(f"the image is for {config.platform}, not for {platform}", where=where, hint="another tag")
