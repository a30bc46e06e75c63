"""Judges what lies beside an image and claims to sign it, by public keys that somebody trusts.

An image is signed when what its reference means is: an index covers the manifests that it names by digest. Of platforms that
were asked for, each needs a signature of its own or the index's. A signature counts when a key verifies it over exactly the
bytes that were read, and these bytes name the very manifest beside which they lie. What no key verifies says nothing; what a key
verifies and is about another image was put there to deceive.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from wherry.errors import FormatError
from wherry.formats.cosign import SIGN, parse_payload
from wherry.formats.in_toto import IN_TOTO, parse_statement
from wherry.formats.signing_keys import VerifyingKey
from wherry.model.digest import Digest
from wherry.model.report import Finding, Report, Seen, Severity, order_findings
from wherry.sources.attached_signatures import Attachment, SignedImage, SignedManifest

_RULE = "signature"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What a key, here by its name, vouches for: the manifest itself, or what is attested of it, by the `predicate`'s type."""

    manifest: SignedManifest
    key: str
    predicate: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`digest` is what the reference means: the manifest or index that was judged."""

    digest: Digest
    report: Report
    verified: tuple[Verified, ...]


def judge_signatures(image: SignedImage, keys: Mapping[str, VerifyingKey]) -> Verdict:
    """Which signatures and attestations the keys verify, and what is wrong with the others. `keys` are by name."""
    verified: list[Verified] = []
    findings: list[Finding] = []
    for manifest in image.manifests:
        for attachment in manifest.attachments:
            found = _judge(manifest, attachment, keys)
            if isinstance(found, Finding):
                findings.append(found)
            elif found not in verified:  # under a tag and as a bundle: twice the same
                verified.append(found)
    findings += _require_signatures(image, verified)
    report = Report(subject=str(image.reference), platform=None, findings=order_findings(_gather(findings)), seen=Seen())
    return Verdict(digest=image.manifests[0].digest, report=report, verified=tuple(verified))


def note_unverified(count: int) -> Finding:
    """What is said of signatures where nobody named a key."""
    return Finding(
        rule=_RULE,
        severity=Severity.NOTE,
        subject="unverified",
        what=f"{count} signatures and attestations lie beside the image, and nobody verified them",
        remedy="wherry check --verify-key KEY.pub, with the public key of those who publish it",
    )


def _judge(manifest: SignedManifest, attachment: Attachment, keys: Mapping[str, VerifyingKey]) -> Verified | Finding:
    if attachment.problem:
        return _tell(Severity.ERROR, manifest, f"what lies beside it cannot be read: {attachment.problem}", attachment)
    key = _find_key(attachment, keys)
    if key is None:
        return _judge_unknown(manifest, attachment, keys)
    try:
        predicate = _read_predicate(manifest, attachment)
    except FormatError as error:
        return _tell(Severity.ERROR, manifest, f"{key} signed what lies beside it, but {error.what}", attachment)
    return Verified(manifest=manifest, key=key, predicate=predicate)


def _find_key(attachment: Attachment, keys: Mapping[str, VerifyingKey]) -> str | None:
    """The first key that verifies a signature."""
    envelope = attachment.envelope
    signed = envelope.signed if envelope else attachment.payload
    signatures = envelope.signatures if envelope else (attachment.signature,)
    for name, key in keys.items():
        if any(key.verifies(signature, signed) for signature in signatures):
            return name
    return None


def _judge_unknown(manifest: SignedManifest, attachment: Attachment, keys: Mapping[str, VerifyingKey]) -> Finding:
    """Several people may sign one image. What calls itself signed by one of the keys, and is not, was altered."""
    if attachment.envelope is None:
        return _tell(Severity.NOTE, manifest, "a signature of another key, which says nothing here", attachment)
    named = [name for name, key in keys.items() if key.hint == attachment.envelope.hint]
    if named:
        return _tell(Severity.ERROR, manifest, f"an attestation says that {named[0]} signed it, which is not so", attachment)
    return _tell(Severity.WARNING, manifest, "an attestation that none of the keys signed: believe nothing of it", attachment)


def _read_predicate(manifest: SignedManifest, attachment: Attachment) -> str | None:
    """What is said of the manifest, once the signature was verified; None where it is a mere signature. Of another manifest:
    `FormatError`."""
    envelope, predicate = attachment.envelope, SIGN
    if envelope is None:
        subjects: tuple[Digest, ...] = (parse_payload(attachment.payload, attachment.where),)
    elif envelope.payload_type != IN_TOTO:
        raise FormatError(f"it holds {envelope.payload_type[:80]!r}, not an in-toto statement")
    else:
        statement = parse_statement(envelope.payload, attachment.where)
        subjects, predicate = statement.subjects, statement.predicate_type
    if manifest.digest not in subjects:
        raise FormatError(f"about another image: {', '.join(map(str, subjects[:2])) or 'none'}")
    return None if predicate == SIGN else predicate


def _require_signatures(image: SignedImage, verified: list[Verified]) -> Iterator[Finding]:
    signed = {one.manifest.digest for one in verified if one.predicate is None}
    top, *others = image.manifests
    needed = others if image.chosen else [top]
    for manifest in needed:
        if not signed & {manifest.digest, top.digest}:
            others_did = any(not one.problem for one in manifest.attachments)
            what = "signed by none of the keys" if others_did else "not signed"
            yield _tell(Severity.ERROR, manifest, what)
    for manifest in others:
        if manifest.digest not in signed and top.digest in signed:
            what = "signed only by way of the index: podman and skopeo look for a signature of its own"
            yield _tell(Severity.NOTE, manifest, what)


def _gather(findings: list[Finding]) -> list[Finding]:
    """The same said of several attachments is said once, with all their places."""
    same: dict[tuple[Severity, str], Finding] = {}
    for one in findings:
        former = same.get((one.severity, one.what))
        same[one.severity, one.what] = replace(one, where=(*former.where, *one.where)) if former else one
    return list(same.values())


def _tell(severity: Severity, manifest: SignedManifest, what: str, attachment: Attachment | None = None) -> Finding:
    subject = str(manifest.platform or "the image")
    return Finding(
        rule=_RULE,
        severity=severity,
        subject=subject,
        what=f"{subject}: {what}",
        where=(attachment.where,) if attachment and attachment.where else (),
    )
