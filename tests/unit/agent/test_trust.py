"""What a device believes, under attack: each attack is an edit of the repository in memory."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata as TufMetadata
from tuf.api.metadata import MetaFile, TargetFile

from tests.simulators.tuf_repository import AMD64, NOW, TufRepository, make_target
from wherry.agent.trust import TrustStore, VerifiedRelease
from wherry.errors import DeviceError, FormatError, TrustError
from wherry.model.platform import Platform
from wherry.model.release import Metadata

DAY = timedelta(days=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.fixture
def repository() -> TufRepository:
    return TufRepository()


@pytest.fixture
def store(tmp_path: Path, repository: TufRepository) -> TrustStore:
    store = TrustStore(tmp_path / "trust")
    store.begin(repository.roots[0])
    return store


def take(store: TrustStore, metadata: Metadata, now: datetime = NOW, max_age: timedelta = timedelta(0)) -> VerifiedRelease:
    verified = store.verify_metadata(metadata, AMD64, now=now, max_age=max_age)
    store.accept(verified)
    return verified


def refuse(store: TrustStore, metadata: Metadata, reason: str, now: datetime = NOW, max_age: timedelta = timedelta(0)) -> None:
    """A refusal leaves no trace."""
    before = store.read()
    with pytest.raises(TrustError, match=reason):
        store.verify_metadata(metadata, AMD64, now=now, max_age=max_age)
    after = store.read()
    assert (after.root.raw, after.timestamp and after.timestamp.raw) == (before.root.raw, before.timestamp and before.timestamp.raw)


def test_a_release_is_believed(store: TrustStore, repository: TufRepository) -> None:
    assert take(store, repository.publish()).target == make_target(1)


def test_nothing_is_written_before_it_is_accepted(store: TrustStore, repository: TufRepository, tmp_path: Path) -> None:
    store.verify_metadata(repository.publish(), AMD64, now=NOW)
    assert [path.name for path in (tmp_path / "trust").iterdir()] == ["root.json"]


def test_the_same_again_is_believed_again(store: TrustStore, repository: TufRepository) -> None:
    metadata = repository.publish()
    for _ in range(2):
        assert take(store, metadata).target.release == 1


def test_a_device_without_a_root_believes_nothing(repository: TufRepository, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="trusts no channel"):
        TrustStore(tmp_path).verify_metadata(repository.publish(), AMD64, now=NOW)


def test_another_platform(store: TrustStore, repository: TufRepository) -> None:
    with pytest.raises(DeviceError, match="nothing is released for linux/arm64"):
        store.verify_metadata(repository.publish(), Platform("linux", "arm64"), now=NOW)


def test_a_stranger_may_not_begin(tmp_path: Path, repository: TufRepository) -> None:
    forged = repository.sign("root", signers=[CryptoSigner.generate_ed25519()])
    with pytest.raises(TrustError, match="signed by 0 of 1"):
        TrustStore(tmp_path).begin(forged)


def test_to_begin_anew_forgets(store: TrustStore, repository: TufRepository) -> None:
    take(store, repository.publish())
    other = TufRepository()
    store.begin(other.roots[0])
    assert store.read().timestamp is None
    assert take(store, other.publish()).target.release == 1


# Rollback


def test_rollback_of_everything(store: TrustStore, repository: TufRepository) -> None:
    former = repository.publish()
    repository.release(2)
    repository.update("targets", "snapshot", "timestamp")
    take(store, repository.freeze())
    refuse(store, former, "goes back to timestamp 1, after 2")


def test_rollback_of_the_snapshot_by_the_timestamps_key(store: TrustStore, repository: TufRepository) -> None:
    repository.update("targets", "snapshot", "timestamp")
    take(store, repository.freeze())
    repository.snapshot.version = 1
    repository.timestamp.version = 3
    refuse(store, repository.publish(), "goes back to snapshot 1, after 2")


def test_rollback_of_the_targets_by_the_online_keys(store: TrustStore, repository: TufRepository) -> None:
    repository.update("targets", "snapshot", "timestamp")
    take(store, repository.freeze())
    repository.targets.version = 1
    repository.update("snapshot", "timestamp")
    refuse(store, repository.freeze(), r"goes back to targets\.json 1, after 2")


def test_targets_that_vanish_from_the_snapshot(store: TrustStore, repository: TufRepository) -> None:
    take(store, repository.publish())
    repository.update("snapshot", "timestamp")
    repository.snapshot.meta = {"other.json": MetaFile(1)}
    refuse(store, repository.freeze(), r"no longer names targets\.json")


def test_a_signed_downgrade_is_a_new_release(store: TrustStore, repository: TufRepository) -> None:
    repository.release(2)
    repository.update("targets", "snapshot", "timestamp")
    take(store, repository.freeze())
    repository.add_target(replace(make_target(1), release=3))
    repository.update("targets", "snapshot", "timestamp")
    assert take(store, repository.freeze()).target.manifest == make_target(1).manifest


def test_one_number_one_timestamp(store: TrustStore, repository: TufRepository) -> None:
    """Of two timestamps with one number the first one counts."""
    first = repository.publish()
    take(store, first)
    repository.timestamp.expires += DAY * 400
    take(store, repository.freeze())
    kept = store.read().timestamp
    assert kept is not None
    assert kept.raw == first.timestamp


# Freeze, and the clock


def test_a_timestamp_that_expired(store: TrustStore, repository: TufRepository) -> None:
    refuse(store, repository.publish(), "expired on 2026-12-05", NOW + 14 * DAY)


def test_a_believed_timestamp_expires_too(store: TrustStore, repository: TufRepository) -> None:
    metadata = repository.publish()
    take(store, metadata)
    refuse(store, metadata, "expired", NOW + 15 * DAY)


@pytest.mark.parametrize("role", ["root", "snapshot", "targets"])
def test_other_documents_expire(store: TrustStore, repository: TufRepository, role: str) -> None:
    getattr(repository, role).expires = NOW
    if role == "root":
        repository.root.version += 1
        repository.publish_root()
    refuse(store, repository.publish(), "expired on 2026-11-21 12:00 UTC")


def test_an_age_is_allowed_for_the_online_roles_alone(store: TrustStore, repository: TufRepository) -> None:
    verified = take(store, repository.publish(), NOW + 20 * DAY, max_age=7 * DAY)
    assert verified.expired_for == 6 * DAY
    refuse(store, repository.publish(), "at most 7 days", NOW + 21 * DAY, 7 * DAY)
    repository.targets.expires = NOW + 20 * DAY
    refuse(store, repository.publish(), "targets.json: expired", NOW + 20 * DAY, 7 * DAY)


def test_a_clock_at_1970_takes_the_signed_time(store: TrustStore, repository: TufRepository) -> None:
    verified = take(store, repository.publish(), EPOCH)
    assert verified.expired_for == timedelta(0)
    assert store.read().floor == NOW


def test_a_clock_set_back_does_not_revive_what_expired(store: TrustStore, repository: TufRepository) -> None:
    """The targets had expired before the newest signed time, whatever the clock says."""
    repository.targets.expires = NOW + 30 * DAY
    repository.now = NOW + 40 * DAY
    repository.update("snapshot", "timestamp")
    refuse(store, repository.freeze(), r"targets\.json: expired", EPOCH)


def test_time_does_not_fall_below_what_was_signed(store: TrustStore, repository: TufRepository) -> None:
    repository.now = NOW + 40 * DAY
    repository.update("timestamp")
    take(store, repository.freeze(), NOW + 40 * DAY)
    repository.timestamp.version += 1
    repository.timestamp.unrecognized_fields.clear()
    repository.timestamp.expires = NOW + 20 * DAY
    refuse(store, repository.freeze(), "earlier time", EPOCH)


def test_a_newer_timestamp_of_an_earlier_time(store: TrustStore, repository: TufRepository) -> None:
    take(store, repository.publish())
    repository.now = NOW - DAY
    repository.update("timestamp")
    refuse(store, repository.freeze(), "earlier time")


def test_a_new_root_tells_the_time(store: TrustStore, repository: TufRepository) -> None:
    repository.now = NOW + 20 * DAY
    repository.next_root()
    refuse(store, repository.freeze(), r"timestamp\.json: expired", EPOCH)


@pytest.mark.parametrize("days", [0, -1, True, "14", 10**9, None])
def test_nonsense_about_the_signing_time_is_nothing(tmp_path: Path, days: object) -> None:
    repository = TufRepository(dated=False)
    store = TrustStore(tmp_path)
    store.begin(repository.roots[0])
    repository.timestamp.unrecognized_fields["x-wherry-days"] = days
    take(store, repository.freeze())
    assert store.read().floor is None


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


# Fast-forward, and the way out of it


def test_keys_taken_away_end_a_fast_forward_of_the_timestamp(store: TrustStore, repository: TufRepository) -> None:
    repository.timestamp.version = 10**9
    repository.now = NOW + 100 * DAY
    repository.stamp("timestamp")
    take(store, repository.freeze())
    repository.now = NOW
    repository.timestamp.version = 2
    repository.stamp("timestamp")
    refuse(store, repository.freeze(), "goes back to timestamp 2")
    repository.rotate("timestamp")
    repository.next_root()
    assert take(store, repository.freeze()).target.release == 1
    assert store.read().floor == NOW


def test_keys_taken_away_end_a_fast_forward_of_the_snapshot(store: TrustStore, repository: TufRepository) -> None:
    repository.targets.version = 10**9
    repository.snapshot.version = 10**9
    take(store, repository.publish())
    repository.targets.version = repository.snapshot.version = repository.timestamp.version = 2
    for role in ("snapshot", "timestamp"):
        refuse(store, repository.publish(), "goes back")
        repository.rotate(role)
        repository.next_root()
    take(store, repository.publish())
    assert store.read().timestamp is not None


def test_a_routine_rotation_keeps_the_protection(store: TrustStore, repository: TufRepository) -> None:
    """A key that is added takes nothing away: what the former one signed still counts."""
    former = repository.publish()
    repository.update("timestamp")
    take(store, repository.freeze())
    repository.root.add_key(CryptoSigner.generate_ed25519().public_key, "timestamp")
    repository.next_root()
    refuse(store, replace(former, roots=tuple(repository.roots)), "goes back to timestamp 1")


# Foreign bytes


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"null",
        b"[" * 10_000,
        b'{"signatures":[],"signed":{}}',
        b'{"signatures":[],"signed":{"_type":"timestamp","version":"1"}}',
        b"\xff\xfe",
        b'{"signed":' * 1500,
    ],
)
def test_what_is_no_document(store: TrustStore, repository: TufRepository, role: str, raw: bytes) -> None:
    refuse(store, replace(repository.publish(), **{role: raw}), r"not a document of TUF|this is timestamp")


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_endless_data(store: TrustStore, repository: TufRepository, role: str) -> None:
    metadata = repository.publish()
    refuse(store, replace(metadata, **{role: getattr(metadata, role) + b" " * (1 << 20)}), "at most .* are read")


def test_an_endless_root(store: TrustStore, repository: TufRepository) -> None:
    refuse(store, replace(repository.publish(), roots=(repository.roots[0] + b" " * (1 << 20),)), "at most .* are read")


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_every_flipped_bit_is_refused_or_means_nothing(store: TrustStore, repository: TufRepository, role: str) -> None:
    metadata = repository.publish()
    raw = getattr(metadata, role)
    for place in range(0, len(raw), 7):
        damaged = raw[:place] + bytes([raw[place] ^ 1 << place % 8]) + raw[place + 1 :]
        try:
            verified = store.verify_metadata(replace(metadata, **{role: damaged}), AMD64, now=NOW)
        except TrustError:
            continue
        # What is not signed may differ: hex digits' case, the name of an unused field.
        assert verified.target == make_target(1)
        assert TufMetadata.from_bytes(damaged).signed == TufMetadata.from_bytes(raw).signed


def test_damaged_files_of_the_store_count_as_none(store: TrustStore, repository: TufRepository, tmp_path: Path) -> None:
    take(store, repository.publish())
    for name in ("timestamp", "snapshot", "targets"):
        (tmp_path / "trust" / f"{name}.json").write_bytes(b"\0" * 100)
    assert take(store, repository.publish()).target.release == 1
    (tmp_path / "trust/root.json").write_bytes(b"\0" * 100)
    with pytest.raises(TrustError):
        store.read()


# What the targets say


@pytest.mark.parametrize(
    "custom",
    [
        None,
        [],
        {"release": 0, "layers": []},
        {"release": True, "layers": []},
        {"release": 1, "layers": {}},
        {"release": 1, "layers": [{}] * 600},
        {"release": 1, "layers": [{"diff_id": "sha256:0", "size": 1}]},
        {"release": 1, "layers": [{"diff_id": "sha256:" + "0" * 64, "size": -1}]},
        {"release": 1, "layers": [], "memory": 1 << 60},
        {"release": 1, "layers": [], "health": {"ping": "x", "within": 1, "seconds": 1}},
        {"release": 1, "layers": [], "health": {"http": "80/", "log": "x", "within": 1, "seconds": 1}},
        {"release": 1, "layers": [], "health": {"within": 1, "seconds": 1}},
    ],
)
def test_a_signed_release_of_another_form(store: TrustStore, repository: TufRepository, custom: object) -> None:
    path = str(AMD64)
    repository.targets.targets[path] = TargetFile(5, {"sha256": "0" * 64}, path, {"custom": custom})
    with pytest.raises(FormatError):
        store.verify_metadata(repository.publish(), AMD64, now=NOW)


def test_unknown_members_are_let_be(store: TrustStore, repository: TufRepository) -> None:
    repository.targets.targets[str(AMD64)].unrecognized_fields["custom"]["later"] = {"a": 1}
    assert take(store, repository.publish()).target == make_target(1)


def test_to_believe_takes_no_http_stack() -> None:
    """python-tuf's own client would bring one along; a device counts every byte that it says."""
    program = "import sys, wherry.agent.trust; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"urllib3", "requests", "http.client", "ssl", "typer", "rich", "msgspec", "tuf.ngclient"} & set(loaded)
