"""Whose signatures a device believes, and which documents together: each attack is an edit of the repository in memory."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import MetaFile

from tests.simulators.tuf_repository import NOW, TufRepository
from tests.unit.agent.trust_stores import DAY, refuse, take
from wherry.agent.trust import TrustStore

# Mix and match


def test_targets_that_the_snapshot_does_not_name(store: TrustStore, repository: TufRepository) -> None:
    former = repository.publish()
    repository.release(2)
    repository.update("targets", "snapshot", "timestamp")
    current = repository.freeze()
    refuse(store, replace(current, targets=former.targets), "targets 1, the snapshot names 2")
    refuse(store, replace(former, targets=current.targets), "targets 2, the snapshot names 1")
    refuse(store, replace(current, snapshot=former.snapshot), "snapshot 1, the timestamp names 2")


def test_hashes_count_where_they_are_given(store: TrustStore, repository: TufRepository) -> None:
    repository.publish()
    repository.timestamp.snapshot_meta = MetaFile(1, length=10)
    refuse(store, repository.freeze(), "length")
    repository.timestamp.snapshot_meta = MetaFile(1, hashes={"sha256": "0" * 64})
    refuse(store, repository.freeze(), "hash")


def test_one_document_for_another(store: TrustStore, repository: TufRepository) -> None:
    metadata = repository.publish()
    refuse(store, replace(metadata, snapshot=metadata.targets), "this is targets, expected snapshot")
    refuse(store, replace(metadata, timestamp=metadata.roots[0]), "this is root, expected timestamp")


# Keys


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_a_strangers_key(store: TrustStore, repository: TufRepository, role: str) -> None:
    repository.signers[role] = [CryptoSigner.generate_ed25519()]
    refuse(store, repository.publish(), "signed by 0 of 1")


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_the_key_of_another_role(store: TrustStore, repository: TufRepository, role: str) -> None:
    repository.signers[role] = repository.signers["timestamp" if role != "timestamp" else "snapshot"]
    refuse(store, repository.publish(), "signed by 0 of 1")


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_a_retired_key(store: TrustStore, repository: TufRepository, role: str) -> None:
    retired = repository.rotate(role)
    repository.next_root()
    good = repository.publish()
    repository.signers[role] = retired
    refuse(store, repository.publish(), "signed by 0 of 1")
    assert take(store, good).target.release == 1


def test_a_root_needs_the_former_and_its_own_keys(store: TrustStore, repository: TufRepository) -> None:
    old = repository.signers["root"][0]
    new = CryptoSigner.generate_ed25519()
    repository.root.revoke_key(old.public_key.keyid, "root")
    repository.root.add_key(new.public_key, "root")
    repository.root.version = 2
    for signers in ([new], [old], [CryptoSigner.generate_ed25519()]):
        repository.roots[1:] = [repository.sign("root", signers=signers)]
        refuse(store, repository.freeze(), "signed by 0 of 1")
    repository.roots[1:] = [repository.sign("root", signers=[old, new])]
    take(store, repository.freeze())
    assert store.read().root.signed.version == 2


def test_no_root_is_left_out(store: TrustStore, repository: TufRepository) -> None:
    repository.next_root()
    repository.next_root()
    metadata = repository.freeze()
    refuse(store, replace(metadata, roots=(metadata.roots[2],)), "this is root 3")
    take(store, metadata)
    assert store.read().root.signed.version == 3


def test_roots_in_between_may_have_expired(store: TrustStore, repository: TufRepository) -> None:
    repository.root.version, repository.root.expires = 2, NOW - DAY
    repository.publish_root()
    repository.next_root()
    take(store, repository.freeze())


def test_endless_roots(store: TrustStore, repository: TufRepository) -> None:
    metadata = repository.freeze()
    refuse(store, replace(metadata, roots=metadata.roots * 300), "300 roots")


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "root"])
def test_thresholds(store: TrustStore, repository: TufRepository, role: str) -> None:
    first, second = repository.signers[role][0], CryptoSigner.generate_ed25519()
    repository.root.add_key(second.public_key, role)
    repository.root.roles[role].threshold = 2
    repository.root.version = 2
    enough = [first, second]
    for signers in ([first], [second], enough):
        repository.signers[role] = signers
        repository.roots[1:] = [repository.sign("root")]
        if signers is not enough:
            refuse(store, repository.freeze(), "signed by [01] of [12]")
    take(store, repository.freeze())


def test_one_key_under_two_names_counts_once(store: TrustStore, repository: TufRepository) -> None:
    signer = repository.signers["timestamp"][0]
    twin = CryptoSigner(signer._private_key)  # type: ignore[attr-defined]
    twin.public_key.keyid = "another-name"
    repository.root.add_key(twin.public_key, "timestamp")
    repository.root.roles["timestamp"].threshold = 2
    repository.signers["timestamp"].append(twin)
    repository.next_root()
    refuse(store, repository.freeze(), "signed by 1 of 2")


def test_one_signature_twice(store: TrustStore, repository: TufRepository) -> None:
    metadata = repository.freeze()
    value = json.loads(metadata.timestamp)
    value["signatures"] *= 2
    refuse(store, replace(metadata, timestamp=json.dumps(value).encode()), "not a document of TUF")
