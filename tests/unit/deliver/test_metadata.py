"""Signing: what is signed is what a device believes, and no more is signed than has to be."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from tests.simulators.channels import PASSPHRASE, make_channel, open_keys, plan_roles
from tests.simulators.tuf_repository import AMD64, NOW, TufRepository, make_target
from wherry.agent.trust import TrustStore
from wherry.deliver.channel import list_roots, read_channel, write_metadata, write_roots
from wherry.deliver.keys import Keys
from wherry.deliver.metadata import (
    Renewal,
    RolePlan,
    find_role,
    read_release,
    refresh_timestamp,
    revoke_key,
    rotate_keys,
    sign_release,
)
from wherry.errors import StoreError, TrustError, UsageError
from wherry.model.platform import Platform
from wherry.model.release import Metadata

DAY = timedelta(days=1)
ARM64 = Platform("linux", "arm64")


class Site:
    """An operator with a channel, and a device that follows it."""

    def __init__(self, folder: Path, keys: Keys | None = None) -> None:
        self.folder, self.key_folder = folder / "channel", folder / "keys"
        self.keys = keys or make_channel(self.folder, self.key_folder)
        self.device = TrustStore(folder / "device")
        self.device.begin((self.folder / "metadata/1.root.json").read_bytes())

    def release(self, number: int = 1, now: object = NOW) -> Metadata:
        metadata = sign_release(self.folder, [make_target(number), make_target(number, ARM64)], self.keys, now)  # type: ignore[arg-type]
        write_metadata(self.folder, metadata)
        return metadata

    def write(self, renewal: Renewal) -> Metadata:
        assert renewal.metadata is not None
        write_metadata(self.folder, renewal.metadata)
        return renewal.metadata

    def follow(self, metadata: Metadata, now: object = NOW) -> int:
        verified = self.device.verify_metadata(metadata, AMD64, now=now)  # type: ignore[arg-type]
        self.device.accept(verified)
        return verified.target.release


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_release_is_believed(site: Site) -> None:
    assert site.follow(site.release()) == 1
    assert site.follow(site.release(2)) == 2
    channel = read_channel(site.folder)
    assert channel.metadata is not None
    assert site.follow(channel.metadata) == 2
    assert read_release(channel) == (make_target(2), make_target(2, ARM64))


def test_equal_input_gives_equal_bytes(site: Site) -> None:
    targets = [make_target(1)]
    assert sign_release(site.folder, targets, site.keys, NOW) == sign_release(site.folder, targets, site.keys, NOW)


def test_signing_writes_nothing(site: Site) -> None:
    before = sorted(site.folder.rglob("*"))
    sign_release(site.folder, [make_target(1)], site.keys, NOW)
    assert sorted(site.folder.rglob("*")) == before


def test_documents_are_small(site: Site) -> None:
    metadata = site.release()
    assert len(metadata.timestamp) < 350
    assert len(metadata.snapshot) < 340


def test_nothing_is_released_twice_for_a_platform(site: Site) -> None:
    for targets in ([], [make_target(1), make_target(1)]):
        with pytest.raises(UsageError, match="one image for each"):
            sign_release(site.folder, targets, site.keys, NOW)


def test_a_refresh_signs_the_timestamp_alone(site: Site) -> None:
    first = site.release()
    renewal = refresh_timestamp(site.folder, site.keys, NOW + 10 * DAY)
    second = site.write(renewal)
    assert renewal.renewed == ("timestamp",)
    assert (second.snapshot, second.targets) == (first.snapshot, first.targets)
    assert site.follow(second, NOW + 20 * DAY) == 1


def test_a_refresh_needs_the_timestamps_key_alone(site: Site, tmp_path: Path) -> None:
    site.release()
    online = tmp_path / "online"
    online.mkdir()
    for path in site.key_folder.glob("timestamp-*.pem"):
        shutil.copy(path, online)
    renewal = refresh_timestamp(site.folder, open_keys(online), NOW + 300 * DAY)
    assert renewal.renewed == ("timestamp",)
    assert renewal.postponed == ("root", "targets", "snapshot")


def test_a_refresh_renews_what_expires_soon(site: Site) -> None:
    site.release()
    renewal = refresh_timestamp(site.folder, site.keys, NOW + 300 * DAY)
    assert renewal.renewed == ("root", "targets", "snapshot", "timestamp")
    assert site.follow(site.write(renewal), NOW + 313 * DAY) == 1
    assert list_roots(site.folder) == (1, 2)


def test_a_refresh_before_the_first_release(site: Site) -> None:
    assert refresh_timestamp(site.folder, site.keys, NOW).renewed == ()
    renewal = refresh_timestamp(site.folder, site.keys, NOW + 300 * DAY)
    assert (renewal.renewed, renewal.metadata) == (("root",), None)
    write_roots(site.folder, renewal.roots)
    assert site.follow(site.release(1, NOW + 300 * DAY), NOW + 300 * DAY) == 1


def test_what_devices_would_refuse_is_not_released(site: Site) -> None:
    with pytest.raises(TrustError, match=r"root\.json: expired"):
        site.release(1, NOW + 400 * DAY)


def test_a_clock_that_is_a_little_behind(site: Site) -> None:
    site.follow(site.release())
    assert site.follow(site.release(2, NOW - DAY / 24)) == 2


def test_a_clock_that_is_far_behind(site: Site) -> None:
    site.release()
    with pytest.raises(TrustError, match="this machine says that it is 2026-11-19"):
        site.release(2, NOW - 2 * DAY)


def test_a_clock_that_was_far_ahead_is_made_up_for_by_new_keys(site: Site) -> None:
    site.release()
    site.follow(site.write(refresh_timestamp(site.folder, site.keys, NOW + 30 * DAY)))
    with pytest.raises(TrustError, match="rotate"):
        site.release(2)
    site.follow(site.write(rotate_keys(site.folder, "timestamp", site.keys, "", NOW)[0]))
    assert site.follow(site.release(2)) == 2


@pytest.mark.parametrize("role", ["root", "targets", "snapshot", "timestamp"])
def test_rotated_keys_are_followed(site: Site, role: str) -> None:
    site.follow(site.release())
    renewal, former = rotate_keys(site.folder, role, site.keys, "", NOW + DAY)
    assert site.follow(site.write(renewal), NOW + DAY) == 1
    site.keys.retire(former)
    assert site.follow(site.release(2, NOW + DAY), NOW + DAY) == 2
    assert site.device.read().root.signed.version == 2


def test_keys_may_be_rotated_before_the_first_release(site: Site) -> None:
    for role in ("targets", "timestamp"):
        renewal, _ = rotate_keys(site.folder, role, site.keys, "", NOW)
        write_roots(site.folder, renewal.roots)
    assert site.follow(site.release()) == 1


def test_a_rotation_may_change_numbers(site: Site) -> None:
    site.release()
    plan = RolePlan(count=3, threshold=2, days=7)
    metadata = site.write(rotate_keys(site.folder, "timestamp", site.keys, "", NOW, plan=plan)[0])
    role = read_channel(site.folder).root.roles["timestamp"]
    assert (len(role.keyids), role.threshold) == (3, 2)
    assert site.follow(metadata) == 1
    with pytest.raises(TrustError, match="expired"):
        site.follow(metadata, NOW + 7 * DAY)


def test_a_revoked_key_signs_nothing_any_more(site: Site, tmp_path: Path) -> None:
    site.release()
    thief = tmp_path / "thief"
    shutil.copytree(site.key_folder, thief)
    stolen = read_channel(site.folder).root.roles["targets"].keyids[0]
    renewal, revoked = revoke_key(site.folder, stolen[:6], site.keys, "", NOW)
    site.keys.retire([revoked])
    assert revoked == stolen
    assert site.follow(site.write(renewal)) == 1
    with pytest.raises(StoreError, match="some are missing"):
        sign_release(site.folder, [make_target(666)], open_keys(thief), NOW)


def test_a_lost_root_key_is_replaced_by_the_spare(tmp_path: Path) -> None:
    keys = make_channel(tmp_path / "channel", tmp_path / "keys", plans=plan_roles(root=(2, 1)))
    site = Site(tmp_path, keys)
    site.release()
    lost = read_channel(site.folder).root.roles["root"].keyids[0]
    (site.key_folder / f"root-{lost}.pem").unlink()
    assert site.follow(site.write(revoke_key(site.folder, lost, open_keys(site.key_folder), "", NOW)[0])) == 1


def test_thresholds_are_met_from_several_folders(tmp_path: Path) -> None:
    keys = make_channel(tmp_path / "channel", tmp_path / "keys", plans=plan_roles(targets=(3, 2)))
    site = Site(tmp_path, keys)
    bob = tmp_path / "bob"
    bob.mkdir()
    for path in sorted(site.key_folder.glob("targets-*.pem"))[1:]:
        path.rename(bob / path.name)
    with pytest.raises(StoreError, match="needs 2 keys and 1 are here"):
        sign_release(site.folder, [make_target(1)], open_keys(site.key_folder), NOW)
    metadata = sign_release(site.folder, [make_target(1)], open_keys(site.key_folder, bob), NOW)
    assert site.follow(metadata) == 1


def test_no_more_signatures_than_are_asked_for(tmp_path: Path) -> None:
    keys = make_channel(tmp_path / "channel", tmp_path / "keys", plans=plan_roles(targets=(3, 2)))
    metadata = sign_release(tmp_path / "channel", [make_target(1)], keys, NOW)
    assert metadata.targets.count(b'"sig"') == 2


def test_keys_are_named_by_their_beginning(site: Site) -> None:
    channel = read_channel(site.folder)
    with pytest.raises(UsageError, match="no key begins"):
        find_role(channel, "xyz")
    with pytest.raises(UsageError):
        find_role(channel, "")


# The channel's folder


def test_a_forged_channel_is_told_by_the_pinned_root(site: Site, tmp_path: Path) -> None:
    shutil.rmtree(site.folder)
    make_channel(site.folder, tmp_path / "thief")
    with pytest.raises(TrustError, match="not the one that these keys were made for"):
        site.release()


def test_a_channel_that_was_set_back_is_told_by_the_newest_pinned_root(site: Site, tmp_path: Path) -> None:
    """Of several folders with keys one may have been in a drawer for a while."""
    drawer = tmp_path / "drawer"
    drawer.mkdir()
    shutil.copy(site.key_folder / "root.json", drawer)
    site.release()
    renewal, _ = rotate_keys(site.folder, "snapshot", site.keys, "", NOW)
    site.keys.pin_root(renewal.roots[-1])
    with pytest.raises(TrustError, match="not the one"):
        refresh_timestamp(site.folder, open_keys(drawer, site.key_folder), NOW)
    site.write(renewal)
    assert refresh_timestamp(site.folder, open_keys(drawer, site.key_folder), NOW).metadata is not None


def test_forged_targets_are_not_signed_anew(site: Site) -> None:
    site.release()
    forged = TufRepository()
    (site.folder / "metadata/1.targets.json").write_bytes(forged.sign("targets"))
    with pytest.raises(TrustError, match="signed by 0 of 1"):
        refresh_timestamp(site.folder, site.keys, NOW)


def test_a_rotation_that_stopped_halfway_is_finished(site: Site) -> None:
    """Power failed after the new root and before the timestamp."""
    site.release()
    renewal, _ = rotate_keys(site.folder, "timestamp", site.keys, "", NOW)
    write_roots(site.folder, renewal.roots)
    assert site.follow(site.write(refresh_timestamp(site.folder, site.keys, NOW))) == 1


def test_a_missing_root(site: Site) -> None:
    site.release()
    site.write(rotate_keys(site.folder, "snapshot", site.keys, "", NOW)[0])
    site.write(rotate_keys(site.folder, "snapshot", site.keys, "", NOW)[0])
    (site.folder / "metadata/2.root.json").unlink()
    with pytest.raises(TrustError, match="roots are missing"):
        read_channel(site.folder)


@pytest.mark.parametrize("name", ["1.snapshot.json", "1.targets.json"])
def test_a_missing_document(site: Site, name: str) -> None:
    site.release()
    (site.folder / "metadata" / name).unlink()
    with pytest.raises(TrustError, match="not there"):
        read_channel(site.folder)


def test_no_channel(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not a channel"):
        read_channel(tmp_path)


# Key files


def test_keys_are_encrypted_and_for_their_owner_alone(tmp_path: Path) -> None:
    make_channel(tmp_path / "channel", tmp_path / "keys", passphrases={"root": PASSPHRASE, "targets": PASSPHRASE})
    assert (tmp_path / "keys").stat().st_mode & 0o077 == 0
    for path in (tmp_path / "keys").glob("*.pem"):
        assert path.stat().st_mode & 0o777 == 0o600
        is_offline = path.name.startswith(("root", "targets"))
        assert (b"BEGIN ENCRYPTED PRIVATE KEY" in path.read_bytes()) == is_offline
    sign_release(tmp_path / "channel", [make_target(1)], open_keys(tmp_path / "keys"), NOW)
    with pytest.raises(UsageError, match="passphrase is wrong"):
        sign_release(tmp_path / "channel", [make_target(1)], open_keys(tmp_path / "keys", passphrase="wrong"), NOW)


def test_short_passphrases(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 8"):
        make_channel(tmp_path / "channel", tmp_path / "keys", passphrases={"root": "1234"})


def test_a_key_with_anothers_name(site: Site) -> None:
    snapshot, timestamp = (next(site.key_folder.glob(f"{role}-*.pem")) for role in ("snapshot", "timestamp"))
    snapshot.write_bytes(timestamp.read_bytes())
    with pytest.raises(TrustError, match="another key"):
        sign_release(site.folder, [make_target(1)], open_keys(site.key_folder), NOW)


@pytest.mark.parametrize("pem", [b"", b"nonsense", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_damaged_key(site: Site, pem: bytes) -> None:
    next(site.key_folder.glob("timestamp-*.pem")).write_bytes(pem)
    with pytest.raises(StoreError, match="not a private key"):
        sign_release(site.folder, [make_target(1)], open_keys(site.key_folder), NOW)


def test_keys_do_not_lie_in_the_channel(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="everybody reads"):
        open_keys(tmp_path / "channel/keys").refuse_inside(tmp_path / "channel")


@pytest.mark.parametrize(("count", "threshold", "days"), [(0, 1, 1), (1, 2, 1), (1, 0, 1), (1, 1, 0), (99, 1, 1)])
def test_impossible_plans(count: int, threshold: int, days: int) -> None:
    with pytest.raises(UsageError):
        RolePlan(count=count, threshold=threshold, days=days)
