"""Sources attached to images, against the simulator: with registries that know of subjects, and with those that do not."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.simulators.registry import RegistrySimulator
from tests.unit.store.tiny import AMD64, ARM64, put_image
from wherry.errors import FormatError, TransferError, TrustError
from wherry.formats.oci_json import parse_manifest
from wherry.model.digest import Digest
from wherry.model.platform import Platform
from wherry.model.reference import Reference
from wherry.model.sources import FILE_KIND, FILE_NAME, SOURCES, ImageSources, SourceFile, SourceKind
from wherry.publish.push import Way, plan_push, push_image
from wherry.publish.sources import AttachedSources, push_sources, survey_sources
from wherry.sources.registries import RegistryAccess, access_registries
from wherry.store.disk import DiskStore
from wherry.store.images import pick_image
from wherry.store.registry_http import Patience
from wherry.store.registry_referrers import fallback_tag, list_referrers

QUICK = Patience(connect=2, stall=0.5, attempts=3, first_wait=0.001, longest_wait=0.05)
WHEEL, DEB = b"the wheel" * 50, b"a package" * 70


@pytest.fixture(params=[True, False], ids=["referrers", "tag"])
def registry(request: pytest.FixtureRequest) -> Iterator[RegistrySimulator]:
    with RegistrySimulator() as simulator:
        simulator.behaviour.referrers = request.param
        yield simulator


@pytest.fixture
def access(tmp_path: Path) -> Iterator[RegistryAccess]:
    opened = access_registries({}, cache=tmp_path / "cache", patience=QUICK)
    yield opened
    opened.close()


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    return DiskStore(tmp_path / "store")


def source(kind: SourceKind, file: str, data: bytes) -> SourceFile:
    return SourceFile(kind=kind, file=file, digest=Digest.of(data), size=len(data), open=lambda: io.BytesIO(data))


def pushed(
    access: RegistryAccess, store: DiskStore, registry: RegistrySimulator, platform: Platform = AMD64, name: str = "team/tiny"
) -> tuple[ImageSources, Reference]:
    """A tiny image that lies in the registry, and what it is said to be made of."""
    descriptor = put_image(store, platform)
    destination = Reference(registry.host, name, "1")
    push_image(access, store, plan_push(store, descriptor), destination)
    image = pick_image(store, descriptor)
    files = (source(SourceKind.WHEEL, "tiny-1.0-py3-none-any.whl", WHEEL), source(SourceKind.DEB, "tiny_1_all.deb", DEB))
    made_of = ImageSources(
        manifest=image.manifest, config=image.config, document=b'{"schema":1}', lock=b"version = 1\n", files=files
    )
    return made_of, destination


def ways(attached: AttachedSources) -> dict[str, Way]:
    return {blob.name: blob.way for blob in attached.blobs}


def test_an_artifact_refers_to_its_image(access: RegistryAccess, store: DiskStore, registry: RegistrySimulator) -> None:
    image, destination = pushed(access, store, registry)
    attached = push_sources(access, [image], destination)
    assert set(ways(attached).values()) == {Way.SENT}
    repository = access.open(destination)
    (found,) = list_referrers(repository, image.manifest.digest, SOURCES)
    assert (found.digest,) == attached.artifacts
    manifest = parse_manifest(repository.read_manifest(found.digest)[1])
    assert manifest.subject is not None
    assert manifest.subject.digest == image.manifest.digest
    assert manifest.artifact_type == SOURCES
    assert [(layer.annotations[FILE_NAME], layer.annotations[FILE_KIND]) for layer in manifest.layers[1:]] == [
        ("tiny-1.0-py3-none-any.whl", "wheel"),
        ("tiny_1_all.deb", "deb"),
    ]
    blobs = registry.repository("team/tiny").blobs
    assert {str(layer.digest) for layer in manifest.layers} < blobs.keys()
    assert (fallback_tag(image.manifest.digest) in registry.repository("team/tiny").tags) is not registry.behaviour.referrers


def test_again_moves_nothing_and_lists_it_once(access: RegistryAccess, store: DiskStore, registry: RegistrySimulator) -> None:
    image, destination = pushed(access, store, registry)
    first = push_sources(access, [image], destination)
    registry.forget()
    again = push_sources(access, [image], destination)
    assert again.artifacts == first.artifacts
    assert set(ways(again).values()) == {Way.THERE}
    assert registry.count("POST") == 0
    assert len(list_referrers(access.open(destination), image.manifest.digest, SOURCES)) == 1


def test_what_images_share_is_there_once(access: RegistryAccess, store: DiskStore, registry: RegistrySimulator) -> None:
    image, destination = pushed(access, store, registry)
    other, _ = pushed(access, store, registry, ARM64)
    attached = push_sources(access, [image, other], destination)
    assert len(attached.artifacts) == 2
    assert [blob.name for blob in attached.blobs].count("tiny_1_all.deb") == 1
    third, elsewhere = pushed(access, store, registry, name="team/other")
    registry.forget()
    assert set(ways(push_sources(access, [third], elsewhere)).values()) == {Way.MOUNTED}
    assert registry.bytes_in < 4000


def test_two_of_one_image_are_both_listed(access: RegistryAccess, store: DiskStore, registry: RegistrySimulator) -> None:
    image, destination = pushed(access, store, registry)
    push_sources(access, [image], destination)
    push_sources(access, [replace(image, lock=b"version = 1\n# another\n")], destination)
    assert len(list_referrers(access.open(destination), image.manifest.digest, SOURCES)) == 2
    registry.behaviour.page = 1
    assert len(list_referrers(access.open(destination), image.manifest.digest, SOURCES)) == 2
    assert list_referrers(access.open(destination), image.manifest.digest, "application/x.other") == ()


def test_what_broke_off_is_gone_on_with(access: RegistryAccess, store: DiskStore, registry: RegistrySimulator) -> None:
    image, destination = pushed(access, store, registry)
    registry.fail(403, method="PUT", path=str(Digest.of(WHEEL)))
    with pytest.raises(TransferError):
        push_sources(access, [image], destination)
    opened = access_registries({}, patience=QUICK)
    assert list_referrers(opened.open(destination), image.manifest.digest, SOURCES) == ()
    assert ways(push_sources(opened, [image], destination))["tiny-1.0-py3-none-any.whl"] is Way.SENT
    assert len(list_referrers(opened.open(destination), image.manifest.digest, SOURCES)) == 1
    opened.close()


def test_a_file_that_changed_on_disk_is_never_sent_whole(
    access: RegistryAccess, store: DiskStore, registry: RegistrySimulator
) -> None:
    image, destination = pushed(access, store, registry)
    altered = replace(image.files[0], open=lambda: io.BytesIO(WHEEL[:-1] + b"X"))
    with pytest.raises(TrustError):
        push_sources(access, [replace(image, files=(altered,))], destination)
    assert str(altered.digest) not in registry.repository("team/tiny").blobs


def test_a_survey_changes_nothing(access: RegistryAccess, store: DiskStore, registry: RegistrySimulator) -> None:
    image, destination = pushed(access, store, registry)
    registry.repository("team/tiny").blobs[str(Digest.of(DEB))] = DEB
    registry.forget()
    surveyed = survey_sources(access, [image], destination)
    assert ways(surveyed)["tiny_1_all.deb"] is Way.THERE
    assert surveyed.size(Way.SENT) == len(WHEEL) + len(image.document) + len(image.lock)
    assert {one.method for one in registry.seen} <= {"HEAD", "GET"}


def test_a_tag_that_is_no_list_is_refused(access: RegistryAccess, store: DiskStore, registry: RegistrySimulator) -> None:
    image, destination = pushed(access, store, registry)
    raw = json.dumps({"schemaVersion": 2, "config": {}, "layers": []}).encode()
    registry.add_manifest("team/tiny", raw, "application/vnd.oci.image.manifest.v1+json", fallback_tag(image.manifest.digest))
    with pytest.raises(FormatError):
        list_referrers(access.open(destination), image.manifest.digest, SOURCES)
