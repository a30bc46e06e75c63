"""The keys of a channel: files in a folder that is no part of the channel.

    root-5c1d….pem      ed25519, PKCS#8, encrypted if it has a passphrase; named by role and key id
    root.json           the newest root that was signed from this folder: by it a forged channel is told
    retired/            keys that no root names any longer

A key is looked for by its id in all folders given, and decrypted when it is needed, not before. A key file is made once,
for its owner's eyes alone, and never overwritten. Refused: a folder inside the channel; a file whose key is not the one
that its name says.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner, SSlibKey

from wherry.errors import StoreError, TrustError, UsageError
from wherry.formats.tuf_workflow import read_root_version
from wherry.store.posix import explain_os_errors, sync_folder, write_atomically

ROLES = ("root", "targets", "snapshot", "timestamp")
OFFLINE = ("root", "targets")
MIN_PASSPHRASE = 8
_ID = 16  # hex digits of the TUF key id: unique within a channel is enough
_PINNED = "root.json"
_RETIRED = "retired"

# The passphrase of the key file that is named.
AskPassphrase = Callable[[Path], str]


class Keys:
    """Key files in one or more folders; new ones go to the first. `generate` makes them."""

    def __init__(
        self, folders: Sequence[Path], ask: AskPassphrase, generate: Callable[[], Ed25519PrivateKey] = Ed25519PrivateKey.generate
    ) -> None:
        if not folders:
            raise UsageError("no folder with keys", hint="--keys DIR, or WHERRY_KEYS")
        self._folders = tuple(folders)
        self._ask = ask
        self._generate = generate
        self._opened: dict[Path, CryptoSigner] = {}

    def make(self, role: str, passphrase: str) -> CryptoSigner:
        """A new key for a role; without a passphrase it lies there as it is."""
        check_passphrase(passphrase)
        private = self._generate()
        signer = _make_signer(private)
        protection: KeySerializationEncryption = NoEncryption()
        if passphrase:
            protection = BestAvailableEncryption(passphrase.encode())
        folder = self._folders[0]
        path = folder / f"{role}-{signer.public_key.keyid}.pem"
        with explain_os_errors(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write_secret(path, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection))
        self._opened[path] = signer
        return signer

    def find_signers(self, role: str, keyids: Sequence[str], threshold: int) -> list[CryptoSigner]:
        """As many keys as `threshold`, in the order of `keyids`; fewer is a `StoreError` that names them."""
        paths = [path for keyid in keyids if (path := self._find(keyid))]
        if len(paths) < threshold:
            wanted = ", ".join(f"{role}-{keyid}.pem" for keyid in keyids if not self._find(keyid))
            raise StoreError(
                f"{role} needs {threshold} keys and {len(paths)} are here; of {wanted} some are missing",
                where=", ".join(map(str, self._folders)),
                hint="--keys once more, for the folder that has them; docs/how-to/keep-keys.md says what to do when a key is lost",
            )
        return [self._open(path) for path in paths[:threshold]]

    def has_signers(self, keyids: Sequence[str], threshold: int) -> bool:
        return sum(self._find(keyid) is not None for keyid in keyids) >= threshold

    def retire(self, keyids: Sequence[str]) -> None:
        """Put keys aside that no root names any longer."""
        for path in filter(None, map(self._find, keyids)):
            with explain_os_errors(path):
                aside = path.parent / _RETIRED
                aside.mkdir(mode=0o700, exist_ok=True)
                path.rename(aside / path.name)
                sync_folder(aside)
                sync_folder(path.parent)

    def read_pinned_root(self) -> bytes | None:
        """The newest root that was signed from these folders; None where only online keys are."""
        pinned = []
        for path in (folder / _PINNED for folder in self._folders):
            with explain_os_errors(path), suppress(FileNotFoundError):
                pinned.append(path.read_bytes())
        return max(pinned, key=read_root_version, default=None)

    def pin_root(self, root: bytes) -> None:
        with explain_os_errors(self._folders[0]):
            write_atomically(self._folders[0] / _PINNED, root)

    def refuse_inside(self, channel: Path) -> None:
        """What lies in the channel is public."""
        for folder in self._folders:
            if folder.resolve().is_relative_to(channel.resolve()):
                raise UsageError("keys do not belong into the channel's folder, which everybody reads", where=str(folder))

    def refuse_used(self) -> None:
        """A second channel's root would take the place of the first one's, which then counts as forged."""
        for folder in self._folders:
            if (folder / _PINNED).exists():
                raise UsageError("these keys are another channel's", where=str(folder), hint="--keys DIR, a folder of its own")

    def _find(self, keyid: str) -> Path | None:
        for folder in self._folders:
            for role in ROLES:
                path = folder / f"{role}-{keyid}.pem"
                if path.is_file():
                    return path
        return None

    def _open(self, path: Path) -> CryptoSigner:
        if path not in self._opened:
            with explain_os_errors(path):
                pem = path.read_bytes()
            signer = _make_signer(_load_key(pem, path, self._ask))
            if path.stem.rpartition("-")[2] != signer.public_key.keyid:
                raise TrustError("this is another key than its name says", where=str(path))
            self._opened[path] = signer
        return self._opened[path]


def check_passphrase(passphrase: str) -> None:
    """Refuse one that is too short; an empty one stands for none."""
    if passphrase and len(passphrase) < MIN_PASSPHRASE:
        raise UsageError(f"a passphrase has at least {MIN_PASSPHRASE} characters", hint="five random words are good")


def _load_key(pem: bytes, path: Path, ask: AskPassphrase) -> Ed25519PrivateKey:
    is_locked = b"ENCRYPTED" in pem.split(b"\n", 1)[0]
    passphrase = ask(path).encode() if is_locked else None
    try:
        key = load_pem_private_key(pem, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if is_locked:
            raise UsageError("the passphrase is wrong, or the file is damaged", where=str(path)) from error
        raise StoreError("not a private key in PEM", where=str(path)) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise StoreError("not an ed25519 key", where=str(path))
    return key


def _make_signer(private: Ed25519PrivateKey) -> CryptoSigner:
    public = SSlibKey.from_crypto(private.public_key())
    return CryptoSigner(private, SSlibKey(public.keyid[:_ID], public.keytype, public.scheme, public.keyval))


def _write_secret(path: Path, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)
