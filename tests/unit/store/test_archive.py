from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from tests.unit.store.tiny import AMD64, ARM64, assert_valid, blob_names, layers_for, make_tar, put_image, put_index
from wherry.errors import StoreError, TrustError, UsageError
from wherry.formats.oci_json import parse_manifest
from wherry.model.digest import DiffId, Digest
from wherry.model.oci import LAYER_TAR
from wherry.store.archive import read_layer, save_image, stream_image
from wherry.store.disk import DiskStore
from wherry.store.images import read_images
from wherry.store.loading import load_archive


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    return DiskStore(tmp_path / "store")


def archive_of(store: DiskStore, name: str = "tiny:latest", **options: object) -> bytes:
    return b"".join(stream_image(store, store.resolve(name), name=name, **options))  # type: ignore[arg-type]


def members(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}  # type: ignore[union-attr]


@pytest.mark.parametrize("codec", ["gzip", "zstd", "identity"])
@pytest.mark.parametrize("platforms", [(), (ARM64,)])
@pytest.mark.parametrize("form", ["hybrid", "oci"])
def test_what_is_saved_can_be_loaded(store: DiskStore, tmp_path: Path, form: str, platforms: tuple[()], codec: str) -> None:
    put_index(store, codec=codec)
    archive = archive_of(store, form=form, platforms=platforms)
    other = DiskStore(tmp_path / "other")
    assert load_archive(other, io.BytesIO(archive)) == ("tiny:latest",)
    loaded = read_images(other, other.resolve("tiny"))
    expected = [image for image in read_images(store, store.resolve("tiny")) if image.platform in (platforms or (AMD64, ARM64))]
    assert [image.config.digest for image in loaded] == [image.config.digest for image in expected]
    assert [[(layer.kind, layer.members) for layer in image.layers] for image in loaded] == [
        [(layer.kind, layer.members) for layer in image.layers] for image in expected
    ]
    assert_valid(other)


def test_the_oci_form_keeps_every_digest(store: DiskStore, tmp_path: Path) -> None:
    index = put_index(store)
    other = DiskStore(tmp_path / "other")
    load_archive(other, io.BytesIO(archive_of(store, form="oci")))
    assert other.resolve("tiny").digest == index.digest
    assert blob_names(other) == blob_names(store)


def test_the_hybrid_form_is_docker_s_and_oci_s_at_once(store: DiskStore) -> None:
    put_index(store)
    files = members(archive_of(store, platforms=(AMD64,)))
    (docker,) = json.loads(files["manifest.json"])
    root = json.loads(files["index.json"])["manifests"][0]
    image = read_images(store, store.resolve("tiny"))[0]
    manifest = parse_manifest(files["blobs/sha256/" + root["digest"].removeprefix("sha256:")])
    assert docker["RepoTags"] == ["tiny:latest"]
    assert docker["Config"] == f"blobs/sha256/{image.config.digest.hex}"
    assert docker["Layers"] == [f"blobs/sha256/{diff_id.hex}" for diff_id in image.config.diff_ids]
    assert [files[path] for path in docker["Layers"]] == [make_tar(files) for _, _, _, files in layers_for(AMD64)]
    assert {layer.media_type for layer in manifest.layers} == {LAYER_TAR}
    assert manifest.config.digest == image.config.digest
    assert manifest.annotations == image.manifest.annotations
    assert root["annotations"] == {
        "io.containerd.image.name": "docker.io/library/tiny:latest",
        "org.opencontainers.image.ref.name": "latest",
    }


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("a:1", "docker.io/library/a:1"),
        ("me/a:1", "docker.io/me/a:1"),
        ("index.example:5000/me/a:1", "index.example:5000/me/a:1"),
        ("localhost/a:1", "localhost/a:1"),
    ],
)
def test_names_are_written_out_as_engines_do(store: DiskStore, name: str, full: str) -> None:
    store.tag(name, put_image(store))
    root = json.loads(members(archive_of(store, name))["index.json"])["manifests"][0]
    assert root["annotations"]["io.containerd.image.name"] == full


def test_layers_that_the_engine_has_may_be_left_out(store: DiskStore) -> None:
    put_index(store)
    image = read_images(store, store.resolve("tiny"))[0]
    whole = members(archive_of(store, platforms=(AMD64,)))
    sparse = members(archive_of(store, platforms=(AMD64,), omit=image.config.diff_ids[:2]))
    assert set(whole) - set(sparse) == {f"blobs/sha256/{diff_id.hex}" for diff_id in image.config.diff_ids[:2]}
    assert sparse["manifest.json"] == whole["manifest.json"]


def test_archives_are_deterministic(store: DiskStore, tmp_path: Path) -> None:
    put_index(store)
    other = DiskStore(tmp_path / "other")
    put_index(other)
    for form in ("hybrid", "oci"):
        assert archive_of(store, form=form) == archive_of(other, form=form)
    out = io.BytesIO()
    save_image(store, store.resolve("tiny"), out.write, name="tiny:latest")
    assert out.getvalue() == archive_of(store)


def test_what_is_missing_is_told_before_the_first_byte(store: DiskStore) -> None:
    put_index(store)
    image = read_images(store, store.resolve("tiny"))[0]
    store.path(image.manifest.layers[1].digest).unlink()
    for form in ("hybrid", "oci"):
        with pytest.raises(StoreError, match="not here"):
            stream_image(store, store.resolve("tiny"), name="a:1", form=form)
    with pytest.raises(StoreError, match="no image for linux/s390x"):
        stream_image(store, store.resolve("tiny"), name="a:1", platforms=(AMD64.parse("linux/s390x"),))
    with pytest.raises(UsageError, match="hybrid or oci"):
        stream_image(store, store.resolve("tiny"), name="a:1", form="zip")


def test_a_damaged_layer_is_never_passed_on_as_whole(store: DiskStore) -> None:
    put_index(store, codec="identity")
    image = read_images(store, store.resolve("tiny"))[0]
    path = store.path(image.manifest.layers[1].digest)
    path.write_bytes(path.read_bytes().replace(b"x = 1", b"x = 2"))
    for form in ("hybrid", "oci"):
        with pytest.raises(TrustError):
            archive_of(store, form=form)


def test_a_layer_is_held_against_its_diff_id(store: DiskStore) -> None:
    blob = store.put_bytes(b"tar")
    assert b"".join(read_layer(store, blob, DiffId(Digest.of(b"tar").hex))) == b"tar"
    with pytest.raises(TrustError, match="unpacks to"):
        list(read_layer(store, blob, DiffId("0" * 64)))
