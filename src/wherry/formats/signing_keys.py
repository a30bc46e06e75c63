"""Keys that sign images, out of PEM: ECDSA on P-256, as cosign makes them, ed25519, and RSA to verify with.

All signatures follow from key and data alone (RFC 6979 for ECDSA), so signing twice gives the same bytes. A signature is over
the data's sha256, but for ed25519, which takes the data itself: what cosign and containers/image expect of each kind.
Refused: other curves and short RSA keys. Keys in cosign's own encrypted form are opened by `cosign_key`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_pem_private_key,
    load_pem_public_key,
)

from wherry.errors import UsageError
from wherry.formats.cosign_key import is_cosign_key, open_cosign_key

MAKE_KEY = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes-256-cbc -out signing.pem"
SHOW_PUBLIC = "openssl pkey -in signing.pem -pubout -out signing.pub"
_RSA_BITS = range(2048, 8193)
_KINDS = "an ECDSA key on P-256 or an ed25519 key"


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A public key."""

    public: EllipticCurvePublicKey | Ed25519PublicKey | RSAPublicKey

    @property
    def hint(self) -> str:
        """The key's sha256, as sigstore's bundles name it."""
        der = self.public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return base64.b64encode(hashlib.sha256(der).digest()).decode()

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Whether this is the key's signature over the data."""
        try:
            if isinstance(self.public, Ed25519PublicKey):
                self.public.verify(signature, data)
            elif isinstance(self.public, RSAPublicKey):
                self.public.verify(signature, data, PKCS1v15(), SHA256())
            else:
                self.public.verify(signature, data, ECDSA(SHA256()))
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key, decrypted."""

    private: EllipticCurvePrivateKey | Ed25519PrivateKey

    @property
    def public(self) -> VerifyingKey:
        return VerifyingKey(self.private.public_key())

    def sign(self, data: bytes) -> bytes:
        if isinstance(self.private, Ed25519PrivateKey):
            return self.private.sign(data)
        return self.private.sign(data, ECDSA(SHA256(), deterministic_signing=True))


def parse_private_key(pem: bytes, where: str, ask: Callable[[], str]) -> SigningKey:
    """A private key in PEM (PKCS#8, openssl's older forms, cosign's); `ask` gives the passphrase of an encrypted one."""
    is_locked = b"ENCRYPTED" in pem
    try:
        if is_cosign_key(pem):
            key = load_der_private_key(open_cosign_key(pem, where, ask), None)
        else:
            key = load_pem_private_key(pem, ask().encode() if is_locked else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if is_locked:
            raise UsageError("the passphrase is wrong, or the file is damaged", where=where) from error
        raise UsageError("not a private key in PEM", where=where, hint=MAKE_KEY) from error
    if isinstance(key, Ed25519PrivateKey) or (isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1)):
        return SigningKey(key)
    raise UsageError(f"not {_KINDS}", where=where, hint=MAKE_KEY)


def parse_public_key(pem: bytes, where: str) -> VerifyingKey:
    """A public key in PEM, as cosign.pub or `openssl pkey -pubout` have it."""
    if b"PRIVATE KEY" in pem:
        raise UsageError("a private key; verifying takes the public one", where=where, hint=SHOW_PUBLIC)
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError("not a public key in PEM", where=where, hint=SHOW_PUBLIC) from error
    if isinstance(key, Ed25519PublicKey) or (isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1)):
        return VerifyingKey(key)
    if isinstance(key, RSAPublicKey) and key.key_size in _RSA_BITS:
        return VerifyingKey(key)
    raise UsageError(f"neither {_KINDS} nor RSA of 2048 bits or more", where=where)
