"""Opens private keys as cosign encrypts them: scrypt and NaCl's secretbox, in JSON, in PEM.

Follows what `cosign generate-key-pair` writes (sigstore's `encrypted` package). The cipher is PyNaCl's (extra `cosign`). A file
that asks for more than `_MOST_WORK` of scrypt is refused: cosign's own keys ask for a quarter of it, or less.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable

import msgspec

from wherry.errors import UsageError

LABELS = (b"ENCRYPTED COSIGN PRIVATE KEY", b"ENCRYPTED SIGSTORE PRIVATE KEY")
_MOST_WORK = 1 << 18  # of N; with r = 8 it is 256 MiB of memory
_KEY_SIZE = 32


class _Scrypt(msgspec.Struct):
    N: int
    r: int
    p: int


class _Derivation(msgspec.Struct):
    name: str
    params: _Scrypt
    salt: bytes


class _Cipher(msgspec.Struct):
    name: str
    nonce: bytes


class _Sealed(msgspec.Struct):
    kdf: _Derivation
    cipher: _Cipher
    ciphertext: bytes


def is_cosign_key(pem: bytes) -> bool:
    return any(label in pem for label in LABELS)


def open_cosign_key(pem: bytes, where: str, ask: Callable[[], str]) -> bytes:
    """The key itself, PKCS#8 in DER. `ask` gives the passphrase."""
    try:
        from nacl.exceptions import CryptoError
        from nacl.secret import SecretBox
    except ImportError as error:
        raise UsageError(
            "cosign encrypts its keys in a way of its own", where=where, hint="pip install 'wherry[cosign]'"
        ) from error
    sealed = _parse(pem, where)
    scrypt = sealed.kdf.params
    try:
        derived = hashlib.scrypt(
            ask().encode(), salt=sealed.kdf.salt, n=scrypt.N, r=scrypt.r, p=scrypt.p, maxmem=300 << 20, dklen=_KEY_SIZE
        )
        return SecretBox(derived).decrypt(sealed.ciphertext, sealed.cipher.nonce)
    except (CryptoError, ValueError) as error:
        raise UsageError("the passphrase is wrong, or the file is damaged", where=where) from error


def _parse(pem: bytes, where: str) -> _Sealed:
    lines = [line.strip() for line in pem.splitlines() if line.strip()]
    try:
        sealed = msgspec.json.decode(base64.b64decode(b"".join(lines[1:-1]), validate=True), type=_Sealed)
    except (binascii.Error, msgspec.DecodeError) as error:
        raise UsageError("not a key of cosign's, or a damaged one", where=where) from error
    kinds = (sealed.kdf.name, sealed.cipher.name)
    scrypt = sealed.kdf.params
    if kinds != ("scrypt", "nacl/secretbox") or not (1 < scrypt.N <= _MOST_WORK and scrypt.r == 8 and scrypt.p == 1):
        raise UsageError(f"encrypted by {' and '.join(kinds)} in a way that cosign does not", where=where)
    return sealed
