"""Reads what an image was made of from its registry (docs/spec/sources.md): the artifact that refers to the image.

Nothing but documents is read here; a file comes when somebody opens it, and is verified by its digest at its end. Refused: an
artifact of another image, files whose names are paths, documents above 4 MiB (a lock above 16).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial

from wherry.errors import FormatError, StoreError
from wherry.formats.lockfile import MAX_LOCK
from wherry.formats.oci_json import MAX_DOCUMENT, parse_any_manifest, parse_config, parse_manifest
from wherry.model.oci import Descriptor, Index, Manifest
from wherry.model.platform import Platform
from wherry.model.reference import Reference
from wherry.model.sources import FILE_KIND, FILE_NAME, SOURCES, ImageSources, SourceFile, SourceKind
from wherry.sources.registries import RegistryAccess
from wherry.store.registry import RegistryStore, choose_platform
from wherry.store.registry_referrers import list_referrers

_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+~!%:=-]*")
_MOST_FILES = 20_000


def read_attached(access: RegistryAccess, reference: Reference, platforms: Sequence[Platform] = ()) -> tuple[ImageSources, ...]:
    """The sources of each platform of an image, or of those asked for. A platform that has none is a `StoreError`."""
    repository = access.open(reference)
    _, raw = repository.resolve(reference)
    found = [
        _read_image(repository, manifest, str(reference)) for manifest in _manifests(repository, raw, platforms, str(reference))
    ]
    if not found:
        raise StoreError("no image in it", where=str(reference))
    return tuple(found)


def _manifests(repository: RegistryStore, raw: bytes, platforms: Sequence[Platform], where: str) -> Iterator[Manifest]:
    document = parse_any_manifest(raw, where=where)
    if isinstance(document, Manifest):
        yield document
        return
    for descriptor in _choose(document, platforms, where):
        yield parse_manifest(repository.read_manifest(descriptor.digest)[1], where=where)


def _choose(index: Index, platforms: Sequence[Platform], where: str) -> tuple[Descriptor, ...]:
    if platforms:
        return tuple(choose_platform(index, platform, where) for platform in platforms)
    return tuple(one for one in index.manifests if one.platform is not None and one.platform.os != "unknown")


def _read_image(repository: RegistryStore, image: Manifest, where: str) -> ImageSources:
    listed = list_referrers(repository, image.digest, SOURCES)
    if not listed:
        raise StoreError("this image carries no sources", where=where, hint="wherry push --sources, where it was built")
    artifact = parse_manifest(repository.read_manifest(listed[-1].digest)[1], where=f"{where}: sources")
    if artifact.subject is None or artifact.subject.digest != image.digest:
        raise FormatError("these are the sources of another image", where=where)
    if not artifact.layers or len(artifact.layers) > _MOST_FILES:
        raise FormatError(f"sources of {len(artifact.layers)} files", where=where)
    return ImageSources(
        manifest=image,
        config=parse_config(_read(repository, image.config, MAX_DOCUMENT, where), where=f"{where}: config"),
        document=_read(repository, artifact.config, MAX_DOCUMENT, where),
        lock=_read(repository, artifact.layers[0], MAX_LOCK, where),
        files=tuple(_read_file(repository, layer, where) for layer in artifact.layers[1:]),
    )


def _read_file(repository: RegistryStore, layer: Descriptor, where: str) -> SourceFile:
    name = layer.annotations.get(FILE_NAME, "")
    if len(name) > 255 or not _FILE.fullmatch(name):
        raise FormatError(f"no name of a file: {name[:80]!r}", where=f"{where}: sources")
    try:
        kind = SourceKind(layer.annotations.get(FILE_KIND, ""))
    except ValueError:
        raise FormatError(f"an unknown kind of source: {name}", where=f"{where}: sources", hint="a newer wherry") from None
    opener = partial(repository.open_sized, layer.digest, layer.size)
    return SourceFile(kind=kind, file=name, digest=layer.digest, size=layer.size, open=opener)


def _read(repository: RegistryStore, blob: Descriptor, limit: int, where: str) -> bytes:
    if blob.size > limit:
        raise FormatError(f"a document of {blob.size} bytes; at most {limit} are read", where=f"{where}: sources")
    with repository.open_sized(blob.digest, blob.size) as file:
        return file.read()
