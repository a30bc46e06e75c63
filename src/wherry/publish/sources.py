"""What an image was made of, attached to the image in its registry (docs/spec/sources.md).

One artifact for each platform's manifest, which is its subject. Every file is a blob by its own digest, so what several
images have in common lies there once: it is not sent again, or mounted from another repository. Files come first and the
artifact last, so that what broke off has no name and is gone on with by the next push.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, cast

from wherry.formats.oci_json import render_manifest
from wherry.model.digest import Digest
from wherry.model.oci import Descriptor
from wherry.model.progress import Progress, be_silent
from wherry.model.reference import Reference
from wherry.model.sources import FILE_KIND, FILE_NAME, SOURCE_FILE, SOURCES, SOURCES_DOCUMENT, SOURCES_LOCK, ImageSources
from wherry.publish.push import MovedBlob, Way
from wherry.sources.registries import RegistryAccess
from wherry.store.parallel import run_jobs
from wherry.store.registry import RegistryStore
from wherry.store.registry_referrers import attach_referrer
from wherry.store.registry_upload import Upload

_WORKERS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachedSources:
    """`artifacts` are in the order of the images; `blobs` are all their files, each once."""

    artifacts: tuple[Digest, ...]
    blobs: tuple[MovedBlob, ...]

    def size(self, *ways: Way) -> int:
        """Bytes of the files that went one of these ways."""
        return sum(blob.size for blob in self.blobs if blob.way in ways)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Blob:
    name: str
    descriptor: Descriptor
    open: Callable[[], BinaryIO]


def push_sources(
    access: RegistryAccess, images: Sequence[ImageSources], destination: Reference, progress: Progress = be_silent
) -> AttachedSources:
    """Attach the sources of images that lie in the destination's repository already."""
    repository = access.open(destination, push=True)
    listed = [_list_blobs(image) for image in images]
    blobs = {blob.descriptor.digest: blob for each in listed for blob in each}
    moved: dict[Digest, MovedBlob] = {}
    turn = threading.Lock()

    def move(blob: _Blob) -> None:
        way = _move(blob, access, repository, progress)
        with turn:
            moved[blob.descriptor.digest] = _moved(blob, way)

    big_first = sorted(blobs.values(), key=lambda blob: -blob.descriptor.size)
    run_jobs([partial(move, blob) for blob in big_first], _WORKERS, access.stop)
    artifacts = []
    for image, parts in zip(images, listed, strict=True):
        raw = render_artifact(image, [blob.descriptor for blob in parts])
        artifacts.append(attach_referrer(repository, raw, image.manifest.digest, SOURCES).digest)
    return AttachedSources(artifacts=tuple(artifacts), blobs=tuple(moved[digest] for digest in blobs))


def survey_sources(access: RegistryAccess, images: Sequence[ImageSources], destination: Reference) -> AttachedSources:
    """What `push_sources` would move, from questions alone."""
    repository = access.open(destination, push=False)
    blobs = {blob.descriptor.digest: blob for image in images for blob in _list_blobs(image)}
    moved = (_moved(blob, Way.THERE if repository.has(digest) else Way.SENT) for digest, blob in blobs.items())
    return AttachedSources(artifacts=(), blobs=tuple(moved))


def render_artifact(image: ImageSources, parts: Sequence[Descriptor]) -> bytes:
    """The artifact's manifest; `parts` begin with the document and the lock."""
    subject = Descriptor(media_type=image.manifest.media_type, digest=image.manifest.digest, size=len(image.manifest.raw))
    return render_manifest(config=parts[0], layers=parts[1:], subject=subject, artifact_type=SOURCES)


def _list_blobs(image: ImageSources) -> list[_Blob]:
    blobs = [_document("recipe", SOURCES_DOCUMENT, image.document), _document("wherry.lock", SOURCES_LOCK, image.lock)]
    for file in image.files:
        said = {FILE_NAME: file.file, FILE_KIND: file.kind.value}
        descriptor = Descriptor(media_type=SOURCE_FILE, digest=file.digest, size=file.size, annotations=said)
        blobs.append(_Blob(name=file.file, descriptor=descriptor, open=file.open))
    return blobs


def _document(name: str, media_type: str, raw: bytes) -> _Blob:
    descriptor = Descriptor(media_type=media_type, digest=Digest.of(raw), size=len(raw))
    return _Blob(name=name, descriptor=descriptor, open=lambda: cast(BinaryIO, io.BytesIO(raw)))


def _move(blob: _Blob, access: RegistryAccess, repository: RegistryStore, progress: Progress) -> Way:
    digest, size = blob.descriptor.digest, blob.descriptor.size
    known = access.sightings.repositories(repository.registry, digest)
    others = [name for name in known if name != repository.repository][:2]
    if repository.has(digest):
        way = Way.THERE
    elif any(repository.mount(digest, name) for name in others):
        way = Way.MOUNTED
    else:
        report = partial(_report, progress, blob.name, size)
        repository.upload(Upload(digest=digest, size=size, open=blob.open, report=report))
        way = Way.SENT
    access.sightings.record(repository.registry, digest, repository.repository)
    progress(blob.name, size, size)
    return way


def _moved(blob: _Blob, way: Way) -> MovedBlob:
    return MovedBlob(name=blob.name, digest=blob.descriptor.digest, size=blob.descriptor.size, way=way)


def _report(progress: Progress, name: str, size: int, done: int) -> None:
    progress(name, done, size)
