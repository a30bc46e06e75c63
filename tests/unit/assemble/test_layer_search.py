"""Locked layers out of images that exist: of the store, of a registry; never one that is not what its image says."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.simulators.registry import Behaviour, RegistrySimulator
from tests.unit.store.tiny import AMD64, ARM64, layers_for, make_tar, pack, put_image, put_index
from wherry.assemble.layer_search import LayerSearch
from wherry.errors import TrustError
from wherry.formats.oci_json import parse_manifest, render_config, render_manifest
from wherry.model.declaration import Compression
from wherry.model.digest import DiffId, Digest
from wherry.model.oci import CONFIG, LAYER_GZIP, LAYER_ZSTD, MANIFEST, Descriptor
from wherry.model.progress import be_silent
from wherry.store.archive import read_layer
from wherry.store.disk import DiskStore
from wherry.store.images import walk_manifests

TAR = make_tar(layers_for(AMD64)[1][3])
DIFF_ID = DiffId(hashlib.sha256(TAR).hexdigest())
NOWHERE = DiffId("1" * 64)


@pytest.fixture
def registry() -> Iterator[RegistrySimulator]:
    with RegistrySimulator() as simulator:
        yield simulator


class World:
    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.store = DiskStore(folder / "store")
        self.said: list[str] = []
        self._folder = folder
        self._stack = stack

    def search(self, *references: str, compression: Compression = Compression.GZIP) -> LayerSearch:
        search = LayerSearch(self.store, references, compression, {}, self._folder / "cache", be_silent, self.said.append)
        return self._stack.enter_context(search)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(tmp_path, stack)


@pytest.fixture
def published(registry: RegistrySimulator, tmp_path: Path) -> str:
    made = DiskStore(tmp_path / "made")
    for descriptor, document in walk_manifests(made, put_index(made)):
        registry.add_manifest("team/tiny", document.raw, descriptor.media_type, "1")
    for path in (made.root / "blobs/sha256").iterdir():
        registry.add_blob("team/tiny", path.read_bytes())
    index = next(raw for raw, _ in registry.repository("team/tiny").manifests.values() if b'"manifests"' in raw)
    registry.add_manifest("team/tiny", index, "application/vnd.oci.image.index.v1+json", "1")
    return f"{registry.host}/team/tiny:1"


@pytest.mark.parametrize("stored", ["gzip", "zstd", "identity"])
@pytest.mark.parametrize("wanted", list(Compression))
def test_a_layer_of_the_store_comes_in_the_compression_that_is_wanted(world: World, stored: str, wanted: Compression) -> None:
    world.store.tag("tiny:1", put_image(world.store, codec=stored))
    blob = world.search(compression=wanted).find(DIFF_ID, AMD64)
    assert blob is not None
    assert blob.media_type == {Compression.GZIP: LAYER_GZIP, Compression.ZSTD: LAYER_ZSTD}[wanted]
    assert b"".join(read_layer(world.store, blob.digest, DIFF_ID)) == TAR
    assert world.store.size(blob.digest) == blob.size
    if stored == wanted.value:
        assert blob.digest == Digest.of(pack(TAR, stored))


def test_what_no_image_has(world: World) -> None:
    assert world.search().find(DIFF_ID, AMD64) is None
    world.store.tag("tiny:1", put_image(world.store))
    assert world.search().find(NOWHERE, AMD64) is None


def lie(store: DiskStore, blob: bytes) -> None:
    """An image whose config gives the wanted diff_id to other bytes."""
    layer = Descriptor(media_type=LAYER_GZIP, digest=store.put_bytes(blob), size=len(blob))
    config = render_config(platform=AMD64, created="1980-01-01T00:00:00Z", diff_ids=[DIFF_ID])
    named = Descriptor(media_type=CONFIG, digest=store.put_bytes(config), size=len(config))
    raw = render_manifest(config=named, layers=[layer])
    store.tag("liar:1", Descriptor(media_type=MANIFEST, digest=store.put_bytes(raw), size=len(raw)))


@pytest.mark.parametrize("blob", [pack(b"poison", "gzip"), pack(b"poison", "zstd"), b"\x1f\x8bdamaged", b""])
def test_an_image_that_lies_is_passed_over(world: World, blob: bytes) -> None:
    lie(world.store, blob)
    before = set((world.store.root / "blobs/sha256").iterdir())
    assert world.search().find(DIFF_ID, AMD64) is None
    assert set((world.store.root / "blobs/sha256").iterdir()) == before


def test_damaged_and_incomplete_images_are_passed_over(world: World) -> None:
    world.store.tag("whole:1", put_image(world.store, codec="zstd"))
    world.store.tag("broken:1", broken := put_image(world.store, ARM64))
    world.store.path(parse_manifest(world.store.read_bytes(broken.digest)).config.digest).write_bytes(b"{}")
    assert world.search().find(DIFF_ID, AMD64) is not None


def test_a_layer_out_of_a_registry(world: World, registry: RegistrySimulator, published: str) -> None:
    search = world.search(published)
    blob = search.find(DIFF_ID, ARM64)
    assert blob is not None
    assert b"".join(read_layer(world.store, blob.digest, DIFF_ID)) == TAR
    assert registry.count("GET", "/blobs/") == 2  # the config and this layer
    assert search.find(NOWHERE, ARM64) is None
    assert world.said == []


def test_the_store_is_asked_first(world: World, registry: RegistrySimulator, published: str) -> None:
    world.store.tag("tiny:1", put_image(world.store))
    assert world.search(published).find(DIFF_ID, AMD64) is not None
    assert registry.seen == []


def test_an_image_that_cannot_be_reached_is_told_once_and_passed_over(
    world: World, registry: RegistrySimulator, published: str
) -> None:
    search = world.search(f"{registry.host}/team/absent:1", published)
    assert search.find(DIFF_ID, AMD64) is not None
    assert search.find(NOWHERE, AMD64) is None
    assert len(world.said) == 1
    assert "team/absent" in world.said[0]


def test_wrong_bytes_stop_everything(world: World, registry: RegistrySimulator, published: str) -> None:
    registry.behaviour = Behaviour(wrong_bytes=True)
    with pytest.raises(TrustError):
        world.search(published).find(DIFF_ID, AMD64)
