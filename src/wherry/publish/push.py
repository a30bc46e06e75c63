"""An image out of the store into a registry.

`plan_push` reads the store and decides what has to be there; `push_image` makes it so: blobs first, a few at once, then
the manifests by digest, the index after what it points at, the tag last. So a push that breaks off at any moment has
changed nothing that has a name, and the next one goes on. For each blob, the cheapest way that works: it is there
already, the registry mounts it from another of its repositories, it comes from the store, or it streams from the
registry of the image's base, whose layers need not be here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import BinaryIO

from wherry.errors import FormatError, StoreError, UsageError
from wherry.formats.oci_json import MAX_DOCUMENT, parse_any_manifest, parse_config, render_index
from wherry.model.digest import Digest
from wherry.model.oci import BASE_DIGEST, BASE_NAME, CONDA_CHANNELS, INDEX, LAYER_NAME, Descriptor, Index, Manifest
from wherry.model.platform import Platform
from wherry.model.progress import Progress, be_silent
from wherry.model.reference import Reference
from wherry.publish.versions import assign_version
from wherry.sources.registries import RegistryAccess
from wherry.store.disk import DiskStore
from wherry.store.parallel import run_jobs
from wherry.store.registry import RegistryStore, choose_platform
from wherry.store.registry_upload import Upload

_WORKERS = 4
_MAX_DEPTH = 4
_FOREIGN = ("nondistributable", ".foreign.")


class Way(Enum):
    """How a blob gets to its destination."""

    THERE = "there"
    MOUNTED = "mounted"
    SENT = "sent"
    STREAMED = "streamed"  # from the base's registry
    FOREIGN = "foreign"  # a layer that registries do not keep


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedBlob:
    """A blob of the image. `local` says whether the store has it, `origin` where its base came from, if it has one."""

    descriptor: Descriptor
    local: bool
    origin: Reference | None = None

    @property
    def name(self) -> str:
        return self.descriptor.annotations.get(LAYER_NAME) or self.descriptor.digest.hex[:12]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedDocument:
    descriptor: Descriptor
    raw: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PushPlan:
    """What must be at the destination. `documents` are in the order of sending; the last is the image itself.
    `elsewhere` are manifests of an index that the store does not have and the destination must. `channels` are conda's
    of which the image has packages."""

    documents: tuple[PlannedDocument, ...]
    blobs: tuple[PlannedBlob, ...]
    elsewhere: tuple[Descriptor, ...] = ()
    channels: tuple[str, ...] = ()

    @property
    def target(self) -> PlannedDocument:
        return self.documents[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class MovedBlob:
    name: str
    digest: Digest
    size: int
    way: Way


@dataclass(frozen=True, slots=True, kw_only=True)
class PushResult:
    """`reference` has the tag and the digest of what was pushed (without a digest's tag in a dry run)."""

    reference: Reference
    blobs: tuple[MovedBlob, ...]

    def size(self, *ways: Way) -> int:
        """Bytes of the blobs that went one of these ways."""
        return sum(blob.size for blob in self.blobs if blob.way in ways)


def plan_push(store: DiskStore, image: Descriptor, platforms: Sequence[Platform] | None = None) -> PushPlan:
    """What a push of the image, or of some of its platforms, has to bring: one platform is pushed as its own manifest,
    several as an index of just these."""
    chosen, made = _choose(store, image, platforms)
    documents: list[PlannedDocument] = []
    blobs: dict[Digest, PlannedBlob] = {}
    elsewhere: list[Descriptor] = []
    channels: set[str] = set()
    for descriptor, document in _walk(store, chosen, made, elsewhere):
        documents.append(PlannedDocument(descriptor=descriptor, raw=document.raw))
        if isinstance(document, Manifest):
            channels.update(filter(None, document.annotations.get(CONDA_CHANNELS, "").split(",")))
            for blob in _plan_blobs(store, document):
                blobs.setdefault(blob.descriptor.digest, blob)
    return PushPlan(
        documents=tuple(documents), blobs=tuple(blobs.values()), elsewhere=tuple(elsewhere), channels=tuple(sorted(channels))
    )


def push_image(
    access: RegistryAccess, store: DiskStore, plan: PushPlan, destination: Reference, progress: Progress = be_silent
) -> PushResult:
    """Bring what is planned to the destination; a reference without a tag gets the next version number."""
    _check_destination(destination)
    repository = access.open(destination, push=True)
    pusher = _Pusher(access, store, repository, progress)
    moved: tuple[MovedBlob, ...] = ()
    target = plan.target
    if repository.find_manifest(target.descriptor.digest) is None:
        _check_elsewhere(repository, plan)
        moved = pusher.move_blobs(plan.blobs)
        for document in plan.documents[:-1]:
            repository.put_manifest(document.raw, document.descriptor.media_type)
    else:
        moved = tuple(_moved(blob, Way.THERE) for blob in plan.blobs)
    if destination.tag:
        repository.put_manifest(target.raw, target.descriptor.media_type, destination.tag)
        tag = destination.tag
    else:
        repository.put_manifest(target.raw, target.descriptor.media_type)
        tag = assign_version(repository, target.raw, target.descriptor.media_type)
    return PushResult(reference=replace(destination, tag=tag, digest=target.descriptor.digest), blobs=moved)


def survey_push(access: RegistryAccess, plan: PushPlan, destination: Reference) -> PushResult:
    """What a push would move, from questions alone. What may be mounted counts as sent: mounting is a change."""
    _check_destination(destination)
    repository = access.open(destination, push=False)
    whole = repository.find_manifest(plan.target.descriptor.digest) is not None
    moved = [_moved(blob, Way.THERE if whole or repository.has(blob.descriptor.digest) else _own_way(blob)) for blob in plan.blobs]
    return PushResult(reference=replace(destination, digest=plan.target.descriptor.digest), blobs=tuple(moved))


class _Pusher:
    """Moves the blobs of one push."""

    def __init__(self, access: RegistryAccess, store: DiskStore, repository: RegistryStore, progress: Progress) -> None:
        self._access = access
        self._store = store
        self._repository = repository
        self._progress = progress

    def move_blobs(self, blobs: Sequence[PlannedBlob]) -> tuple[MovedBlob, ...]:
        moved: dict[Digest, MovedBlob] = {}
        lock = threading.Lock()

        def job(blob: PlannedBlob) -> Callable[[], None]:
            def move() -> None:
                way = self._move(blob)
                with lock:
                    moved[blob.descriptor.digest] = _moved(blob, way)

            return move

        big_first = sorted(blobs, key=lambda blob: -blob.descriptor.size)
        run_jobs([job(blob) for blob in big_first], _WORKERS, self._access.stop)
        return tuple(moved[blob.descriptor.digest] for blob in blobs)

    def _move(self, blob: PlannedBlob) -> Way:
        digest, size = blob.descriptor.digest, blob.descriptor.size
        way = Way.FOREIGN
        if self._repository.has(digest):
            way = Way.THERE
        elif self._mount(blob):
            way = Way.MOUNTED
        elif blob.local:
            self._send(blob, lambda: self._store.open(digest), seekable=True)
            way = Way.SENT
        elif blob.origin is not None:
            origin = self._access.open(blob.origin)
            self._send(blob, lambda: origin.open_sized(digest, size), seekable=False)
            way = Way.STREAMED
        elif not _is_foreign(blob.descriptor):
            raise StoreError(
                f"layer {blob.name} ({digest}) is neither here nor at {self._repository}",
                hint="build or pull the image again",
            )
        if way is not Way.FOREIGN:
            self._access.sightings.record(self._repository.registry, digest, self._repository.repository)
            self._progress(blob.name, size, size)
        return way

    def _mount(self, blob: PlannedBlob) -> bool:
        known = self._access.sightings.repositories(self._repository.registry, blob.descriptor.digest)
        base = blob.origin
        own = (base.repository,) if base and base.registry == self._repository.registry else ()
        candidates = [name for name in dict.fromkeys((*known, *own)) if name != self._repository.repository]
        return any(self._repository.mount(blob.descriptor.digest, name) for name in candidates[:2])

    def _send(self, blob: PlannedBlob, opener: Callable[[], BinaryIO], *, seekable: bool) -> None:
        size = blob.descriptor.size
        upload = Upload(
            digest=blob.descriptor.digest,
            size=size,
            open=opener,
            report=lambda done: self._progress(blob.name, done, size),
            seekable=seekable,
        )
        self._repository.upload(upload)


def _choose(store: DiskStore, image: Descriptor, platforms: Sequence[Platform] | None) -> tuple[Descriptor, bytes | None]:
    """The document to push, and its bytes if it had to be made."""
    if not platforms:
        return image, None
    document = parse_any_manifest(store.read_bytes(image.digest), where=str(image.digest))
    if not isinstance(document, Index):
        _require_platforms(store, document, platforms)
        return image, None
    chosen = tuple(choose_platform(document, platform, "the image") for platform in platforms)
    if len(chosen) == 1:
        return chosen[0], None
    raw = render_index(chosen, document.annotations)
    return Descriptor(media_type=INDEX, digest=Digest.of(raw), size=len(raw)), raw


def _require_platforms(store: DiskStore, manifest: Manifest, platforms: Sequence[Platform]) -> None:
    """A manifest without an index is of one platform: the one that was asked for, or nothing is pushed."""
    own = parse_config(store.read_bytes(manifest.config.digest), where=str(manifest.config.digest)).platform
    for platform in platforms:
        if platform != own:
            raise StoreError(f"no image for {platform}", where="the image", hint=f"there are: {own}")


def _walk(
    store: DiskStore, descriptor: Descriptor, made: bytes | None, elsewhere: list[Descriptor], depth: int = 0
) -> Iterator[tuple[Descriptor, Manifest | Index]]:
    """Documents, each after those that it points at."""
    raw = made if made is not None else store.read_bytes(descriptor.digest)
    if len(raw) > MAX_DOCUMENT or depth > _MAX_DEPTH:
        raise FormatError("a manifest that no registry takes: too large or nested too deep", where=str(descriptor.digest))
    document = parse_any_manifest(raw, where=str(descriptor.digest))
    if isinstance(document, Index):
        for inner in document.manifests:
            if store.has(inner.digest):
                yield from _walk(store, inner, None, elsewhere, depth + 1)
            else:
                elsewhere.append(inner)
    yield replace(descriptor, media_type=document.media_type), document


def _plan_blobs(store: DiskStore, manifest: Manifest) -> Iterator[PlannedBlob]:
    origin = _origin(manifest)
    for part in (*manifest.layers, manifest.config):
        local = store.has(part.digest) and store.size(part.digest) == part.size
        yield PlannedBlob(descriptor=part, local=local, origin=origin if part is not manifest.config else None)


def _origin(manifest: Manifest) -> Reference | None:
    """Where the image's base lies, if it came from a registry."""
    name = manifest.annotations.get(BASE_NAME)
    if not name or not manifest.annotations.get(BASE_DIGEST):
        return None
    try:
        return Reference.parse(name)
    except (UsageError, FormatError):
        return None


def _own_way(blob: PlannedBlob) -> Way:
    if blob.local:
        return Way.SENT
    return Way.STREAMED if blob.origin else Way.FOREIGN


def _moved(blob: PlannedBlob, way: Way) -> MovedBlob:
    return MovedBlob(name=blob.name, digest=blob.descriptor.digest, size=blob.descriptor.size, way=way)


def _is_foreign(descriptor: Descriptor) -> bool:
    return any(word in descriptor.media_type for word in _FOREIGN)


def _check_destination(destination: Reference) -> None:
    if destination.digest:
        raise UsageError(f"cannot push to a digest: {destination}", hint=f"{destination.name}:TAG, or {destination.name}")


def _check_elsewhere(repository: RegistryStore, plan: PushPlan) -> None:
    for missing in plan.elsewhere:
        if repository.find_manifest(missing.digest) is None:
            platform = f" for {missing.platform}" if missing.platform else ""
            raise StoreError(
                f"the image{platform} ({missing.digest}) is not in the store",
                hint="--platform with those that are, or pull it with --platform all",
            )
