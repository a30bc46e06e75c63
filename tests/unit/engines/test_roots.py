"""The cache of roots: believed by digest, shared by layer, whole or not there at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.images import layer_bytes, put_image
from wherry.engines.port import EngineImage
from wherry.engines.roots import RootCache
from wherry.errors import EngineError, FormatError, StoreError, TrustError
from wherry.formats.tar import file_entry
from wherry.model.digest import DiffId
from wherry.run.launch import pick_runnable
from wherry.store.archive import read_layer, stream_image
from wherry.store.disk import DiskStore
from wherry.store.images import StoredImage

BASE = layer_bytes([file_entry("base", b"b" * 3000)])


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    return DiskStore(tmp_path / "store")


@pytest.fixture
def cache(tmp_path: Path) -> RootCache:
    return RootCache(tmp_path / "cache")


def make_image(store: DiskStore, content: bytes) -> tuple[StoredImage, EngineImage]:
    put_image(store, "tiny:latest", [BASE, layer_bytes([file_entry("model", content)])])
    return pick_runnable(store, "tiny")


def archive(store: DiskStore, stored: StoredImage, omit: frozenset[DiffId] = frozenset()) -> Iterator[bytes]:
    return stream_image(store, stored.descriptor, name="tiny:latest", omit=omit)


def leftovers(tmp_path: Path) -> list[str]:
    making = tmp_path / "cache" / "making"
    return [path.name for path in making.iterdir()] if making.is_dir() else []


def test_archive_becomes_a_root(store: DiskStore, cache: RootCache, tmp_path: Path) -> None:
    stored, image = make_image(store, b"1")
    assert not cache.has(image)
    cache.load(archive(store, stored), image)
    assert cache.has(image)
    assert (cache.root_of(image) / "model").read_bytes() == b"1"
    assert (cache.root_of(image).parent / "config").read_bytes() == image.config.raw
    assert not leftovers(tmp_path)


def test_second_image_shares_the_base_and_may_omit_it(store: DiskStore, cache: RootCache) -> None:
    stored, first = make_image(store, b"1")
    cache.load(archive(store, stored), first)
    stored, second = make_image(store, b"2")
    held = cache.held_layers(second)
    assert held == {second.config.diff_ids[0]}
    cache.load(archive(store, stored, held), second)
    inodes = {(cache.root_of(image) / "base").stat().st_ino for image in (first, second)}
    assert len(inodes) == 1
    assert (cache.root_of(second) / "model").read_bytes() == b"2"


def test_layers_straight_from_the_store(store: DiskStore, cache: RootCache) -> None:
    stored, image = make_image(store, b"1")
    blobs = dict(zip(stored.config.diff_ids, stored.manifest.layers, strict=True))
    cache.load_layers(image, lambda diff_id: read_layer(store, blobs[diff_id].digest, diff_id))
    assert (cache.root_of(image) / "model").read_bytes() == b"1"


def test_missing_layer_is_named(store: DiskStore, cache: RootCache, tmp_path: Path) -> None:
    stored, image = make_image(store, b"1")
    with pytest.raises(EngineError, match="lacks layer"):
        cache.load(archive(store, stored, frozenset(image.config.diff_ids[:1])), image)
    assert not cache.has(image)
    assert not leftovers(tmp_path)


def test_wrong_bytes_are_not_believed(store: DiskStore, cache: RootCache, tmp_path: Path) -> None:
    _, image = make_image(store, b"1")
    evil = layer_bytes([file_entry("model", b"evil")])
    with pytest.raises(TrustError):
        cache.load_layers(image, lambda diff_id: [BASE if diff_id == image.config.diff_ids[0] else evil])
    assert not cache.has(image)
    assert not cache.held_layers(image)
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_truncated_archive_leaves_nothing(store: DiskStore, cache: RootCache, tmp_path: Path, part: float) -> None:
    stored, image = make_image(store, b"1")
    data = b"".join(archive(store, stored))
    with pytest.raises(FormatError):
        cache.load([data[: int(len(data) * part)]], image)
    assert not cache.has(image)
    assert not leftovers(tmp_path)


def test_what_a_killed_maker_left_is_removed(store: DiskStore, cache: RootCache, tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    (tmp_path / "cache/making" / f"{pid}-dead/layer").mkdir(parents=True)
    (tmp_path / "cache/making" / f"{os.getppid()}-alive").mkdir()
    stored, image = make_image(store, b"1")
    cache.load(archive(store, stored), image)
    assert leftovers(tmp_path) == [f"{os.getppid()}-alive"]


def test_a_cache_that_cannot_be_written(store: DiskStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    stored, image = make_image(store, b"1")
    with pytest.raises(StoreError) as caught:
        RootCache(tmp_path / "file").load(archive(store, stored), image)
    assert "WHERRY_CACHE" in str(caught.value)
