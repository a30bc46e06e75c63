"""What a device believes, under attack: each attack is an edit of the repository in memory. What is old, and what time it is."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import MetaFile

from tests.simulators.tuf_repository import AMD64, NOW, TufRepository, make_target
from tests.unit.agent.trust_stores import DAY, EPOCH, refuse, take
from wherry.agent.trust import TrustStore
from wherry.errors import DeviceError, TrustError
from wherry.model.platform import Platform


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
