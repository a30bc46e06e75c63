"""DSSE 1.0, the envelope of a signed statement: read with care, written canonically.

What is signed is the payload's type and the payload together (PAE). The names of keys in an envelope are nobody's word: whoever
verifies tries its own keys on each signature. Refused: more than 32 MiB, members that are not what they should be, base64 that
is none, an envelope without signatures or with more than 64.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from securesystemslib.dsse import Envelope as Encoded
from securesystemslib.signer import Signature

from wherry.errors import FormatError
from wherry.formats.oci_json import parse_json
from wherry.formats.signing_keys import SigningKey

MAX_ENVELOPE = 32 << 20
_MOST_SIGNATURES = 64
_KEYID = ""  # as cosign has it: sigstore's verifiers pass over a signature whose key has another name with them
_URL_SAFE = str.maketrans("-_", "+/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What an envelope holds. Nothing of it is to be believed before a signature over `signed` is verified.

    `hint` names the key, as the bundle around the envelope says (`VerifyingKey.hint`).
    """

    payload: bytes
    payload_type: str
    signatures: tuple[bytes, ...]
    hint: str = ""

    @property
    def signed(self) -> bytes:
        """The bytes that the signatures are over."""
        return bytes(Encoded(self.payload, self.payload_type, {}).pae())


def sign_envelope(payload: bytes, payload_type: str, key: SigningKey) -> dict[str, Any]:
    """The envelope as a JSON object, signed by one key."""
    envelope = Encoded(payload, payload_type, {})
    envelope.signatures[_KEYID] = Signature(_KEYID, key.sign(envelope.pae()).hex())
    return dict(envelope.to_dict())


def parse_envelope(raw: bytes, where: str) -> Envelope:
    """Read an envelope from a stranger."""
    return read_envelope(parse_json(raw, where, MAX_ENVELOPE), where)


def read_envelope(document: Mapping[str, Any], where: str, hint: str = "") -> Envelope:
    payload_type, signatures = document.get("payloadType"), document.get("signatures")
    if not isinstance(payload_type, str) or not isinstance(signatures, list):
        raise FormatError("no DSSE envelope: it has no payloadType, or no list of signatures", where=where)
    if not 0 < len(signatures) <= _MOST_SIGNATURES:
        raise FormatError(f"a DSSE envelope with {len(signatures)} signatures", where=where)
    return Envelope(
        payload=decode_base64(document.get("payload"), f"{where}: payload"),
        payload_type=payload_type,
        hint=hint,
        signatures=tuple(
            decode_base64(one.get("sig") if isinstance(one, dict) else None, f"{where}: signatures[{number}]")
            for number, one in enumerate(signatures)
        ),
    )


def decode_base64(text: object, where: str) -> bytes:
    """Bytes in base64, whichever of its two alphabets; anything else is a `FormatError`."""
    if not isinstance(text, str):
        raise FormatError("no base64", where=where)
    try:
        return base64.b64decode(text.translate(_URL_SAFE), validate=True)
    except (binascii.Error, ValueError) as error:
        raise FormatError(f"no base64: {error}", where=where) from error
