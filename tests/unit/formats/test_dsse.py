"""Envelopes: the protocol's own example, an independent reading, and what strangers write."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.hashes import SHA256

from tests.simulators.signing import make_pair
from wherry.errors import FormatError
from wherry.formats.dsse import MAX_ENVELOPE, Envelope, decode_base64, parse_envelope, sign_envelope

PAYLOAD, KIND = b"hello world", "http://example.com/HelloWorld"


def written(**other: Any) -> bytes:
    envelope = {"payload": "aGk=", "payloadType": "x/y", "signatures": [{"keyid": "a", "sig": "AA=="}]}
    return json.dumps({**envelope, **other}).encode()


def test_what_is_signed_is_the_protocols() -> None:
    envelope = Envelope(payload=PAYLOAD, payload_type=KIND, signatures=())
    assert envelope.signed == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_another_library_verifies_it() -> None:
    pair = make_pair()
    document = sign_envelope(PAYLOAD, KIND, pair.key)
    assert document == sign_envelope(PAYLOAD, KIND, pair.key)
    (one,) = document["signatures"]
    assert (base64.b64decode(document["payload"]), document["payloadType"], one["keyid"]) == (PAYLOAD, KIND, "")
    public: Any = pair.private.public_key()
    public.verify(base64.b64decode(one["sig"]), b"DSSEv1 %d %b %d %b" % (29, KIND.encode(), 11, PAYLOAD), ECDSA(SHA256()))
    read = parse_envelope(json.dumps(document).encode(), "here")
    assert (read.payload, read.payload_type) == (PAYLOAD, KIND)
    assert pair.key.public.verifies(read.signatures[0], read.signed)


@pytest.mark.parametrize(
    "other",
    [
        {"payload": None},
        {"payload": 7},
        {"payload": "aGk"},
        {"payload": "a Gk="},
        {"payload": "ä"},
        {"payloadType": None},
        {"signatures": []},
        {"signatures": "AA=="},
        {"signatures": ["AA=="]},
        {"signatures": [{"sig": 7}]},
        {"signatures": [{"sig": "AA=="}] * 65},
    ],
)
def test_what_is_no_envelope_is_refused(other: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        parse_envelope(written(**other), "here")


def test_truncated_twice_said_and_too_large() -> None:
    whole = written()
    assert parse_envelope(whole, "here").payload == b"hi"
    for raw in (whole[:-1], whole[:40], b"", b"[]", b'{"payload":"aGk=",' + whole[1:], b" " * (MAX_ENVELOPE + 1)):
        with pytest.raises(FormatError):
            parse_envelope(raw, "here")


def test_both_alphabets_of_base64() -> None:
    assert decode_base64("-_8=", "here") == decode_base64("+/8=", "here") == b"\xfb\xff"
