"""Keys out of PEM, and signatures that follow from them."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.simulators.signing import make_pair
from wherry.errors import UsageError
from wherry.formats.signing_keys import SigningKey, VerifyingKey, parse_private_key, parse_public_key

# RFC 6979, A.2.5: P-256 with SHA-256, message "sample"
PRIVATE = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721
R = 0xEFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716
S = 0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8


def ask() -> str:
    raise AssertionError("nobody is to be asked")


def render_public(key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey) -> bytes:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def test_ecdsa_signs_as_rfc_6979_says() -> None:
    key = SigningKey(ec.derive_private_key(PRIVATE, ec.SECP256R1()))
    assert utils.decode_dss_signature(key.sign(b"sample")) == (R, S)


@pytest.mark.parametrize("kind", ["p256", "ed25519"])
def test_the_same_key_and_data_give_the_same_signature(kind: str) -> None:
    pair = make_pair(kind)
    signature = pair.key.sign(b"data")
    assert pair.key.sign(b"data") == signature
    public = parse_public_key(pair.public_pem, "key.pub")
    assert public.verifies(signature, b"data")
    assert not public.verifies(signature, b"Data")
    assert not public.verifies(signature[:-1], b"data")
    assert not public.verifies(b"", b"data")
    assert not parse_public_key(make_pair(kind).public_pem, "key.pub").verifies(signature, b"data")
    assert public.hint == pair.key.public.hint
    assert len(base64.b64decode(public.hint)) == 32


def test_an_encrypted_key_needs_its_passphrase() -> None:
    pair = make_pair()
    locked = pair.pem("five random words")
    assert parse_private_key(locked, "key.pem", lambda: "five random words").public.hint == pair.key.public.hint
    for wrong in ("", "four random words"):
        with pytest.raises(UsageError, match="passphrase is wrong"):
            parse_private_key(locked, "key.pem", lambda wrong=wrong: wrong)  # type: ignore[misc]


def test_what_openssl_wrote_before_pkcs8() -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    assert parse_private_key(pem, "key.pem", ask).public.hint == VerifyingKey(private.public_key()).hint


def test_others_are_refused() -> None:
    curve = ec.generate_private_key(ec.SECP384R1())
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    for pem in (curve.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), make_pair().public_pem, b"", b"\xff\x00"):
        with pytest.raises(UsageError):
            parse_private_key(pem, "key.pem", ask)
    for pem in (render_public(curve.public_key()), render_public(short.public_key()), b"", b"\xff\x00"):
        with pytest.raises(UsageError):
            parse_public_key(pem, "key.pub")
    with pytest.raises(UsageError, match="takes the public one"):
        parse_public_key(make_pair().pem(), "key.pem")


def test_rsa_verifies() -> None:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    key = parse_public_key(render_public(private.public_key()), "key.pub")
    signature = private.sign(b"data", padding.PKCS1v15(), SHA256())
    assert key.verifies(signature, b"data")
    assert not key.verifies(signature, b"date")
