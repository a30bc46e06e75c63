"""Reads what lies beside an image in its registry and claims to sign it or to attest something of it: cosign's tags, and bundles.

Nothing is verified here but digests; what cannot be read is told as a problem of that one attachment. Bounded: 64 attachments
to a manifest, 64 MiB of them to an image, each within the limits of its form, and 100 manifests to an index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from wherry.errors import FormatError, StoreError, TrustError
from wherry.formats.cosign import (
    BUNDLES,
    DSSE,
    MAX_PAYLOAD,
    SIGNATURE,
    SIMPLE_SIGNING,
    attestation_tag,
    parse_bundle,
    signature_tag,
)
from wherry.formats.dsse import MAX_ENVELOPE, Envelope, decode_base64, parse_envelope
from wherry.formats.oci_json import MAX_DOCUMENT, parse_any_manifest, parse_config, parse_manifest
from wherry.model.digest import Digest
from wherry.model.oci import Descriptor, Index, Manifest
from wherry.model.platform import Platform
from wherry.model.reference import Reference
from wherry.sources.registries import RegistryAccess
from wherry.store.registry import RegistryStore, choose_platform
from wherry.store.registry_referrers import list_referrers

_MOST = 64
_MOST_MANIFESTS = 100
_UNTOLD = "application/vnd.oci.empty.v1+json"
_ALL_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """Something beside a manifest. A cosign signature has a `payload` and its `signature`, everything else an `envelope`.

    With a `problem` it has none of these.
    """

    where: str
    payload: bytes = b""
    signature: bytes = b""
    envelope: Envelope | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedManifest:
    """A manifest, or the index (`platform` is None), with what lies beside it."""

    digest: Digest
    platform: Platform | None
    attachments: tuple[Attachment, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedImage:
    """`manifests` begin with what the reference means. `chosen` says that platforms were asked for."""

    reference: Reference
    manifests: tuple[SignedManifest, ...]
    chosen: bool


def read_signed(access: RegistryAccess, reference: Reference, platforms: Sequence[Platform] = ()) -> SignedImage:
    """An image with all that claims to sign it, of every platform or those asked for."""
    repository = access.open(reference)
    descriptor, raw = repository.resolve(reference)
    reader = _Reader(repository)
    document = parse_any_manifest(raw, where=str(reference))
    if isinstance(document, Manifest):
        _require_platform(repository, document, platforms, str(reference))
    manifests = [SignedManifest(digest=descriptor.digest, platform=None, attachments=reader.read(descriptor.digest))]
    if isinstance(document, Index):
        for one in _choose(document, platforms, str(reference)):
            manifests.append(SignedManifest(digest=one.digest, platform=one.platform, attachments=reader.read(one.digest)))
    return SignedImage(reference=reference, manifests=tuple(manifests), chosen=bool(platforms) and isinstance(document, Index))


def count_attachments(access: RegistryAccess, reference: Reference) -> int:
    """How much claims to sign what a reference means, as far as lists tell."""
    repository = access.open(reference)
    descriptor, _ = repository.resolve(reference)
    reader = _Reader(repository)
    bundles = [one for one in reader.list_artifacts(descriptor.digest) if one.artifact_type in BUNDLES]
    return sum(len(layers) for layers, _ in reader.list_tags(descriptor.digest)) + len(bundles)


def _require_platform(repository: RegistryStore, manifest: Manifest, platforms: Sequence[Platform], where: str) -> None:
    """An image without an index is for one platform: the one that was asked for."""
    if not platforms:
        return
    with repository.open_sized(manifest.config.digest, manifest.config.size) as file:
        own = parse_config(file.read(MAX_DOCUMENT + 1), where=f"{where}: config").platform
    for platform in platforms:
        if platform != own:
            raise StoreError(f"no image for {platform}", where=where, hint=f"there is: {own}")


def _choose(index: Index, platforms: Sequence[Platform], where: str) -> tuple[Descriptor, ...]:
    if platforms:
        return tuple(choose_platform(index, platform, where) for platform in platforms)
    found = tuple(one for one in index.manifests if one.platform is not None and one.platform.os != "unknown")
    if len(found) > _MOST_MANIFESTS:
        raise FormatError(
            f"an index of {len(found)} manifests; at most {_MOST_MANIFESTS} are looked at", where=where, hint="--platform"
        )
    return found


class _Reader:
    """Reads attachments of one repository, together at most so many bytes."""

    def __init__(self, repository: RegistryStore) -> None:
        self._repository = repository
        self._left = _ALL_BYTES

    def read(self, image: Digest) -> tuple[Attachment, ...]:
        jobs: list[Callable[[], Attachment | None]] = [
            partial(self._read_layer, layer, f"{where}: layers[{number}]")
            for layers, where in self.list_tags(image)
            for number, layer in enumerate(layers)
        ]
        jobs += [partial(self._read_artifact, image, one.digest) for one in self.list_artifacts(image)]
        if len(jobs) > _MOST:
            raise TrustError(f"{len(jobs)} signatures and attestations of one manifest; at most {_MOST} are read", where=str(image))
        return tuple(filter(None, map(_tell_problem, jobs)))

    def list_tags(self, image: Digest) -> Iterator[tuple[tuple[Descriptor, ...], str]]:
        """The layers under cosign's tags, and where that is."""
        for tag in (signature_tag(image), attestation_tag(image)):
            if self._repository.find_manifest(tag) is not None:
                where = f"{self._repository}:{tag}"
                yield parse_manifest(self._repository.read_manifest(tag)[1], where=where).layers, where

    def list_artifacts(self, image: Digest) -> tuple[Descriptor, ...]:
        """What refers to a manifest and is a bundle, or may be: a list that cosign 2 keeps itself does not tell."""
        return list_referrers(self._repository, image, *BUNDLES, _UNTOLD)

    def _read_layer(self, layer: Descriptor, where: str) -> Attachment:
        if layer.media_type == DSSE:
            return Attachment(where=where, envelope=parse_envelope(self._fetch(layer, MAX_ENVELOPE, where), where))
        if layer.media_type != SIMPLE_SIGNING:
            raise FormatError(f"neither a signature nor an attestation, but {layer.media_type[:80]!r}", where=where)
        signature = decode_base64(layer.annotations.get(SIGNATURE), where)
        return Attachment(where=where, payload=self._fetch(layer, MAX_PAYLOAD, where), signature=signature)

    def _read_artifact(self, image: Digest, digest: Digest) -> Attachment | None:
        where = f"{self._repository}@{digest}"
        artifact = parse_manifest(self._repository.read_manifest(digest)[1], where=where)
        if artifact.artifact_type not in BUNDLES:
            return None
        if artifact.subject is None or artifact.subject.digest != image or len(artifact.layers) != 1:
            raise FormatError("not a bundle about this image", where=where)
        return Attachment(where=where, envelope=parse_bundle(self._fetch(artifact.layers[0], MAX_ENVELOPE, where), where))

    def _fetch(self, blob: Descriptor, limit: int, where: str) -> bytes:
        if blob.size > min(limit, self._left):
            raise FormatError(f"{blob.size} bytes; at most {min(limit, self._left)} more are read", where=where)
        self._left -= blob.size
        with self._repository.open_sized(blob.digest, blob.size) as file:
            return file.read()


def _tell_problem(read: Callable[[], Attachment | None]) -> Attachment | None:
    try:
        return read()
    except FormatError as error:
        return Attachment(where=error.where or "", problem=error.what)
