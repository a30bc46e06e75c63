"""Signatures judged: what a key vouches for, and each way of deceiving with what lies beside an image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.simulators.signing import Pair, make_pair
from wherry.check.signatures import Verdict, judge_signatures
from wherry.formats.cosign import SIGN, render_payload
from wherry.formats.dsse import read_envelope, sign_envelope
from wherry.formats.in_toto import IN_TOTO, render_statement
from wherry.model.digest import Digest
from wherry.model.platform import Platform
from wherry.model.reference import Reference
from wherry.model.report import Severity
from wherry.sources.attached_signatures import Attachment, SignedImage, SignedManifest

SAID = "https://example.com/said"
PAIR, OTHER = make_pair(), make_pair("ed25519")
INDEX, AMD64, ARM64 = (Digest.of(name) for name in (b"index", b"amd64", b"arm64"))
PLATFORMS = {INDEX: None, AMD64: Platform("linux", "amd64"), ARM64: Platform("linux", "arm64")}


def signature(image: Digest, pair: Pair = PAIR) -> Attachment:
    payload = render_payload("example.com/tiny", image)
    return Attachment(where="tag", payload=payload, signature=pair.key.sign(payload))


def attestation(image: Digest, pair: Pair = PAIR, kind: str = SAID, payload_type: str = IN_TOTO) -> Attachment:
    statement = render_statement([("tiny", image)], kind, {"good": True})
    document = sign_envelope(statement, payload_type, pair.key)
    return Attachment(where="bundle", envelope=read_envelope(document, "bundle", pair.key.public.hint))


def image(beside: dict[Digest, list[Attachment]], *, chosen: bool = False) -> SignedImage:
    """An index of two platforms with what lies beside each; with `chosen` amd64 alone was asked for."""
    manifests = tuple(
        SignedManifest(digest=digest, platform=platform, attachments=tuple(beside.get(digest, ())))
        for digest, platform in PLATFORMS.items()
        if not (chosen and digest == ARM64)
    )
    return SignedImage(reference=Reference("example.com", "tiny", "1"), manifests=manifests, chosen=chosen)


def judge(beside: dict[Digest, list[Attachment]], *pairs: Pair, chosen: bool = False) -> Verdict:
    keys = {f"key{number}": pair.key.public for number, pair in enumerate(pairs or (PAIR,))}
    return judge_signatures(image(beside, chosen=chosen), keys)


def told(verdict: Verdict, severity: Severity = Severity.ERROR) -> str:
    assert {one.rule for one in verdict.report.findings} <= {"signature"}
    return " | ".join(one.what for one in verdict.report.findings if one.severity is severity)


def vouched(verdict: Verdict) -> list[tuple[Digest, str | None]]:
    return [(one.manifest.digest, one.predicate) for one in verdict.verified]


def test_what_the_key_vouches_for() -> None:
    beside = {digest: [signature(digest), attestation(digest, kind=SIGN), attestation(digest)] for digest in PLATFORMS}
    verdict = judge(beside)
    assert verdict.report.findings == ()
    assert verdict.digest == INDEX
    assert vouched(verdict) == [(digest, kind) for digest in PLATFORMS for kind in (None, SAID)]
    assert {one.key for one in verdict.verified} == {"key0"}


@pytest.mark.parametrize("make", [signature, lambda digest: attestation(digest, kind=SIGN)], ids=["payload", "bundle"])
def test_either_form_of_a_signature_will_do(make: Callable[[Digest], Attachment]) -> None:
    assert told(judge({INDEX: [make(INDEX)]})) == ""


@pytest.mark.parametrize("kind", [SAID, "signature", ""])
def test_an_attestation_is_no_signature(kind: str) -> None:
    verdict = judge({INDEX: [attestation(INDEX, kind=kind)]})
    assert vouched(verdict) == [(INDEX, kind)]
    assert told(verdict) == "the image: signed by none of the keys"


def test_without_any_signature() -> None:
    assert told(judge({})) == "the image: not signed"
    assert told(judge({}, chosen=True)) == "linux/amd64: not signed"


def test_another_key() -> None:
    beside = {digest: [signature(digest, OTHER)] for digest in PLATFORMS}
    verdict = judge(beside)
    assert told(verdict) == "the image: signed by none of the keys"
    assert verdict.verified == ()
    assert told(judge(beside, PAIR, OTHER)) == ""


def test_one_of_two_that_signed_is_enough() -> None:
    verdict = judge({INDEX: [signature(INDEX, OTHER), signature(INDEX)]})
    assert told(verdict) == ""
    assert "a signature of another key" in told(verdict, Severity.NOTE)
    assert vouched(verdict) == [(INDEX, None)]


@pytest.mark.parametrize("chosen", [False, True])
def test_an_index_covers_its_manifests(chosen: bool) -> None:
    verdict = judge({INDEX: [signature(INDEX)]}, chosen=chosen)
    assert told(verdict) == ""
    assert "signed only by way of the index" in told(verdict, Severity.NOTE)


def test_a_manifest_does_not_cover_its_index() -> None:
    beside = {digest: [signature(digest)] for digest in (AMD64, ARM64)}
    assert told(judge(beside)) == "the image: not signed"
    assert told(judge(beside, chosen=True)) == ""
    assert told(judge({ARM64: beside[ARM64]}, chosen=True)) == "linux/amd64: not signed"


@pytest.mark.parametrize("alter", [lambda raw: raw[:-1], lambda raw: raw + b" ", lambda raw: raw.replace(b"null", b"true")])
def test_an_altered_payload(alter: Callable[[bytes], bytes]) -> None:
    good = signature(INDEX)
    verdict = judge({INDEX: [replace(good, payload=alter(good.payload))]})
    assert told(verdict) == "the image: signed by none of the keys"
    assert verdict.verified == ()


def test_the_signature_of_another_image() -> None:
    verdict = judge({INDEX: [signature(AMD64)]})
    assert "about another image" in told(verdict)
    assert "the image: signed by none of the keys" in told(verdict)
    assert verdict.verified == ()


@pytest.mark.parametrize(
    "payload",
    [
        b"{}",
        b"not json",
        b'{"critical":{"type":"atomic container signature","image":{"docker-manifest-digest":"%s"}}}' % str(INDEX).encode(),
        b'{"critical":{"type":"cosign container image signature","image":{"docker-manifest-digest":"sha256:0"}}}',
        b'{"critical":[]}',
    ],
)
def test_the_key_signed_something_else(payload: bytes) -> None:
    verdict = judge({INDEX: [Attachment(where="tag", payload=payload, signature=PAIR.key.sign(payload))]})
    assert "key0 signed what lies beside it, but" in told(verdict)
    assert verdict.verified == ()


def test_a_statement_about_another_image() -> None:
    verdict = judge({INDEX: [signature(INDEX), attestation(AMD64)]})
    assert "about another image" in told(verdict)
    assert vouched(verdict) == [(INDEX, None)]


def test_an_attestation_of_another_key_says_nothing() -> None:
    verdict = judge({INDEX: [signature(INDEX), attestation(INDEX, OTHER)]})
    assert told(verdict) == ""
    assert "believe nothing of it" in told(verdict, Severity.WARNING)
    assert vouched(verdict) == [(INDEX, None)]


def test_an_altered_statement_under_our_name() -> None:
    good = attestation(INDEX)
    assert good.envelope is not None
    altered = replace(good.envelope, payload=good.envelope.payload.replace(b"true", b"null"))
    verdict = judge({INDEX: [signature(INDEX), replace(good, envelope=altered)]})
    assert "says that key0 signed it, which is not so" in told(verdict)
    assert vouched(verdict) == [(INDEX, None)]


def test_the_payloads_type_is_signed_too() -> None:
    other = attestation(INDEX, payload_type="application/json")
    assert "not an in-toto statement" in told(judge({INDEX: [signature(INDEX), other]}))
    assert other.envelope is not None
    claimed = replace(other, envelope=replace(other.envelope, payload_type=IN_TOTO))
    assert vouched(judge({INDEX: [signature(INDEX), claimed]})) == [(INDEX, None)]


def test_what_cannot_be_read_is_an_error_once() -> None:
    broken = Attachment(where="tag", problem="a bomb")
    verdict = judge({INDEX: [signature(INDEX), broken, replace(broken, where="bundle")]})
    (finding,) = [one for one in verdict.report.findings if one.severity is Severity.ERROR]
    assert "cannot be read: a bomb" in finding.what
    assert finding.where == ("tag", "bundle")
