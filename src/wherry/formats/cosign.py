"""cosign's forms of a signature, as its SIGNATURE_SPEC.md has them, and sigstore's bundle 0.3, which cosign 3 writes instead.

An image's signatures lie in an OCI manifest under the tag ``sha256-HEX.sig``: a layer for each payload, which names the image's
digest, with the signature as the layer's annotation. Attestations lie under ``sha256-HEX.att``: a layer for each DSSE
envelope. A bundle is one DSSE envelope and a word on the key, in an artifact that refers to the image; a signature is there a
statement of the type `SIGN`, which says nothing but its subject.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from wherry.errors import FormatError
from wherry.formats.dsse import MAX_ENVELOPE, Envelope, read_envelope, sign_envelope
from wherry.formats.in_toto import IN_TOTO
from wherry.formats.oci_json import descriptor_json, parse_json, render_json
from wherry.formats.signing_keys import SigningKey
from wherry.model.digest import Digest
from wherry.model.oci import CONFIG, MANIFEST, Descriptor

SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
DSSE = "application/vnd.dsse.envelope.v1+json"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
BUNDLES = tuple(f"application/vnd.dev.sigstore.bundle{rest}" for rest in (".v0.3+json", "+json;version=0.3", "+json;version=0.2"))
SIGNATURE = "dev.cosignproject.cosign/signature"
PREDICATE = "predicateType"
SIGN = "https://sigstore.dev/cosign/sign/v1"
MAX_PAYLOAD = 64 << 10
_TYPE = "cosign container image signature"
_CREATED = "0001-01-01T00:00:00Z"


def signature_tag(image: Digest) -> str:
    return f"sha256-{image.hex}.sig"


def attestation_tag(image: Digest) -> str:
    return f"sha256-{image.hex}.att"


def render_payload(repository: str, image: Digest) -> bytes:
    """What is signed of an image: `repository` is its name without a tag, which is how cosign writes it."""
    critical = {"identity": {"docker-reference": repository}, "image": {"docker-manifest-digest": str(image)}, "type": _TYPE}
    return render_json({"critical": critical, "optional": None})


def parse_payload(raw: bytes, where: str) -> Digest:
    """The image that a payload is about; its signature was verified."""
    critical = parse_json(raw, where, MAX_PAYLOAD).get("critical")
    image = critical.get("image") if isinstance(critical, dict) else None
    text = image.get("docker-manifest-digest") if isinstance(image, dict) else None
    if not isinstance(critical, dict) or critical.get("type") != _TYPE or not isinstance(text, str):
        raise FormatError("not the payload of a cosign signature", where=where)
    return Digest.parse(text)


def describe_signature(payload: bytes, key: SigningKey) -> Descriptor:
    """The layer of a signed payload."""
    signature = base64.b64encode(key.sign(payload)).decode()
    return Descriptor(media_type=SIMPLE_SIGNING, digest=Digest.of(payload), size=len(payload), annotations={SIGNATURE: signature})


def describe_attestation(envelope: bytes, predicate_type: str) -> Descriptor:
    """The layer of an envelope. Its signature lies within; the annotation is there for cosign, which looks for one."""
    said = {SIGNATURE: "", PREDICATE: predicate_type}
    return Descriptor(media_type=DSSE, digest=Digest.of(envelope), size=len(envelope), annotations=said)


def render_config(layers: Sequence[Digest]) -> bytes:
    """The config of an attachment: containers/image and cosign want its layers listed, and nothing else."""
    return render_json(
        {
            "architecture": "",
            "config": {},
            "created": _CREATED,
            "history": [{"created": _CREATED} for _ in layers],
            "os": "",
            "rootfs": {"type": "layers", "diff_ids": [str(digest) for digest in layers]},
        }
    )


def append_layers(former: bytes | None, added: Sequence[Descriptor]) -> tuple[bytes, bytes]:
    """An attachment's manifest with layers more, and its config. What others attached before stays as it is."""
    document: dict[str, Any] = parse_json(former, "attachment") if former else {"schemaVersion": 2, "mediaType": MANIFEST}
    layers = [*document.get("layers", []), *map(descriptor_json, added)]
    config = render_config([Digest.parse(layer["digest"]) for layer in layers])
    described = descriptor_json(Descriptor(media_type=CONFIG, digest=Digest.of(config), size=len(config)))
    return render_json({**document, "layers": layers, "config": described}), config


def render_envelope(statement: bytes, key: SigningKey) -> bytes:
    """A signed statement."""
    return render_json(sign_envelope(statement, IN_TOTO, key))


def render_bundle(envelope: bytes, key: SigningKey) -> bytes:
    """A signed statement as sigstore's bundle, which is verified by a key that the reader has."""
    material = {"publicKey": {"hint": key.public.hint}, "tlogEntries": []}
    return render_json(
        {"mediaType": BUNDLE, "verificationMaterial": material, "dsseEnvelope": parse_json(envelope, limit=MAX_ENVELOPE)}
    )


def describe_bundle(predicate_type: str) -> Mapping[str, str]:
    """The annotations of an artifact that carries a bundle."""
    return {"dev.sigstore.bundle.content": "dsse-envelope", "dev.sigstore.bundle.predicateType": predicate_type}


def parse_bundle(raw: bytes, where: str) -> Envelope:
    """The envelope of a bundle; one that holds no envelope but a bare signature is a `FormatError`."""
    document = parse_json(raw, where, MAX_ENVELOPE)
    envelope, material = document.get("dsseEnvelope"), document.get("verificationMaterial")
    if not isinstance(envelope, dict):
        raise FormatError("a bundle without an envelope", where=where)
    key = material.get("publicKey") if isinstance(material, dict) else None
    hint = key.get("hint") if isinstance(key, dict) else None
    return read_envelope(envelope, where, hint if isinstance(hint, str) else "")
