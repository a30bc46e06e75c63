"""Pulling images and pinning bases, against the simulator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulators.registry import Behaviour, RegistrySimulator
from tests.unit.store.tiny import AMD64, ARM64, assert_valid, put_index
from wherry.errors import FormatError, StoreError, TransferError, TrustError, WherryError
from wherry.formats.oci_json import parse_index, parse_manifest, render_config, render_manifest
from wherry.model.digest import Digest
from wherry.model.oci import CONFIG, LAYER_TAR, MANIFEST, Descriptor
from wherry.model.reference import Reference
from wherry.sources.images import BaseImages, fetch_blob, fetch_image
from wherry.sources.registries import RegistryAccess, access_registries
from wherry.store.disk import DiskStore
from wherry.store.images import read_images, walk_manifests
from wherry.store.registry_http import Patience

QUICK = Patience(connect=2, stall=0.4, attempts=3, first_wait=0.001, longest_wait=0.05)


@pytest.fixture
def registry() -> Iterator[RegistrySimulator]:
    with RegistrySimulator() as simulator:
        yield simulator


@pytest.fixture
def access(tmp_path: Path) -> Iterator[RegistryAccess]:
    opened = access_registries({}, cache=tmp_path / "cache", patience=QUICK)
    yield opened
    opened.close()


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    return DiskStore(tmp_path / "store")


@pytest.fixture
def image(registry: RegistrySimulator, tmp_path: Path) -> Reference:
    """An image for two platforms in the registry."""
    made = DiskStore(tmp_path / "made")
    for descriptor, document in walk_manifests(made, put_index(made)):
        registry.add_manifest("team/tiny", document.raw, descriptor.media_type, "1")
    for path in (made.root / "blobs/sha256").iterdir():
        registry.add_blob("team/tiny", path.read_bytes())
    index = next(raw for raw, _ in registry.repository("team/tiny").manifests.values() if b'"manifests"' in raw)
    registry.add_manifest("team/tiny", index, "application/vnd.oci.image.index.v1+json", "1")
    return Reference(registry.host, "team/tiny", "1")


def test_every_platform(access: RegistryAccess, store: DiskStore, image: Reference) -> None:
    descriptor = fetch_image(access, store, image)
    store.tag("tiny:1", descriptor)
    assert [one.platform for one in read_images(store, descriptor)] == [AMD64, ARM64]
    assert_valid(store)


def test_one_platform_and_nothing_twice(
    access: RegistryAccess, store: DiskStore, image: Reference, registry: RegistrySimulator
) -> None:
    descriptor = fetch_image(access, store, image, (ARM64,))
    assert [one.platform for one in read_images(store, descriptor)] == [ARM64]
    registry.forget()
    assert fetch_image(access, store, image, (ARM64,)) == descriptor
    assert registry.count("GET", "/blobs/") == 0


def test_a_pull_that_broke_off_goes_on(access: RegistryAccess, store: DiskStore, registry: RegistrySimulator) -> None:
    data = bytes(range(256)) * 2000
    layer = Descriptor(media_type=LAYER_TAR, digest=Digest.parse(registry.add_blob("a/b", data)), size=len(data))
    source = access.open(Reference(registry.host, "a/b"))
    registry.behaviour = Behaviour(cut_after=200_000, ranges=False)
    with pytest.raises(TransferError):
        fetch_blob(source, store, layer, access.cache, lambda done: None)
    assert not store.has(layer.digest)
    registry.behaviour = Behaviour()
    registry.forget()
    seen: list[int] = []
    fetch_blob(source, store, layer, access.cache, seen.append)
    assert store.read_bytes(layer.digest) == data
    assert registry.bytes_out < len(data) - 100_000
    assert seen[-1] == len(data)
    assert not [*(access.cache or store.root).glob("partial/*")]


def test_a_damaged_part_in_the_cache_is_thrown_away(access: RegistryAccess, store: DiskStore, registry: RegistrySimulator) -> None:
    data = bytes(range(256)) * 2000
    layer = Descriptor(media_type=LAYER_TAR, digest=Digest.parse(registry.add_blob("a/b", data)), size=len(data))
    assert access.cache
    partial = access.cache / "partial" / layer.digest.hex
    for damage in (b"x" * 1000, b"x" * len(data), b"x" * (len(data) + 5), b""):
        partial.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(damage)
        fetch_blob(access.open(Reference(registry.host, "a/b")), store, layer, access.cache, lambda done: None)
        assert store.read_bytes(layer.digest) == data
        store.path(layer.digest).unlink()


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [(Behaviour(wrong_bytes=True), TrustError), (Behaviour(stall=20), TransferError), (Behaviour(cut_after=5), TransferError)],
)
def test_a_registry_that_does_wrong_leaves_a_valid_store(
    access: RegistryAccess, store: DiskStore, image: Reference, registry: RegistrySimulator, behaviour: Behaviour, kind: type
) -> None:
    documents = access.open(image).resolve(image)
    registry.behaviour = behaviour
    with pytest.raises(kind):
        fetch_image(access, store, image)
    assert not store.has(documents[0].digest)
    store.put_bytes(b"anything")
    assert_valid(store)


def test_a_config_that_does_not_fit_its_layers(access: RegistryAccess, store: DiskStore, registry: RegistrySimulator) -> None:
    config = render_config(platform=AMD64, created="", diff_ids=())
    layer = registry.add_blob("a/b", b"layer")
    raw = render_manifest(
        config=Descriptor(media_type=CONFIG, digest=Digest.parse(registry.add_blob("a/b", config)), size=len(config)),
        layers=(Descriptor(media_type=LAYER_TAR, digest=Digest.parse(layer), size=5),),
    )
    registry.add_manifest("a/b", raw, MANIFEST, "latest")
    reference = Reference(registry.host, "a/b")
    with pytest.raises(FormatError, match="1 layers, but 0"):
        fetch_image(access, store, reference)
    with pytest.raises(FormatError):
        BaseImages(access).pin_base(reference, AMD64)
    assert not store.has(Digest.of(raw))


def test_pinning_a_base_reads_no_layer(
    access: RegistryAccess, image: Reference, registry: RegistrySimulator, store: DiskStore
) -> None:
    bases = BaseImages(access)
    pinned = bases.pin_base(image, ARM64)
    assert pinned.config.platform == ARM64
    assert pinned.locked.diff_ids == pinned.config.diff_ids
    assert pinned.reference == Reference(registry.host, "team/tiny", "1", pinned.manifest.digest)
    assert registry.count("GET", "/blobs/") == 1
    layer = pinned.manifest.layers[0]
    bases.fetch_layer(pinned.reference, layer, store)
    with bases.open_blob(pinned.reference, layer.digest, layer.size) as file:
        assert file.read() == store.read_bytes(layer.digest)
    assert access.sightings.repositories(registry.host, layer.digest) == ("team/tiny",)
    assert bases.pin_base(pinned.reference, ARM64).manifest == pinned.manifest


def test_a_base_for_another_platform(access: RegistryAccess, image: Reference, registry: RegistrySimulator) -> None:
    index = parse_index(access.open(image).resolve(image)[1])
    arm = next(one for one in index.manifests if one.platform == ARM64)
    alone = Reference(image.registry, image.repository, None, arm.digest)
    with pytest.raises(StoreError, match="for linux/arm64, not for linux/amd64"):
        BaseImages(access).pin_base(alone, AMD64)


@pytest.mark.parametrize("cut", range(0, 400, 23))
def test_truncated_documents(
    access: RegistryAccess, store: DiskStore, registry: RegistrySimulator, image: Reference, cut: int
) -> None:
    raw = access.open(image).resolve(image, AMD64)[1]
    assert parse_manifest(raw)
    registry.add_manifest("team/tiny", raw[:cut] or b" ", MANIFEST, "cut")
    with pytest.raises(WherryError):
        fetch_image(access, store, Reference(image.registry, image.repository, "cut"))
