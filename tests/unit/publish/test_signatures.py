"""Signatures and attestations laid beside an image, against the simulator; verified here with cryptography alone."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.hashes import SHA256

from tests.simulators.registry import RegistrySimulator
from tests.simulators.signing import Pair, make_pair
from tests.unit.publish.test_sources import QUICK
from tests.unit.store.tiny import put_index
from wherry.formats.in_toto import render_statement
from wherry.model.bill import BillForm
from wherry.model.oci import Descriptor
from wherry.model.reference import Reference
from wherry.publish.bills import ImageBill, state_bill
from wherry.publish.push import PushPlan, plan_push, push_image
from wherry.publish.signatures import ImageStatement, Signed, sign_images
from wherry.sources.registries import RegistryAccess, access_registries
from wherry.store.disk import DiskStore
from wherry.store.images import read_images

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"


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
    return Reference(registry.host, "team/tiny", "1")


@pytest.fixture
def plan(access: RegistryAccess, reference: Reference, tmp_path: Path) -> PushPlan:
    """An image of two platforms that lies in the registry: two manifests and the index."""
    store = DiskStore(tmp_path / "store")
    planned = plan_push(store, put_index(store))
    push_image(access, store, planned, reference)
    return planned


@pytest.fixture(scope="module")
def pair() -> Pair:
    return make_pair()


def state(image: Descriptor, kind: str = "https://example.com/said") -> ImageStatement:
    raw = render_statement([("tiny", image.digest)], kind, {"good": True})
    return ImageStatement(image=image, predicate_type=kind, statement=raw)


def sign(access: RegistryAccess, reference: Reference, plan: PushPlan, pair: Pair, *said: ImageStatement) -> Signed:
    return sign_images(access, reference, [one.descriptor for one in plan.documents], said, pair.key)


def document(registry: RegistrySimulator, name: str) -> Any:
    kept = registry.repository("team/tiny")
    return json.loads(kept.manifests[kept.tags.get(name, name)][0])


def verify(pair: Pair, signature: str, data: bytes) -> None:
    public: Any = pair.private.public_key()
    public.verify(base64.b64decode(signature, validate=True), data, ECDSA(SHA256()))


def encode(payload: bytes) -> bytes:
    kind = b"application/vnd.in-toto+json"
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def test_the_index_and_each_manifest_are_signed(
    registry: RegistrySimulator, access: RegistryAccess, reference: Reference, plan: PushPlan, pair: Pair
) -> None:
    signed = sign(access, reference, plan, pair)
    assert (len(signed.images), signed.added) == (3, 3)
    blobs = registry.repository("team/tiny").blobs
    for one in plan.documents:
        attached = document(registry, f"sha256-{one.descriptor.digest.hex}.sig")
        (layer,) = attached["layers"]
        payload = blobs[layer["digest"]]
        verify(pair, layer["annotations"]["dev.cosignproject.cosign/signature"], payload)
        assert layer["mediaType"] == "application/vnd.dev.cosign.simplesigning.v1+json"
        critical = json.loads(payload)["critical"]
        assert critical["image"]["docker-manifest-digest"] == str(one.descriptor.digest)
        assert critical["identity"]["docker-reference"] == f"{registry.host}/team/tiny"
        config = json.loads(blobs[attached["config"]["digest"]])
        assert config["rootfs"]["diff_ids"] == [layer["digest"]]


def test_bundles_refer_to_their_images(
    registry: RegistrySimulator, access: RegistryAccess, reference: Reference, plan: PushPlan, pair: Pair
) -> None:
    image = plan.documents[0].descriptor
    signed = sign(access, reference, plan, pair, state(image))
    kinds = []
    for digest in signed.artifacts:
        artifact = document(registry, str(digest))
        assert artifact["artifactType"] == BUNDLE
        kinds.append((artifact["subject"]["digest"], artifact["annotations"]["dev.sigstore.bundle.predicateType"]))
        bundle = json.loads(registry.repository("team/tiny").blobs[artifact["layers"][0]["digest"]])
        payload = base64.b64decode(bundle["dsseEnvelope"]["payload"])
        (one,) = bundle["dsseEnvelope"]["signatures"]
        verify(pair, one["sig"], encode(payload))
        subject = json.loads(payload)["subject"][0]["digest"]["sha256"]
        assert f"sha256:{subject}" == artifact["subject"]["digest"]
    images = [str(one.descriptor.digest) for one in plan.documents]
    sign_type = "https://sigstore.dev/cosign/sign/v1"
    assert kinds == [*((digest, sign_type) for digest in images), (str(image.digest), "https://example.com/said")]
    if not registry.behaviour.referrers:
        listed = document(registry, f"sha256-{image.digest.hex}")["manifests"]
        assert {one["annotations"]["dev.sigstore.bundle.predicateType"] for one in listed} == {kind for _, kind in kinds}


def test_attestations_are_envelopes_under_their_tag(
    registry: RegistrySimulator, access: RegistryAccess, reference: Reference, plan: PushPlan, pair: Pair
) -> None:
    image = plan.documents[0].descriptor
    said = [state(image), state(image, "https://example.com/other")]
    sign(access, reference, plan, pair, *said)
    attached = document(registry, f"sha256-{image.digest.hex}.att")
    for layer, one in zip(attached["layers"], said, strict=True):
        envelope = json.loads(registry.repository("team/tiny").blobs[layer["digest"]])
        assert base64.b64decode(envelope["payload"]) == one.statement
        verify(pair, envelope["signatures"][0]["sig"], encode(one.statement))
        assert layer["mediaType"] == "application/vnd.dsse.envelope.v1+json"
        assert layer["annotations"]["predicateType"] == one.predicate_type


def test_signing_again_adds_nothing(
    registry: RegistrySimulator, access: RegistryAccess, reference: Reference, plan: PushPlan, pair: Pair
) -> None:
    said = state(plan.documents[0].descriptor)
    first = sign(access, reference, plan, pair, said)
    before = dict(registry.repository("team/tiny").tags)
    registry.forget()
    again = sign(access, reference, plan, pair, said)
    assert (again.added, again.artifacts) == (0, first.artifacts)
    assert registry.count("POST") == 0
    assert registry.repository("team/tiny").tags == before


def test_what_others_signed_stays(
    registry: RegistrySimulator, access: RegistryAccess, reference: Reference, plan: PushPlan, pair: Pair
) -> None:
    tag = f"sha256-{plan.target.descriptor.digest.hex}.sig"
    sign(access, reference, plan, make_pair())
    theirs = document(registry, tag)
    theirs["layers"][0]["annotations"]["dev.sigstore.cosign/certificate"] = "kept"
    theirs["layers"][0]["urls"] = ["https://example.com/kept"]
    theirs["mediaType"] = "application/vnd.docker.distribution.manifest.v2+json"
    raw = json.dumps({**theirs, "annotations": {"their": "own"}}).encode()
    registry.add_manifest("team/tiny", raw, theirs["mediaType"], tag)
    assert sign(access, reference, plan, pair).added == 3
    ours = document(registry, tag)
    assert ours["layers"][0] == theirs["layers"][0]
    assert ours["annotations"] == {"their": "own"}
    assert kept_type(registry, tag) == ours["mediaType"] == theirs["mediaType"]
    verify(pair, ours["layers"][1]["annotations"]["dev.cosignproject.cosign/signature"], payload_of(registry, ours, 1))
    config = json.loads(registry.repository("team/tiny").blobs[ours["config"]["digest"]])
    assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in ours["layers"]]
    assert sign(access, reference, plan, pair).added == 0


@pytest.mark.parametrize("signature", ["é", "=", "AAAA"])
def test_a_signature_that_is_none_is_no_reason_not_to_sign(
    registry: RegistrySimulator, access: RegistryAccess, reference: Reference, plan: PushPlan, pair: Pair, signature: str
) -> None:
    """Somebody wrote nonsense beside the very payload that is to be signed."""
    tag = f"sha256-{plan.target.descriptor.digest.hex}.sig"
    sign(access, reference, plan, make_pair())
    theirs = document(registry, tag)
    theirs["layers"][0]["annotations"]["dev.cosignproject.cosign/signature"] = signature
    registry.add_manifest("team/tiny", json.dumps(theirs).encode(), theirs["mediaType"], tag)
    assert sign(access, reference, plan, pair).added == 3
    ours = document(registry, tag)
    verify(pair, ours["layers"][1]["annotations"]["dev.cosignproject.cosign/signature"], payload_of(registry, ours, 1))


def kept_type(registry: RegistrySimulator, tag: str) -> str:
    kept = registry.repository("team/tiny")
    return str(kept.manifests[kept.tags[tag]][1])


def payload_of(registry: RegistrySimulator, attached: Any, number: int) -> bytes:
    return bytes(registry.repository("team/tiny").blobs[attached["layers"][number]["digest"]])


def test_a_bill_becomes_a_statement(plan: PushPlan, tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "store")
    manifest = read_images(store, plan.documents[0].descriptor)[0].manifest
    for form, kind in ((BillForm.SPDX, "https://spdx.dev/Document"), (BillForm.CYCLONEDX, "https://cyclonedx.org/bom")):
        made = state_bill("tiny", ImageBill(manifest=manifest, form=form, document=b'{"a": 1}'))
        value = json.loads(made.statement)
        assert (made.predicate_type, value["predicateType"], value["predicate"]) == (kind, kind, {"a": 1})
        assert value["subject"] == [{"name": "tiny", "digest": {"sha256": manifest.digest.hex}}]
