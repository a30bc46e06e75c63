"""Keys for tests, fresh each time, and what an attacker with the right to push can lay beside an image."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from tests.simulators.registry import RegistrySimulator
from wherry.formats.cosign import append_layers
from wherry.formats.signing_keys import SigningKey, parse_private_key
from wherry.model.oci import MANIFEST, Descriptor
from wherry.model.reference import Reference


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A private key and the two files that people keep it in."""

    private: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

    @property
    def key(self) -> SigningKey:
        return parse_private_key(self.pem(), "test.pem", lambda: "")

    def pem(self, passphrase: str = "") -> bytes:
        protection = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
        return self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection)

    @property
    def public_pem(self) -> bytes:
        return self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def make_pair(kind: str = "p256") -> Pair:
    return Pair(private=ed25519.Ed25519PrivateKey.generate() if kind == "ed25519" else ec.generate_private_key(ec.SECP256R1()))


def lay_layers(registry: RegistrySimulator, reference: Reference, tag: str, *layers: Descriptor) -> None:
    """Put an attachment of these layers under a tag, in place of what is there."""
    manifest, config = append_layers(None, layers)
    registry.add_blob(reference.repository, config)
    registry.add_manifest(reference.repository, manifest, MANIFEST, tag)
