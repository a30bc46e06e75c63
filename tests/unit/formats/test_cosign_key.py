"""Private keys as cosign encrypts them, and what only looks like one. Real ones of cosign's are in tests/engines."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import sys
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from nacl.secret import SecretBox

from wherry.errors import UsageError
from wherry.formats.signing_keys import VerifyingKey, parse_private_key

PASSPHRASE = "pässword"
PRIVATE = ec.generate_private_key(ec.SECP256R1())
PARAMS = {"N": 1024, "r": 8, "p": 1}


def seal(label: str = "SIGSTORE", **changed: Any) -> bytes:
    der = PRIVATE.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    salt, nonce = b"s" * 32, b"n" * 24
    key = hashlib.scrypt(PASSPHRASE.encode(), salt=salt, n=PARAMS["N"], r=PARAMS["r"], p=PARAMS["p"], dklen=32)
    document = {
        "kdf": {"name": "scrypt", "params": PARAMS, "salt": base64.b64encode(salt).decode()},
        "cipher": {"name": "nacl/secretbox", "nonce": base64.b64encode(nonce).decode()},
        "ciphertext": base64.b64encode(SecretBox(key).encrypt(der, nonce).ciphertext).decode(),
    }
    return wrap(json.dumps(document | changed).encode(), label)


def wrap(body: bytes, label: str = "SIGSTORE") -> bytes:
    name = f"ENCRYPTED {label} PRIVATE KEY"
    return f"-----BEGIN {name}-----\n{base64.encodebytes(body).decode()}-----END {name}-----\n".encode()


@pytest.mark.parametrize("label", ["SIGSTORE", "COSIGN"])
def test_it_is_opened(label: str) -> None:
    found = parse_private_key(seal(label), "cosign.key", lambda: PASSPHRASE)
    assert found.public.hint == VerifyingKey(PRIVATE.public_key()).hint


def test_another_passphrase() -> None:
    with pytest.raises(UsageError, match="passphrase is wrong"):
        parse_private_key(seal(), "cosign.key", lambda: "other")


@pytest.mark.parametrize(
    "pem",
    [
        seal(kdf={"name": "scrypt", "params": PARAMS | {"N": 1 << 30}, "salt": ""}),
        seal(kdf={"name": "argon2", "params": PARAMS, "salt": ""}),
        seal(cipher={"name": "rot13", "nonce": ""}),
        seal(cipher={"name": "nacl/secretbox", "nonce": "AAAA"}),
        seal(ciphertext=""),
        seal(ciphertext=3),
        wrap(b"[]"),
        wrap(b"{"),
        seal()[:-200],
        b"-----BEGIN ENCRYPTED COSIGN PRIVATE KEY-----\n",
        b"-----BEGIN ENCRYPTED COSIGN PRIVATE KEY-----\n!\n-----END ENCRYPTED COSIGN PRIVATE KEY-----\n",
    ],
    ids=itertools.count(),
)
def test_what_only_looks_like_one(pem: bytes) -> None:
    with pytest.raises(UsageError, match=r"cosign\.key"):
        parse_private_key(pem, "cosign.key", lambda: PASSPHRASE)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nacl.secret", None)
    with pytest.raises(UsageError, match=r"wherry\[cosign\]"):
        parse_private_key(seal(), "cosign.key", lambda: PASSPHRASE)
