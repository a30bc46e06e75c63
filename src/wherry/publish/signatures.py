"""Signatures and attestations of an image, beside it in its registry: under cosign's tags, and as bundles that refer to it.

Both, because containers/image, cosign 1 and 2 and most policy engines look under the tags, cosign 3 among the referrers. The index
is signed and each manifest in it: cosign verifies what a tag means, podman and skopeo the manifest that they choose.

Signatures follow from key and image alone, so signing again finds its own work and adds nothing; what others attached
stays. Two that sign at the same moment may lose one entry of a tag; signing again mends it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wherry.errors import FormatError
from wherry.formats.cosign import (
    BUNDLE,
    DSSE,
    SIGN,
    SIGNATURE,
    SIMPLE_SIGNING,
    append_layers,
    attestation_tag,
    describe_attestation,
    describe_bundle,
    describe_signature,
    render_bundle,
    render_envelope,
    render_payload,
    signature_tag,
)
from wherry.formats.dsse import decode_base64
from wherry.formats.in_toto import render_statement
from wherry.formats.oci_json import parse_manifest
from wherry.formats.signing_keys import SigningKey
from wherry.model.digest import Digest
from wherry.model.oci import CONFIG, MANIFEST, Descriptor
from wherry.model.reference import Reference
from wherry.publish.artifacts import attach_document, bring_blob
from wherry.sources.registries import RegistryAccess
from wherry.store.registry import RegistryStore


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageStatement:
    """What is to be attested of one manifest: an in-toto statement, whose subject it must be."""

    image: Descriptor
    predicate_type: str
    statement: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """`added` counts what was not there before, under tags; `artifacts` are the bundles that refer to the images."""

    images: tuple[Digest, ...]
    attestations: tuple[ImageStatement, ...]
    added: int
    artifacts: tuple[Digest, ...]


def sign_images(
    access: RegistryAccess,
    destination: Reference,
    images: Sequence[Descriptor],
    statements: Sequence[ImageStatement],
    key: SigningKey,
) -> Signed:
    """Sign manifests that lie in the destination's repository already, and what is said of them."""
    repository = access.open(destination, push=True)
    added, bundles = 0, []
    for image in images:
        payload = render_payload(destination.name, image.digest)
        added += _append(repository, signature_tag(image.digest), payload, describe_signature(payload, key), key)
        said = render_statement([(destination.name, image.digest)], SIGN, {})
        bundles.append((image, SIGN, render_envelope(said, key)))
    for one in statements:
        envelope = render_envelope(one.statement, key)
        layer = describe_attestation(envelope, one.predicate_type)
        added += _append(repository, attestation_tag(one.image.digest), envelope, layer, key)
        bundles.append((one.image, one.predicate_type, envelope))
    # Last, as there are registries that refuse what refers to something.
    artifacts = [_attach_bundle(repository, image, envelope, kind, key) for image, kind, envelope in bundles]
    return Signed(
        images=tuple(image.digest for image in images), attestations=tuple(statements), added=added, artifacts=tuple(artifacts)
    )


def _attach_bundle(repository: RegistryStore, image: Descriptor, envelope: bytes, kind: str, key: SigningKey) -> Digest:
    return attach_document(repository, image, render_bundle(envelope, key), BUNDLE, describe_bundle(kind))


def _append(repository: RegistryStore, tag: str, blob: bytes, layer: Descriptor, key: SigningKey) -> int:
    """Put one more layer under a tag; 0 when it is there already."""
    former, media_type = None, MANIFEST
    if repository.find_manifest(tag) is not None:
        former = repository.read_manifest(tag)[1]
        attachment = parse_manifest(former, where=f"{repository}:{tag}")
        if any(one.digest == layer.digest and _is_signed(one, blob, key) for one in attachment.layers):
            return 0
        media_type = attachment.media_type
    bring_blob(repository, blob, layer.media_type)
    manifest, config = append_layers(former, (layer,))
    bring_blob(repository, config, CONFIG)
    repository.put_manifest(manifest, media_type, tag)
    return 1


def _is_signed(layer: Descriptor, payload: bytes, key: SigningKey) -> bool:
    """Whether the layer has this key's signature; an envelope has it within."""
    if layer.media_type != SIMPLE_SIGNING:
        return layer.media_type == DSSE
    try:
        signature = decode_base64(layer.annotations.get(SIGNATURE, ""), SIGNATURE)
    except FormatError:
        return False
    return key.public.verifies(signature, payload)
