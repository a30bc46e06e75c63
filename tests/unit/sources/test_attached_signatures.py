"""What lies beside an image, read from the simulator: in each form, and within bounds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.simulators.registry import RegistrySimulator
from tests.simulators.signing import lay_layers, make_pair
from tests.unit.publish.test_sources import QUICK
from wherry.errors import FormatError, TrustError
from wherry.formats.cosign import (
    BUNDLE,
    DSSE,
    MAX_PAYLOAD,
    SIGN,
    SIMPLE_SIGNING,
    attestation_tag,
    render_bundle,
    render_envelope,
    signature_tag,
)
from wherry.formats.dsse import MAX_ENVELOPE
from wherry.formats.in_toto import render_statement
from wherry.formats.oci_json import parse_json, render_index, render_manifest
from wherry.model.digest import Digest
from wherry.model.oci import CONFIG, INDEX, MANIFEST, Descriptor
from wherry.model.platform import Platform
from wherry.model.reference import Reference
from wherry.publish.artifacts import attach_document
from wherry.publish.signatures import ImageStatement, sign_images
from wherry.sources.attached_signatures import Attachment, SignedManifest, count_attachments, read_signed
from wherry.sources.registries import RegistryAccess, access_registries
from wherry.store.registry_referrers import fallback_tag

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
PAIR = make_pair()
NAME = "team/tiny"


@pytest.fixture(params=[True, False], ids=["referrers", "tag"])
def registry(request: pytest.FixtureRequest) -> Iterator[RegistrySimulator]:
    with RegistrySimulator() as simulator:
        simulator.behaviour.referrers = request.param
        yield simulator


@pytest.fixture
def access() -> Iterator[RegistryAccess]:
    opened = access_registries({}, patience=QUICK)
    yield opened
    opened.close()


@pytest.fixture
def reference(registry: RegistrySimulator) -> Reference:
    return Reference(registry.host, NAME, "1")


@pytest.fixture
def images(registry: RegistrySimulator) -> list[Descriptor]:
    """The index, under its tag, and its two manifests, which nobody needs the blobs of."""
    manifests = []
    for platform in (AMD64, ARM64):
        config = Descriptor(media_type=CONFIG, digest=Digest.of(str(platform).encode()), size=1)
        raw = render_manifest(config=config, layers=())
        registry.add_manifest(NAME, raw, MANIFEST)
        manifests.append(Descriptor(media_type=MANIFEST, digest=Digest.of(raw), size=len(raw), platform=platform))
    raw = render_index(manifests)
    registry.add_manifest(NAME, raw, INDEX, "1")
    return [Descriptor(media_type=INDEX, digest=Digest.of(raw), size=len(raw)), *manifests]


def read(access: RegistryAccess, reference: Reference, *platforms: Platform) -> list[SignedManifest]:
    return list(read_signed(access, reference, platforms).manifests)


def problems(access: RegistryAccess, reference: Reference) -> list[str]:
    return [one.problem for one in read(access, reference)[0].attachments]


def make_envelope(image: Descriptor, kind: str = "https://example.com/said") -> bytes:
    return render_envelope(render_statement([("tiny", image.digest)], kind, {}), PAIR.key)


def test_all_that_was_signed_is_found(access: RegistryAccess, reference: Reference, images: list[Descriptor]) -> None:
    said = ImageStatement(image=images[1], predicate_type="https://example.com/said", statement=b'{"a":1}')
    sign_images(access, reference, images, [said], PAIR.key)
    manifests = read(access, reference)
    assert [(one.digest, one.platform) for one in manifests] == [(one.digest, one.platform) for one in images]
    forms = [[one.envelope.payload if one.envelope else b"payload" for one in each.attachments] for each in manifests]
    assert [len(each) for each in forms] == [2, 4, 2]
    assert [each[0] for each in forms] == [b"payload"] * 3
    assert forms[1].count(b'{"a":1}') == 2
    assert {one.problem for each in manifests for one in each.attachments} == {""}
    assert [one.digest for one in read(access, reference, ARM64)] == [images[0].digest, images[2].digest]
    assert count_attachments(access, reference) == 2


def test_nothing_there(access: RegistryAccess, reference: Reference, images: list[Descriptor]) -> None:
    assert [one.attachments for one in read(access, reference)] == [()] * 3
    assert count_attachments(access, reference) == 0


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_what_is_cut_off_is_told(
    registry: RegistrySimulator, access: RegistryAccess, reference: Reference, images: list[Descriptor], cut: int
) -> None:
    envelope = make_envelope(images[0])
    for document, media_type in ((envelope[:-cut], DSSE), (render_bundle(envelope, PAIR.key)[:-cut], BUNDLE)):
        if media_type == BUNDLE:
            attach_document(access.open(reference, push=True), images[0], document, BUNDLE)
        else:
            registry.add_blob(NAME, document)
            layer = Descriptor(media_type=DSSE, digest=Digest.of(document), size=len(document))
            lay_layers(registry, reference, attestation_tag(images[0].digest), layer)
    found = problems(access, reference)
    assert len(found) == 2
    assert all("JSON" in problem for problem in found)


def test_what_holds_no_envelope_is_told(access: RegistryAccess, reference: Reference, images: list[Descriptor]) -> None:
    attach_document(access.open(reference, push=True), images[0], b'{"messageSignature":{}}', BUNDLE)
    assert problems(access, reference) == ["a bundle without an envelope"]


@pytest.mark.parametrize(("media_type", "size"), [(SIMPLE_SIGNING, MAX_PAYLOAD + 1), (DSSE, MAX_ENVELOPE + 1), ("text/x", 9)])
def test_what_is_too_large_or_unknown_is_not_fetched(
    registry: RegistrySimulator, access: RegistryAccess, reference: Reference, images: list[Descriptor], media_type: str, size: int
) -> None:
    said = {"dev.cosignproject.cosign/signature": "AA=="}
    layer = Descriptor(media_type=media_type, digest=Digest.of(b"bomb"), size=size, annotations=said)
    lay_layers(registry, reference, signature_tag(images[0].digest), layer)
    registry.forget()
    (problem,) = problems(access, reference)
    assert problem
    assert registry.count("GET", "/blobs/") == 0


def test_all_of_an_image_are_bounded_together(
    registry: RegistrySimulator, access: RegistryAccess, reference: Reference, images: list[Descriptor]
) -> None:
    layer = Descriptor(media_type=DSSE, digest=Digest.of(b"bomb"), size=1)
    lay_layers(registry, reference, attestation_tag(images[0].digest), *[layer] * 65)
    with pytest.raises(TrustError, match="at most 64"):
        read(access, reference)


def test_an_index_without_end(
    registry: RegistrySimulator, access: RegistryAccess, reference: Reference, images: list[Descriptor]
) -> None:
    registry.add_manifest(NAME, render_index([images[1]] * 101), INDEX, "1")
    with pytest.raises(FormatError, match="101 manifests"):
        read(access, reference)
    assert len(read(access, reference, AMD64)) == 2


def test_no_signature_beside_a_payload(
    registry: RegistrySimulator, access: RegistryAccess, reference: Reference, images: list[Descriptor]
) -> None:
    for said in ({}, {"dev.cosignproject.cosign/signature": "no base64!"}):
        layer = Descriptor(media_type=SIMPLE_SIGNING, digest=Digest.of(b"x"), size=1, annotations=said)
        lay_layers(registry, reference, signature_tag(images[0].digest), layer)
        (problem,) = problems(access, reference)
        assert "no base64" in problem


def test_other_bytes_than_named(
    registry: RegistrySimulator, access: RegistryAccess, reference: Reference, images: list[Descriptor]
) -> None:
    layer = Descriptor(media_type=DSSE, digest=Digest.of(b"good"), size=4)
    lay_layers(registry, reference, attestation_tag(images[0].digest), layer)
    registry.repository(NAME).blobs[str(layer.digest)] = b"evil"
    with pytest.raises(TrustError):
        read(access, reference)


def test_a_bundle_listed_for_another_image(
    registry: RegistrySimulator, access: RegistryAccess, reference: Reference, images: list[Descriptor]
) -> None:
    """A list under a tag is what whoever may push makes it."""
    registry.behaviour.referrers = False
    attach_document(access.open(reference, push=True), images[1], render_bundle(make_envelope(images[1]), PAIR.key), BUNDLE)
    kept = registry.repository(NAME)
    kept.tags[fallback_tag(images[0].digest)] = kept.tags[fallback_tag(images[1].digest)]
    assert problems(access, reference) == ["not a bundle about this image"]


def test_lists_that_cosign_2_keeps_do_not_tell_bundles(
    registry: RegistrySimulator, access: RegistryAccess, reference: Reference, images: list[Descriptor]
) -> None:
    registry.behaviour.referrers = False
    push = access.open(reference, push=True)
    attach_document(push, images[0], render_bundle(make_envelope(images[0], SIGN), PAIR.key), BUNDLE)
    attach_document(push, images[0], b"{}", "application/x.other")
    kept = registry.repository(NAME)
    tag = fallback_tag(images[0].digest)
    listed = parse_json(kept.manifests[kept.tags[tag]][0])["manifests"]
    untold = [
        Descriptor(
            media_type=MANIFEST,
            digest=Digest.parse(one["digest"]),
            size=one["size"],
            artifact_type="application/vnd.oci.empty.v1+json",
        )
        for one in listed
    ]
    registry.add_manifest(NAME, render_index(untold), INDEX, tag)
    (found,) = read(access, reference)[0].attachments
    assert isinstance(found, Attachment)
    assert found.envelope is not None
    assert found.envelope.hint == PAIR.key.public.hint
