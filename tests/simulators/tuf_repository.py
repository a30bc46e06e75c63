"""A TUF repository in memory: an attack is an edit of a few lines, then `publish`.

It signs whatever it is told to, and keeps every document that it ever published by its name.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from securesystemslib.signer import CryptoSigner, Signer
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from wherry.formats.release_json import render_release_custom
from wherry.model.digest import DiffId, Digest
from wherry.model.platform import Platform
from wherry.model.release import Metadata as Documents
from wherry.model.release import ReleaseLayer, ReleaseTarget

ROLES = ("root", "timestamp", "snapshot", "targets")
AMD64 = Platform("linux", "amd64")
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAYS = {"root": 365, "targets": 365, "snapshot": 365, "timestamp": 14}


def make_target(release: int = 1, platform: Platform = AMD64) -> ReleaseTarget:
    layers = tuple(ReleaseLayer(diff_id=DiffId(f"{number:064x}"), size=1000 + number) for number in range(3))
    manifest = Digest.of(f"manifest {release}".encode())
    return ReleaseTarget(platform=platform, manifest=manifest, size=700, release=release, layers=layers, memory=1 << 25)


class TufRepository:
    """`now` is what the signed documents say; `signers` may be edited, and so may the four payloads."""

    def __init__(self, now: datetime = NOW, *, dated: bool = True) -> None:
        self.now = now
        self.dated = dated
        self.signers: dict[str, list[Signer]] = {role: [CryptoSigner.generate_ed25519()] for role in ROLES}
        self.root, self.timestamp = Root(), Timestamp()
        self.snapshot, self.targets = Snapshot(), Targets()
        self.roots: list[bytes] = []
        self.files: dict[str, bytes] = {}
        for role in ROLES:
            self.root.add_key(self.signers[role][0].public_key, role)
        self.stamp(*ROLES)
        self.release(1)
        self.publish_root()
        self.publish()

    def stamp(self, *roles: str) -> None:
        """Give payloads the time that it is now."""
        for role in roles:
            payload = getattr(self, role)
            payload.expires = self.now + timedelta(days=DAYS[role])
            if self.dated:
                payload.unrecognized_fields["x-wherry-days"] = DAYS[role]

    def release(self, number: int, *platforms: Platform) -> None:
        for platform in platforms or (AMD64,):
            self.add_target(make_target(number, platform))

    def add_target(self, target: ReleaseTarget) -> None:
        custom: dict[str, Any] = {"custom": render_release_custom(target)}
        path = str(target.platform)
        self.targets.targets[path] = TargetFile(target.size, {"sha256": target.manifest.hex}, path, custom)

    def sign(self, role: str, payload: Any = None, signers: Iterable[Signer] | None = None) -> bytes:
        metadata: Metadata[Any] = Metadata(copy.deepcopy(payload or getattr(self, role)))
        for signer in self.signers[role] if signers is None else signers:
            metadata.sign(signer, append=True)
        return metadata.to_bytes()

    def publish_root(self) -> None:
        self.roots.append(self.sign("root"))
        self.files[f"{self.root.version}.root.json"] = self.roots[-1]

    def next_root(self) -> None:
        self.root.version += 1
        self.stamp("root")
        self.publish_root()

    def rotate(self, role: str) -> list[Signer]:
        """Another key for a role other than root; gives the retired ones."""
        retired = self.signers[role]
        for signer in retired:
            self.root.revoke_key(signer.public_key.keyid, role)
        self.signers[role] = [CryptoSigner.generate_ed25519()]
        self.root.add_key(self.signers[role][0].public_key, role)
        return retired

    def update(self, *roles: str) -> None:
        """Count on what of (targets, snapshot, timestamp) is named, and publish."""
        for role in roles:
            getattr(self, role).version += 1
        self.stamp(*roles)
        self.publish()

    def publish(self) -> Documents:
        self.snapshot.meta["targets.json"] = MetaFile(self.targets.version)
        self.timestamp.snapshot_meta = MetaFile(self.snapshot.version)
        return self.freeze()

    def freeze(self) -> Documents:
        """The documents as they are, whether or not they fit."""
        documents = Documents(
            roots=tuple(self.roots),
            timestamp=self.sign("timestamp"),
            snapshot=self.sign("snapshot"),
            targets=self.sign("targets"),
        )
        self.files["timestamp.json"] = documents.timestamp
        self.files[f"{self.snapshot.version}.snapshot.json"] = documents.snapshot
        self.files[f"{self.targets.version}.targets.json"] = documents.targets
        return documents
