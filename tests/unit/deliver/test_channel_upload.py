"""A channel in an object store: in an order that devices may look at, only what changed, safe to break off."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulators.channels import make_channel
from wherry.deliver.channel_upload import upload_channel
from wherry.errors import FormatError, StoreError, TransferError
from wherry.store.objects_memory import MemoryObjects

BASE = "ab" * 32


class NotingObjects(MemoryObjects):
    """Notes what is changed, in order; fails when so many changes were made."""

    def __init__(self) -> None:
        super().__init__()
        self.changes: list[str] = []
        self.most = 1000

    def _note(self, change: str) -> None:
        if len(self.changes) >= self.most:
            raise TransferError("the line is dead")
        self.changes.append(change)

    def put(self, key: str, source: bytes | Path) -> None:
        self._note(key)
        super().put(key, source)

    def delete(self, key: str) -> None:
        self._note(f"-{key}")
        super().delete(key)


@pytest.fixture
def channel(tmp_path: Path) -> Path:
    folder = tmp_path / "fleet"
    make_channel(folder, tmp_path / "keys")
    release(folder, 1, BASE)
    return folder


def release(folder: Path, number: int, *bases: str) -> None:
    """What a release changes of the files, with contents of a few bytes."""
    place = folder / "parcels/linux-amd64"
    place.mkdir(parents=True, exist_ok=True)
    for path in place.iterdir():
        path.unlink()
    for name in ("full", *bases):
        (place / name).write_text(f"release {number} from {name}")
    (folder / f"metadata/{number}.targets.json").write_text(f"targets {number}")
    (folder / f"metadata/{number}.snapshot.json").write_text(f"snapshot {number}")
    (folder / "metadata/timestamp.json").write_text(f"timestamp {number}")
    (folder / "releases").mkdir(exist_ok=True)
    (folder / f"releases/{number}.json").write_text("the operator's own")


def shown(folder: Path) -> dict[str, bytes]:
    found = (path for top in ("parcels", "metadata") for path in (folder / top).rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def held(store: MemoryObjects) -> dict[str, bytes]:
    keys = [one.key for page in store.list("") for one in page if one.key != "uploaded.json"]
    return {key: one.data for key in keys if (one := store.get(key))}


def test_all_that_devices_read_and_nothing_else(channel: Path) -> None:
    store = NotingObjects()
    (channel / "parcels/linux-amd64/.unfinished.part").write_text("x")
    done = upload_channel(channel, store)
    assert held(store) == {path: data for path, data in shown(channel).items() if ".part" not in path}
    assert (len(done.sent), done.removed, done.kept) == (6, (), 0)
    assert done.size == sum(map(len, held(store).values()))


def test_a_second_time_moves_nothing(channel: Path) -> None:
    store = NotingObjects()
    upload_channel(channel, store)
    store.changes.clear()
    done = upload_channel(channel, store)
    assert (done.sent, done.removed, done.kept, store.changes) == ((), (), 6, [])


def test_the_order_in_which_devices_may_look(channel: Path) -> None:
    store = NotingObjects()
    upload_channel(channel, store)
    store.changes.clear()
    release(channel, 2, "cd" * 32)
    done = upload_channel(channel, store)
    place = "parcels/linux-amd64"
    assert store.changes == [
        "uploaded.json",
        f"{place}/{'cd' * 32}",
        f"{place}/full",
        f"-{place}/{BASE}",
        "metadata/2.snapshot.json",
        "metadata/2.targets.json",
        "metadata/timestamp.json",
        "uploaded.json",
    ]
    assert done.removed == (f"{place}/{BASE}",)
    assert held(store) == shown(channel)


@pytest.mark.parametrize("most", range(8))
def test_broken_off_anywhere_it_is_whole_after_the_next(channel: Path, most: int) -> None:
    store = NotingObjects()
    upload_channel(channel, store)
    release(channel, 2, "cd" * 32)
    store.changes.clear()
    store.most = most
    with pytest.raises(TransferError):
        upload_channel(channel, store)
    store.most = 1000
    upload_channel(channel, store)
    assert held(store) == shown(channel)


def test_what_somebody_else_changed_there_is_sent_again(channel: Path) -> None:
    store = NotingObjects()
    upload_channel(channel, store)
    store.put("parcels/linux-amd64/full", b"longer than it was, and something else")
    store.delete("metadata/1.root.json")
    store.put("uploaded.json", b"{")
    upload_channel(channel, store)
    assert held(store) == shown(channel)


def test_a_dry_run_changes_nothing(channel: Path) -> None:
    store = NotingObjects()
    assert len(upload_channel(channel, store, dry_run=True).sent) == 6
    assert store.changes == []


def test_what_is_no_channel(tmp_path: Path, channel: Path) -> None:
    with pytest.raises(StoreError, match="not a channel"):
        upload_channel(tmp_path, MemoryObjects())
    (channel / "parcels/linux-amd64/a b").write_text("x")
    with pytest.raises(FormatError, match="none of a channel's"):
        upload_channel(channel, MemoryObjects())
