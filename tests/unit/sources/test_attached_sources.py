"""Sources read from a registry: what a stranger may have attached is believed by digest, or refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.simulators.registry import RegistrySimulator
from tests.unit.publish.test_sources import QUICK, WHEEL, pushed
from tests.unit.store.tiny import AMD64, ARM64, put_index
from wherry.errors import FormatError, StoreError, TrustError, WherryError
from wherry.formats.oci_json import render_index
from wherry.model.digest import Digest
from wherry.model.oci import INDEX
from wherry.model.reference import Reference
from wherry.proof import prove_images
from wherry.publish.push import plan_push, push_image
from wherry.publish.sources import push_sources
from wherry.sources.attached_sources import read_attached
from wherry.sources.registries import RegistryAccess, access_registries
from wherry.store.disk import DiskStore

NAME = "team/tiny"


@pytest.fixture
def registry() -> Iterator[RegistrySimulator]:
    with RegistrySimulator() as simulator:
        simulator.behaviour.referrers = True
        yield simulator


@pytest.fixture
def access() -> Iterator[RegistryAccess]:
    opened = access_registries({}, patience=QUICK)
    yield opened
    opened.close()


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    return DiskStore(tmp_path / "store")


@pytest.fixture
def reference(access: RegistryAccess, store: DiskStore, registry: RegistrySimulator) -> Reference:
    """A tiny image with its sources."""
    image, destination = pushed(access, store, registry)
    push_sources(access, [image], destination)
    return destination


def alter(registry: RegistrySimulator, **members: Any) -> None:
    """Another artifact in place of the one that is there; its blobs are left."""
    kept = registry.repository(NAME)
    digest, raw = next((digest, raw) for digest, (raw, _) in kept.manifests.items() if b"artifactType" in raw)
    manifest = json.loads(raw) | members
    del kept.manifests[digest]
    registry.add_manifest(NAME, json.dumps(manifest).encode(), manifest["mediaType"])


def artifact(registry: RegistrySimulator) -> dict[str, Any]:
    kept = registry.repository(NAME).manifests.values()
    return dict(json.loads(next(raw for raw, _ in kept if b"artifactType" in raw)))


def test_what_was_attached_is_read(access: RegistryAccess, reference: Reference) -> None:
    (image,) = read_attached(access, reference)
    assert image.lock == b"version = 1\n"
    assert [file.file for file in image.files] == ["tiny-1.0-py3-none-any.whl", "tiny_1_all.deb"]
    with image.files[0].open() as stream:
        assert stream.read() == WHEEL


@pytest.mark.parametrize("name", ["", "../evil", "/etc/passwd", "a/b", ".hidden", "a\nb", "x" * 300])
def test_names_that_are_paths_are_refused(
    access: RegistryAccess, registry: RegistrySimulator, reference: Reference, name: str
) -> None:
    layers = artifact(registry)["layers"]
    layers[1]["annotations"]["org.opencontainers.image.title"] = name
    alter(registry, layers=layers)
    with pytest.raises(FormatError, match="no name of a file"):
        read_attached(access, reference)


def test_an_unknown_kind_is_refused(access: RegistryAccess, registry: RegistrySimulator, reference: Reference) -> None:
    layers = artifact(registry)["layers"]
    layers[1]["annotations"]["dev.wherry.source.kind"] = "script"
    alter(registry, layers=layers)
    with pytest.raises(FormatError, match="unknown kind"):
        read_attached(access, reference)


def test_documents_without_end_are_refused(access: RegistryAccess, registry: RegistrySimulator, reference: Reference) -> None:
    config = artifact(registry)["config"] | {"size": 1 << 40}
    alter(registry, config=config)
    with pytest.raises(FormatError, match="at most"):
        read_attached(access, reference)


def test_no_files_at_all_is_refused(access: RegistryAccess, registry: RegistrySimulator, reference: Reference) -> None:
    alter(registry, layers=[])
    with pytest.raises(FormatError, match="0 files"):
        read_attached(access, reference)


def test_an_image_without_sources(access: RegistryAccess, store: DiskStore, registry: RegistrySimulator) -> None:
    destination = Reference(registry.host, NAME, "2")
    push_image(access, store, plan_push(store, put_index(store)), destination)
    with pytest.raises(StoreError, match="carries no sources"):
        read_attached(access, destination)
    raw = render_index(())
    access.open(destination).put_manifest(raw, INDEX, "3")
    with pytest.raises(StoreError, match="no image in it"):
        read_attached(access, replace(destination, tag="3"))


def test_of_an_index_the_platforms_asked_for(access: RegistryAccess, store: DiskStore, registry: RegistrySimulator) -> None:
    both = [pushed(access, store, registry, platform)[0] for platform in (AMD64, ARM64)]
    destination = Reference(registry.host, NAME, "both")
    push_image(access, store, plan_push(store, put_index(store)), destination)
    push_sources(access, both, destination)
    assert [image.config.platform for image in read_attached(access, destination)] == [AMD64, ARM64]
    assert [image.config.platform for image in read_attached(access, destination, (ARM64,))] == [ARM64]


def test_damaged_bytes_are_never_built_from(
    access: RegistryAccess, registry: RegistrySimulator, reference: Reference, tmp_path: Path
) -> None:
    registry.repository(NAME).blobs[str(Digest.of(WHEEL))] = WHEEL[:-1] + b"X"
    with pytest.raises(TrustError):
        prove_images(read_attached(access, reference), tmp_path / "cache", {})
    assert not list((tmp_path / "cache").iterdir())


def test_a_place_that_cannot_be_written_is_named(access: RegistryAccess, reference: Reference, tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"no folder")
    with pytest.raises(StoreError, match="cache"):
        prove_images(read_attached(access, reference), tmp_path / "cache", {})


@pytest.mark.parametrize(
    "document",
    [b"", b"[]", b'{"schema":2}', b'{"schema":1}', b'{"schema":1,"recipe":[]}', b'{"schema":1,"recipe":{"version":3}}'],
)
def test_a_damaged_document_is_refused(
    access: RegistryAccess, store: DiskStore, registry: RegistrySimulator, tmp_path: Path, document: bytes
) -> None:
    image, _ = pushed(access, store, registry)
    with pytest.raises(WherryError):
        prove_images([replace(image, document=document)], tmp_path / "cache", {})
    assert not list((tmp_path / "cache").iterdir())
