"""Pushing, against the simulator: what moves, in which order, and what is left when it breaks off."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulators.registry import Behaviour, RegistrySimulator
from tests.unit.store.tiny import AMD64, ARM64, make_tar, put_image, put_index
from wherry.errors import StoreError, TransferError, TrustError, UsageError
from wherry.formats.oci_json import parse_index, render_config, render_manifest
from wherry.model.digest import DiffId, Digest
from wherry.model.oci import CONFIG, LAYER_GZIP, MANIFEST, Descriptor
from wherry.model.reference import Reference
from wherry.publish.push import PushResult, Way, plan_push, push_image, survey_push
from wherry.sources.registries import RegistryAccess, access_registries
from wherry.store.disk import DiskStore
from wherry.store.registry_http import Patience

QUICK = Patience(connect=2, stall=0.5, attempts=3, first_wait=0.001, longest_wait=0.05)


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


def push(access: RegistryAccess, store: DiskStore, image: Descriptor, destination: Reference) -> PushResult:
    return push_image(access, store, plan_push(store, image), destination)


def ways(result: PushResult) -> set[Way]:
    return {blob.way for blob in result.blobs}


def test_an_index(access: RegistryAccess, store: DiskStore, registry: RegistrySimulator) -> None:
    image = put_index(store)
    result = push(access, store, image, Reference(registry.host, "team/tiny", "1"))
    assert str(result.reference) == f"{registry.host}/team/tiny:1@{image.digest}"
    assert ways(result) == {Way.SENT}
    repository = registry.repository("team/tiny")
    assert repository.tags == {"1": str(image.digest)}
    assert len(repository.manifests) == 3
    written = [one.path for one in registry.seen if one.method == "PUT"]
    assert written[-1] == "/v2/team/tiny/manifests/1"
    assert all("/blobs/" in path for path in written[:-3])


def test_again_moves_nothing(access: RegistryAccess, store: DiskStore, registry: RegistrySimulator) -> None:
    image, destination = put_index(store), Reference(registry.host, "team/tiny", "1")
    push(access, store, image, destination)
    registry.forget()
    assert ways(push(access, store, image, destination)) == {Way.THERE}
    assert registry.count("POST") == 0
    assert registry.bytes_in < 1000


def test_only_what_changed_moves(access: RegistryAccess, store: DiskStore, registry: RegistrySimulator) -> None:
    push(access, store, put_image(store, AMD64), Reference(registry.host, "team/tiny", "1"))
    result = push(access, store, put_image(store, ARM64), Reference(registry.host, "team/tiny", "2"))
    assert {blob.name for blob in result.blobs if blob.way is Way.SENT} == {"code", result.blobs[-1].name}
    assert {blob.name for blob in result.blobs if blob.way is Way.THERE} == {"base", "numpy"}


def test_mounts_from_where_a_blob_was_seen(access: RegistryAccess, store: DiskStore, registry: RegistrySimulator) -> None:
    image = put_index(store)
    push(access, store, image, Reference(registry.host, "team/tiny", "1"))
    registry.forget()
    result = push(access, store, image, Reference(registry.host, "other/tiny", "1"))
    assert ways(result) == {Way.MOUNTED}
    registry.behaviour.mount = False
    assert ways(push(access, store, image, Reference(registry.host, "third/tiny", "1"))) == {Way.SENT}


def test_a_push_that_broke_off_has_no_name_and_goes_on(
    access: RegistryAccess, store: DiskStore, registry: RegistrySimulator, tmp_path: Path
) -> None:
    image, destination = put_index(store), Reference(registry.host, "team/tiny", "1")
    registry.fail(403, method="PUT", path="/blobs/", after=2, times=99)
    with pytest.raises(TransferError, match="does not allow"):
        push(access, store, image, destination)
    assert not registry.repository("team/tiny").tags
    there = len(registry.repository("team/tiny").blobs)
    assert there <= 2
    fresh = access_registries({}, cache=tmp_path / "cache", patience=QUICK)
    registry._failures.clear()
    result = push(fresh, store, image, destination)
    assert sum(blob.way is Way.THERE for blob in result.blobs) == there


@pytest.mark.parametrize("status", [429, 500, 503])
def test_hiccups(access: RegistryAccess, store: DiskStore, registry: RegistrySimulator, status: int) -> None:
    for method, path in (("HEAD", "/blobs/"), ("POST", "/uploads/"), ("PUT", "/blobs/"), ("PUT", "/manifests/")):
        registry.fail(status, method=method, path=path)
    push(access, store, put_index(store), Reference(registry.host, "team/tiny", "1"))
    assert registry.repository("team/tiny").tags


def test_a_damaged_blob_of_the_store(access: RegistryAccess, store: DiskStore, registry: RegistrySimulator) -> None:
    image = put_image(store)
    plan = plan_push(store, image)
    path = store.path(plan.blobs[0].descriptor.digest)
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(TrustError):
        push_image(access, store, plan, Reference(registry.host, "team/tiny", "1"))
    assert not registry.repository("team/tiny").tags


# -- platforms


def test_one_platform_is_its_own_manifest(access: RegistryAccess, store: DiskStore, registry: RegistrySimulator) -> None:
    plan = plan_push(store, put_index(store), (ARM64,))
    assert plan.target.descriptor.platform == ARM64
    push_image(access, store, plan, Reference(registry.host, "team/tiny", "1"))
    assert len(registry.repository("team/tiny").manifests) == 1


def test_two_platforms_are_an_index_of_these(store: DiskStore) -> None:
    index = put_index(store)
    plan = plan_push(store, index, (ARM64, AMD64))
    assert [one.platform for one in parse_index(plan.target.raw).manifests] == [ARM64, AMD64]
    assert plan_push(store, index, (AMD64, ARM64)).target.descriptor.digest == index.digest


def test_an_image_without_an_index_is_of_one_platform(store: DiskStore) -> None:
    single = put_on_base(store, "")
    assert plan_push(store, single, (AMD64,)).target.descriptor.digest == single.digest
    with pytest.raises(StoreError, match="no image for linux/arm64"):
        plan_push(store, single, (ARM64,))


def test_a_platform_that_is_not_here(access: RegistryAccess, store: DiskStore, registry: RegistrySimulator) -> None:
    index, destination = put_index(store), Reference(registry.host, "team/tiny", "1")
    arm = parse_index(store.read_bytes(index.digest)).manifests[1]
    raw = store.read_bytes(arm.digest)
    store.path(arm.digest).unlink()
    with pytest.raises(StoreError, match="linux/arm64"):
        push(access, store, index, destination)
    registry.add_manifest("team/tiny", raw, MANIFEST)
    assert push(access, store, index, destination).reference.tag == "1"


# -- bases whose layers are not here

BASE = gzip.compress(make_tar({"etc/base": b"base" * 100}), mtime=0)


def put_on_base(store: DiskStore, base: str, media_type: str = LAYER_GZIP) -> Descriptor:
    own = gzip.compress(make_tar({"app/own": b"own"}), mtime=0)
    diff_ids = [DiffId(hashlib.sha256(gzip.decompress(blob)).hexdigest()) for blob in (BASE, own)]
    config = render_config(platform=AMD64, created="1980-01-01T00:00:00Z", diff_ids=diff_ids)
    manifest = render_manifest(
        config=Descriptor(media_type=CONFIG, digest=store.put_bytes(config), size=len(config)),
        layers=(
            Descriptor(media_type=media_type, digest=Digest.of(BASE), size=len(BASE)),
            Descriptor(media_type=LAYER_GZIP, digest=store.put_bytes(own), size=len(own)),
        ),
        annotations={"org.opencontainers.image.base.name": base, "org.opencontainers.image.base.digest": f"sha256:{'0' * 64}"}
        if base
        else {},
    )
    return Descriptor(media_type=MANIFEST, digest=store.put_bytes(manifest), size=len(manifest))


@pytest.mark.parametrize(
    ("mount", "same", "there", "way"),
    [
        (True, True, False, Way.MOUNTED),
        (False, True, False, Way.STREAMED),
        (True, False, False, Way.STREAMED),
        (True, False, True, Way.THERE),
    ],
)
def test_layers_of_a_base(
    access: RegistryAccess, store: DiskStore, registry: RegistrySimulator, mount: bool, same: bool, there: bool, way: Way
) -> None:
    with RegistrySimulator(Behaviour(mount=mount)) as destination:
        home = destination if same else registry
        home.add_blob("library/base", BASE)
        if there:
            destination.add_blob("team/model", BASE)
        image = put_on_base(store, f"{home.host}/library/base:1")
        result = push(access, store, image, Reference(destination.host, "team/model", "1"))
        assert result.blobs[0].way is way
        assert destination.repository("team/model").blobs[str(Digest.of(BASE))] == BASE
        assert not store.has(Digest.of(BASE))


def test_a_layer_that_is_nowhere(access: RegistryAccess, store: DiskStore, registry: RegistrySimulator) -> None:
    with pytest.raises(StoreError, match="neither here nor at"):
        push(access, store, put_on_base(store, ""), Reference(registry.host, "team/model", "1"))


def test_foreign_layers_stay_where_they_are(access: RegistryAccess, store: DiskStore, registry: RegistrySimulator) -> None:
    registry.behaviour.needs_blobs = False
    image = put_on_base(store, "", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")
    assert push(access, store, image, Reference(registry.host, "team/model", "1")).blobs[0].way is Way.FOREIGN


# -- asking first


def test_a_survey_changes_nothing(access: RegistryAccess, store: DiskStore, registry: RegistrySimulator) -> None:
    plan, destination = plan_push(store, put_index(store)), Reference(registry.host, "team/tiny", "1")
    assert ways(survey_push(access, plan, destination)) == {Way.SENT}
    assert all(one.method in ("GET", "HEAD") for one in registry.seen)
    push_image(access, store, plan, destination)
    assert ways(survey_push(access, plan, destination)) == {Way.THERE}


def test_a_digest_is_no_destination(access: RegistryAccess, store: DiskStore, registry: RegistrySimulator) -> None:
    image = put_image(store)
    with pytest.raises(UsageError):
        push(access, store, image, Reference(registry.host, "team/tiny", None, image.digest))


def test_progress_reaches_the_end(access: RegistryAccess, store: DiskStore, registry: RegistrySimulator) -> None:
    told: dict[str, tuple[int, int]] = {}
    plan = plan_push(store, put_image(store))
    push_image(
        access, store, plan, Reference(registry.host, "t/m", "1"), lambda name, done, total: told.update({name: (done, total)})
    )
    assert {name: total for name, (_, total) in told.items()} == {blob.name: blob.descriptor.size for blob in plan.blobs}
    assert all(done == total for done, total in told.values())
