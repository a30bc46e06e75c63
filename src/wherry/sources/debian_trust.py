"""Decides whether an InRelease is the distribution's own: by key fingerprints that stand here, not by what a keyring says.

A keyring, from the host or from the archive's own package, only brings the keys' bytes; a certificate counts when its
primary fingerprint is one of the distribution's. Only the bytes that the verifier returns are ever parsed. Sources
signed by others are not used, whatever apt would accept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pysequoia

from wherry.errors import TrustError
from wherry.sources.apt import AptSource

MAX_INRELEASE = 16 << 20
MAX_KEYRING = 4 << 20

# Primary fingerprints, as published on the archive's key page and in its debian-archive-keyring package.
ARCHIVE_KEYS: Mapping[str, str] = MappingProxyType(
    {
        "1f89983e0081fde018f3cc9673a4f27b8dd47936": "archive, 11 bullseye",
        "ac530d520f2f3269f5e98313a48449044aad5c5d": "security archive, 11 bullseye",
        "a4285295fc7b1a81600062a9605c66f00d6c9793": "stable release, 11 bullseye",
        "b8b80b5b623eab6ad8775c45b7c5d7d6350947f8": "archive, 12 bookworm",
        "05ab90340c0c5e797f44a8c8254cf3b5aec0a8f0": "security archive, 12 bookworm",
        "4d64fec119c2029067d6e791f8d2585b8783d481": "stable release, 12 bookworm",
        "04b54c3cdca79751b16bc6b5225629df75b188bd": "archive, 13 trixie",
        "5e04a1e3223a19a20706e20f9904613d4cce68c6": "security archive, 13 trixie",
        "41587f7db8c774bccf131416762f67a0b2c39de4": "stable release, 13 trixie",
    }
)
UBUNTU_KEYS: Mapping[str, str] = MappingProxyType({"f6ecb3762474eda9d21b7022871920d1991bc93c": "archive, 2018"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """Whose archive: `name` is os-release's ID, `keys` fingerprint → what it signs, `keyring` the package with the keys.

    `components` are read whatever a machine enables, so that a lock does not depend on it.
    """

    name: str
    keys: Mapping[str, str]
    keyring: str
    components: tuple[str, ...]


DEBIAN = Distribution(name="debian", keys=ARCHIVE_KEYS, keyring="debian-archive-keyring", components=("main",))
UBUNTU = Distribution(name="ubuntu", keys=UBUNTU_KEYS, keyring="ubuntu-keyring", components=("main", "universe"))
DISTRIBUTIONS: Mapping[str, Distribution] = MappingProxyType({d.name: d for d in (DEBIAN, UBUNTU)})

_SUITE = re.compile(r"[a-z]+(?:-(?:updates|security|proposed-updates|backports))?")
HOST_KEYRINGS = ("usr/share/keyrings", "etc/apt/trusted.gpg.d", "etc/apt/keyrings")


class Keyring:
    """Certificates that this archive accepts. `trusted` is the set of primary fingerprints, `ARCHIVE_KEYS` by default."""

    def __init__(self, trusted: Iterable[str] = tuple(ARCHIVE_KEYS)) -> None:
        self._trusted = frozenset(trusted)
        self._certificates: dict[str, Any] = {}

    def __bool__(self) -> bool:
        return bool(self._certificates)

    def add(self, data: bytes) -> int:
        """Take from a keyring, binary or armored, what is trusted; the number taken. Damaged keyrings bring nothing."""
        taken = 0
        try:
            certificates = pysequoia.Cert.split_bytes(data)
        except Exception:  # noqa: BLE001 - the binding raises bare Exception for every malformed certificate
            return 0
        for certificate in certificates:
            fingerprint = certificate.fingerprint.lower()
            if fingerprint in self._trusted and not certificate.is_revoked:
                self._certificates.setdefault(fingerprint, certificate)
                taken += 1
        return taken

    def add_host(self, root: Path) -> None:
        """Look through the keyrings that distributions install. Unreadable files are passed over."""
        names = tuple(f"{name}-archive" for name in DISTRIBUTIONS)
        for folder in HOST_KEYRINGS:
            base = root / folder
            for path in sorted(base.iterdir()) if base.is_dir() else ():
                if path.suffix in (".gpg", ".pgp", ".asc") and path.name.startswith(names):
                    self.add_file(path)

    def add_file(self, path: Path) -> int:
        try:
            if path.stat().st_size > MAX_KEYRING:
                return 0
            return self.add(path.read_bytes())
        except OSError:
            return 0

    def verify_inrelease(self, data: bytes, where: str) -> bytes:
        """The signed text. Anything but a good signature by a trusted key is a `TrustError`."""
        if len(data) > MAX_INRELEASE:
            raise TrustError(f"an InRelease of {len(data)} bytes", where=where)
        if not self._certificates:
            raise TrustError(
                "none of the archive's keys is here",
                where=where,
                hint="install debian-archive-keyring, or name its file in Signed-By",
            )
        try:
            result = pysequoia.verify(bytes=data, store=lambda _ids: list(self._certificates.values()))
            signed = result.bytes
            signers = {signature.certificate.lower() for signature in result.valid_sigs}
        except Exception as error:
            raise TrustError(
                f"the InRelease is not signed by the archive's keys ({_first_line(error)})",
                where=where,
                hint="check the mirror; a transfer cut short looks like this too, then try again",
            ) from error
        if signed is None or not signers & self._trusted:
            raise TrustError("the InRelease is not signed by the archive's keys", where=where)
        return bytes(signed)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no reason given"])[0][:160]


def host_keyring(sources: Sequence[AptSource], distribution: Distribution, root: Path) -> Keyring:
    """The keys of the distribution that this machine has."""
    keyring = Keyring(distribution.keys)
    keyring.add_host(root)
    for source in sources:
        _add_signed_by(keyring, source)
    return keyring


def own_sources(sources: Sequence[AptSource], distribution: Distribution, host: str) -> tuple[AptSource, ...]:
    """The sources that can be the distribution's: Signed-By names its keys, or names none and `host` (the machine's
    os-release ID) is the distribution."""
    return tuple(source for source in sources if _SUITE.fullmatch(source.suite) and _belongs(source, distribution, host))


def _belongs(source: AptSource, distribution: Distribution, host: str) -> bool:
    if not source.inline_key and not any(path.is_file() for path in source.keyrings):
        return host == distribution.name
    return _add_signed_by(Keyring(distribution.keys), source) > 0


def _add_signed_by(keyring: Keyring, source: AptSource) -> int:
    return sum(keyring.add_file(path) for path in source.keyrings) + keyring.add(source.inline_key.encode())


def read_host(root: Path) -> str:
    """The machine's distribution: ID in os-release; empty where there is none."""
    try:
        text = (root / "etc/os-release").read_text("utf-8", "replace")
    except OSError:
        return ""
    found = re.search(r'^ID="?([a-z0-9._-]+)"?$', text, re.MULTILINE)
    return found[1] if found else ""
