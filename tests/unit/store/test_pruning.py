from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.store.tiny import AMD64, assert_valid, blob_names, put_image, put_index
from wherry.errors import StoreError
from wherry.store.disk import DiskStore
from wherry.store.images import reach_blobs
from wherry.store.pruning import prune_store


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    return DiskStore(tmp_path / "store")


def make_old(store: DiskStore) -> None:
    for folder in ("blobs/sha256", "ingest"):
        for path in (store.root / folder).iterdir():
            os.utime(path, (1, 1))


def test_only_what_no_image_reaches_goes(store: DiskStore) -> None:
    index = put_index(store)
    junk = {store.put_bytes(b"junk"), store.put_bytes(b"more junk")}
    make_old(store)
    planned = prune_store(store, dry_run=True)
    assert set(planned.blobs) == junk
    assert planned.size == len(b"junkmore junk")
    assert junk < {*map(type(index.digest), blob_names(store))}
    assert prune_store(store) == planned
    assert blob_names(store) == {digest.hex for digest in reach_blobs(store, index)}
    assert_valid(store)


def test_after_the_name_all_goes(store: DiskStore) -> None:
    put_index(store)
    store.tag("kept:1", put_image(store, AMD64))
    store.untag("tiny:latest")
    make_old(store)
    prune_store(store)
    assert len(blob_names(store)) == 5
    store.untag("kept:1")
    prune_store(store)
    assert blob_names(store) == set()


def test_what_is_young_stays_also_when_written_again(store: DiskStore) -> None:
    old, wanted_again, young = (store.put_bytes(data) for data in (b"1", b"2", b"3"))
    for digest in (old, wanted_again):
        os.utime(store.path(digest), (1, 1))
    store.put_bytes(b"2")
    assert prune_store(store).blobs == (old,)
    assert store.has(wanted_again)
    assert store.has(young)


def test_nothing_goes_while_a_build_runs(store: DiskStore) -> None:
    with store.in_use():
        digest = store.put_bytes(b"1")
        make_old(store)
        with pytest.raises(StoreError, match="is using the store"):
            prune_store(store)
    assert prune_store(store).blobs == (digest,)


def test_what_killed_writers_left_goes_what_live_ones_hold_stays(store: DiskStore) -> None:
    store.put_bytes(b"1")
    (store.root / "ingest" / "1-dead").write_bytes(b"left")
    with store.begin() as writer:
        writer.write(b"live")
        make_old(store)
        pruned = prune_store(store)
        assert pruned.size == len(b"1left")
        digest = writer.commit()
    assert store.has(digest)


def test_a_damaged_image_stops_it(store: DiskStore) -> None:
    index = put_index(store)
    junk = store.put_bytes(b"junk")
    store.path(index.digest).write_bytes(b"{}")
    make_old(store)
    with pytest.raises(StoreError, match=r"damaged[^$]*wherry image rm"):
        prune_store(store)
    assert store.has(junk)


def test_a_store_that_is_not_there(tmp_path: Path) -> None:
    assert prune_store(DiskStore(tmp_path / "none")).blobs == ()
    assert not (tmp_path / "none").exists()
