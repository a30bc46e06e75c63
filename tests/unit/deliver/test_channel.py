"""A channel in use: what renewals leave for devices, what a check finds, what may be removed."""

from __future__ import annotations

import copy
import os
import random
import shutil
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.simulators.channels import make_channel, open_keys
from tests.simulators.releases import AMD64, ARM64, Operator
from tests.simulators.tuf_repository import NOW
from wherry.agent.trust import TrustStore
from wherry.deliver import channel, keys, parcels
from wherry.deliver.channel import hold_channel, read_channel, write_metadata
from wherry.deliver.channel_check import check_channel
from wherry.deliver.channel_gc import collect_garbage, plan_gc
from wherry.deliver.channel_status import list_parcels, read_status
from wherry.deliver.metadata import read_release, refresh_timestamp
from wherry.deliver.renewal import refresh_channel, replace_key, rotate_role
from wherry.errors import StoreError, UsageError
from wherry.formats.parcel import Documents, parse_parcel, read_documents
from wherry.model.digest import Digest
from wherry.model.platform import Platform
from wherry.sources.registries import access_registries
from wherry.store.disk import DiskStore
from wherry.store.posix import write_atomically

DAY = timedelta(days=1)
BIG = {"lib/data": random.Random(1).randbytes(20_000)}


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two releases for two platforms."""
    folder = tmp_path_factory.mktemp("released")
    operator = Operator(folder)
    for number in (1, 2):
        operator.release(build(operator, number))
    return folder


@pytest.fixture
def operator(released: Path, tmp_path: Path) -> Operator:
    operator = Operator.__new__(Operator)  # without a channel of its own
    for name in ("channel", "keys", "store"):
        shutil.copytree(released / name, tmp_path / name)
    operator.channel, operator.store = tmp_path / "channel", DiskStore(tmp_path / "store")
    operator.keys, operator.access = open_keys(tmp_path / "keys"), access_registries({}, cache=None)
    return operator


def build(operator: Operator, number: int) -> str:
    return operator.build([BIG, {"app/model": b"%d" % number * 300}], f"app:{number}", platforms=(AMD64, ARM64))


def take_documents(operator: Operator, base: str | None = None, platform: Platform = AMD64) -> Documents:
    """What a device reads in the parcel for its image."""
    raw = operator.parcel(base, platform).read_bytes()
    read: Callable[[int, int], bytes] = lambda offset, size: raw[offset : offset + size]  # noqa: E731
    known = None if base is None else operator.records.base_documents(platform, Digest(operator.parcel(base, platform).name))
    return read_documents(read, parse_parcel(read, len(raw)), known)


def believe(operator: Operator, folder: Path, now: object = NOW) -> int:
    """A device that begins with the first root and takes the full parcel."""
    trust = TrustStore(folder)
    trust.begin((operator.channel / "metadata/1.root.json").read_bytes())
    verified = trust.verify_metadata(take_documents(operator).metadata, AMD64, now=now)  # type: ignore[arg-type]
    return verified.target.release


# Renewals


def test_a_refresh_reaches_the_parcels(operator: Operator, tmp_path: Path) -> None:
    bodies = {path: path.stat().st_size for path in operator.channel.glob("parcels/*/*")}
    renewal = refresh_channel(operator.channel, operator.keys, NOW + 10 * DAY)
    assert renewal.renewed == ("timestamp",)
    assert believe(operator, tmp_path / "device", NOW + 20 * DAY) == 2
    assert check_channel(operator.channel, NOW + 20 * DAY) == ()
    assert {path: abs(path.stat().st_size - size) < 60 for path, size in bodies.items()} == dict.fromkeys(bodies, True)


@pytest.mark.parametrize("role", ["root", "targets", "snapshot", "timestamp"])
def test_new_keys_reach_the_parcels(operator: Operator, tmp_path: Path, role: str) -> None:
    rotate_role(operator.channel, role, operator.keys, "", NOW)
    assert believe(operator, tmp_path / "device") == 2
    assert check_channel(operator.channel, NOW) == ()
    (former,) = (tmp_path / "keys/retired").iterdir()
    keyid = read_channel(operator.channel).root.roles[role].keyids[0]
    replace_key(operator.channel, keyid[:8], operator.keys, "", NOW)
    assert believe(operator, tmp_path / "device") == 2
    assert len(list((tmp_path / "keys/retired").iterdir())) == 2
    assert former.name.startswith(role)


def test_a_device_with_a_release_learns_of_new_roots(operator: Operator, tmp_path: Path) -> None:
    for _ in range(2):
        rotate_role(operator.channel, "timestamp", operator.keys, "", NOW)
    metadata = take_documents(operator, "app:1").metadata
    assert len(metadata.roots) == 2
    trust = TrustStore(tmp_path / "device")
    trust.begin((operator.channel / "metadata/1.root.json").read_bytes())
    assert trust.verify_metadata(metadata, AMD64, now=NOW).target.release == 2


def test_a_refresh_that_stopped_halfway_is_finished(operator: Operator, tmp_path: Path) -> None:
    renewal = refresh_timestamp(operator.channel, operator.keys, NOW)
    assert renewal.metadata is not None
    write_metadata(operator.channel, renewal.metadata)
    assert believe(operator, tmp_path / "device") == 2
    assert len(check_channel(operator.channel, NOW)) == 6
    refresh_channel(operator.channel, operator.keys, NOW)
    assert check_channel(operator.channel, NOW) == ()


@pytest.mark.parametrize("action", ["refresh", "root", "targets", "timestamp"])
def test_a_stop_after_any_write(operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str) -> None:
    """Parcels are good wherever the writer stops; a refresh puts everything right."""
    for writes in range(12):
        folder = tmp_path / str(writes)
        shutil.copytree(tmp_path / "channel", folder / "channel")
        shutil.copytree(tmp_path / "keys", folder / "keys")
        stopped = copy.copy(operator)
        stopped.channel, stopped.keys = folder / "channel", open_keys(folder / "keys")
        with monkeypatch.context() as patched:
            stop_after(writes, patched)
            with suppress(PowerCut):
                if action == "refresh":
                    refresh_channel(stopped.channel, stopped.keys, NOW)
                else:
                    rotate_role(stopped.channel, action, stopped.keys, "", NOW)
                assert writes > 4
        assert believe(stopped, folder / "device") == 2
        refresh_channel(stopped.channel, open_keys(folder / "keys"), NOW)
        assert check_channel(stopped.channel, NOW) == ()
        assert believe(stopped, folder / "device") == 2


class PowerCut(BaseException):
    pass


def stop_after(writes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    left = iter(range(writes))

    def write(path: Path, data: bytes | Iterable[bytes], scratch: Path | None = None) -> None:
        if next(left, None) is None:
            raise PowerCut
        write_atomically(path, data, scratch)

    for module in (channel, keys, parcels):
        monkeypatch.setattr(module, "write_atomically", write)


def test_one_writer_at_a_time(operator: Operator) -> None:
    with hold_channel(operator.channel), pytest.raises(StoreError, match="somebody else writes"):
        refresh_channel(operator.channel, operator.keys, NOW)


def test_keys_inside_the_channel(operator: Operator) -> None:
    inside = make_channel(operator.channel / "other", operator.channel / "keys")
    with pytest.raises(UsageError, match="everybody reads"):
        refresh_channel(operator.channel, inside, NOW)


# Status


def test_status(operator: Operator) -> None:
    status = read_status(operator.channel)
    assert [(target.platform, target.release) for target in status.release] == [(AMD64, 2), (ARM64, 2)]
    assert [role.number for role in status.roles] == [1, 2, 2, 2]
    assert [parcel.base is None for parcel in status.parcels] == [True, False, False] * 2


def test_status_before_the_first_release(tmp_path: Path) -> None:
    make_channel(tmp_path / "channel", tmp_path / "keys")
    status = read_status(tmp_path / "channel")
    assert (status.release, status.parcels) == ((), ())
    assert check_channel(tmp_path / "channel", NOW) == ()
    assert list_parcels(tmp_path / "channel", AMD64) == ()


# Check


def test_a_channel_without_fault(operator: Operator) -> None:
    assert check_channel(operator.channel, NOW, operator.keys.read_pinned_root()) == ()
    assert check_channel(operator.channel, NOW, store=operator.store) == ()


def test_what_expired(operator: Operator) -> None:
    (problem,) = check_channel(operator.channel, NOW + 15 * DAY)
    assert "timestamp.json: expired" in problem


def test_missing_parcels(operator: Operator) -> None:
    operator.parcel(None).unlink()
    operator.parcel("app:2").unlink()
    problems = check_channel(operator.channel, NOW)
    assert len(problems) == 2
    assert "cannot be served" in problems[0]


def test_parcels_in_one_anothers_places(operator: Operator) -> None:
    """Those of another base, another platform and another release."""
    operator.parcel("app:1").write_bytes(operator.parcel("app:2").read_bytes())
    operator.parcel(None, ARM64).write_bytes(operator.parcel(None, AMD64).read_bytes())
    problems = check_channel(operator.channel, NOW)
    assert len(problems) == 2
    assert "another image" in problems[0]
    assert "another image" in problems[1]


def test_the_full_parcel_in_the_place_of_a_small_one(operator: Operator) -> None:
    operator.parcel("app:1").write_bytes(operator.parcel(None).read_bytes())
    (problem,) = check_channel(operator.channel, NOW)
    assert "the full parcel, where devices look for a small one" in problem


def test_a_parcel_of_a_former_state(operator: Operator) -> None:
    former = operator.parcel("app:2").read_bytes()
    refresh_channel(operator.channel, operator.keys, NOW + DAY)
    operator.parcel("app:2").write_bytes(former)
    (problem,) = check_channel(operator.channel, NOW + DAY)
    assert "other signed documents" in problem


@pytest.mark.parametrize("base", [None, "app:1", "app:2"])
def test_damaged_parcels(operator: Operator, base: str | None) -> None:
    path = operator.parcel(base)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    (problem,) = check_channel(operator.channel, NOW)
    assert "damaged" in problem


def test_a_small_parcel_that_makes_another_layer(operator: Operator) -> None:
    """Somebody mended its checksum. What it makes is seen where the layers are that it starts from."""
    path = operator.parcel("app:1")
    data = bytearray(path.read_bytes()[:-4])
    data[-1] ^= 1
    path.write_bytes(bytes(data) + zlib.crc32(data).to_bytes(4, "little"))
    assert check_channel(operator.channel, NOW) == ()
    (problem,) = check_channel(operator.channel, NOW, store=operator.store)
    assert path.name[:12] in problem


def test_small_parcels_are_held_to_what_was_signed(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    signed = read_release(read_channel(operator.channel))
    layers = tuple(replace(layer, size=layer.size + 512) for layer in signed[0].layers)
    for altered, said in (
        (replace(signed[0], layers=layers), "other ones were signed"),
        (replace(signed[0], memory=1), "more memory"),
    ):
        monkeypatch.setattr("wherry.deliver.channel_check.read_release", lambda _, altered=altered: (altered,))
        problems = check_channel(operator.channel, NOW)
        assert any(said in problem and operator.parcel("app:1").name[:12] in problem for problem in problems)


def test_a_parcel_for_an_unknown_base(operator: Operator) -> None:
    path = operator.parcel("app:1")
    path.rename(path.with_name("0" * 64))
    assert len(check_channel(operator.channel, NOW)) == 1


def test_altered_records(operator: Operator) -> None:
    for path in (operator.channel / "releases/blobs").iterdir():
        path.write_bytes(b"{}")
    assert any("not what its name says" in problem for problem in check_channel(operator.channel, NOW))


# Garbage


def age(folder: Path, days: int) -> None:
    for path in folder.rglob("*"):
        os.utime(path, (NOW.timestamp() - days * 86400,) * 2)


def test_superseded_documents_go_and_nothing_else(operator: Operator) -> None:
    (operator.channel / "index.html").write_bytes(b"of the operator")
    (operator.channel / "parcels/linux-amd64/.12-ab.part").write_bytes(b"half")
    strange = operator.channel / "parcels/linux-riscv64"
    strange.mkdir()
    (strange / "full").write_bytes(b"of a platform that was given up")
    age(operator.channel, 2)
    assert plan_gc(operator.channel, NOW, 3 * DAY) == ()
    waste = collect_garbage(operator.channel, NOW, DAY)
    assert {str(each.path.relative_to(operator.channel)) for each in waste} == {
        "metadata/1.snapshot.json",
        "metadata/1.targets.json",
        "parcels/linux-amd64/.12-ab.part",
        "parcels/linux-riscv64/full",
    }
    assert not any(each.path.exists() for each in waste)
    assert check_channel(operator.channel, NOW) == ()
    assert (operator.channel / "index.html").exists()


def test_a_dry_run_removes_nothing(operator: Operator) -> None:
    before = sorted(operator.channel.rglob("*"))
    assert collect_garbage(operator.channel, NOW + 900 * DAY, DAY, 1, dry_run=True)
    assert sorted(operator.channel.rglob("*")) == sorted({*before, operator.channel / ".lock"})


def test_releases_are_forgotten_on_request(operator: Operator) -> None:
    """A release from which a parcel leads is still needed, and so is whatever the next release is cut from."""
    collect_garbage(operator.channel, NOW + 900 * DAY, DAY, 1)
    assert [record.release for record in operator.records.read_all()] == [2, 1]
    operator.release(build(operator, 3), ["last:1"])
    collect_garbage(operator.channel, NOW + 900 * DAY, DAY, 1)
    assert [record.release for record in operator.records.read_all()] == [3, 2]
    assert len(list((operator.channel / "releases/blobs").iterdir())) == 8
    refresh_channel(operator.channel, operator.keys, NOW)
    assert check_channel(operator.channel, NOW) == ()
