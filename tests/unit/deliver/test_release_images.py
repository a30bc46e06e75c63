"""Images of others become releases: out of a registry, out of `docker save`, and bases whose layers a registry still has."""

from __future__ import annotations

import io
import json
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulators.registry import RegistrySimulator
from tests.simulators.releases import AMD64, ARM64, Files, Operator
from wherry.deliver.release import select_bases
from wherry.errors import StoreError, UsageError
from wherry.formats.oci_json import parse_config, parse_manifest
from wherry.store.archive import read_layer
from wherry.store.images import read_images

BIG = {"lib/data": random.Random(1).randbytes(50_000)}


def model(number: int) -> Files:
    return {"app/model": random.Random(number).randbytes(300)}


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path)


@pytest.fixture
def registry() -> Iterator[RegistrySimulator]:
    with RegistrySimulator() as registry:
        yield registry


def publish(registry: RegistrySimulator, operator: Operator, name: str, tag: str) -> str:
    """Put an image of a store into the registry; gives its reference."""
    for image in read_images(operator.store, operator.store.resolve(name)):
        for part in (image.manifest.config, *image.manifest.layers):
            registry.add_blob("team/app", operator.store.read_bytes(part.digest))
        registry.add_manifest("team/app", image.manifest.raw, image.manifest.media_type, tag)
    return f"{registry.host}/team/app:{tag}"


def test_a_reference_is_released_and_its_layers_found_again(
    operator: Operator, registry: RegistrySimulator, tmp_path: Path
) -> None:
    builder = Operator(tmp_path / "elsewhere")
    for number in (1, 2):
        builder.build([BIG, model(number)], f"app:{number}")
    first = publish(registry, builder, "app:1", "1")
    operator.release(first)
    assert operator.records.read(1).images[0].source == f"{registry.host}/team/app"
    (image,) = operator.find(first).images
    operator.store.path(image.manifest.layers[1].digest).unlink()
    found = operator.find(publish(registry, builder, "app:2", "2"))
    assert operator.store.has(image.manifest.layers[0].digest)
    assert not operator.store.has(image.manifest.layers[1].digest)
    (base,) = select_bases(operator.records, operator.finder, ["1"], found.images).bases[AMD64]
    assert base.image == image
    assert operator.store.has(image.manifest.layers[1].digest)


def test_a_tag_that_moved_is_not_taken_from_the_store(operator: Operator, registry: RegistrySimulator, tmp_path: Path) -> None:
    builder = Operator(tmp_path / "elsewhere")
    builder.build([BIG, model(1)], "app:1")
    builder.build([BIG, model(2)], "app:2")
    reference = publish(registry, builder, "app:1", "latest")
    (old,) = operator.find(reference).images
    operator.store.tag(reference, old.descriptor)
    publish(registry, builder, "app:2", "latest")
    (new,) = operator.find(reference).images
    assert new.manifest.digest != old.manifest.digest


def test_layers_that_the_registry_lost_are_gone(operator: Operator, registry: RegistrySimulator, tmp_path: Path) -> None:
    builder = Operator(tmp_path / "elsewhere")
    builder.build([BIG, model(1)], "app:1")
    reference = publish(registry, builder, "app:1", "1")
    operator.release(reference)
    (image,) = operator.find(reference).images
    operator.store.path(image.manifest.layers[1].digest).unlink()
    registry.repositories["team/app"].blobs.pop(str(image.manifest.layers[1].digest))
    found = operator.find(operator.build([BIG, model(2)], "app:2"))
    selected = select_bases(operator.records, operator.finder, ["last:5"], found.images)
    assert selected.bases == {AMD64: ()}
    assert "1 of 2 layers of release 1 are gone" in selected.passed_over[0]


def save_like_docker(operator: Operator, name: str, path: Path) -> None:
    """A folder a layer, uncompressed, the config beside, no OCI manifest."""
    (image,) = read_images(operator.store, operator.store.resolve(name))
    members = {f"{image.config.digest.hex}.json": image.config.raw}
    for layer, diff_id in zip(image.manifest.layers, image.config.diff_ids, strict=True):
        members[f"{diff_id.hex}/layer.tar"] = b"".join(read_layer(operator.store, layer.digest, diff_id))
    entry = {"Config": next(iter(members)), "RepoTags": [name], "Layers": [member for member in members if member.endswith(".tar")]}
    members["manifest.json"] = json.dumps([entry]).encode()
    with tarfile.open(path, "w") as archive:
        for member, data in members.items():
            info = tarfile.TarInfo(member)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def test_an_archive_without_a_manifest_gets_one(operator: Operator, tmp_path: Path) -> None:
    builder = Operator(tmp_path / "elsewhere")
    for number in (1, 2):
        builder.build([BIG, model(number)], f"theirs:{number}")
        save_like_docker(builder, f"theirs:{number}", tmp_path / f"{number}.tar")
        operator.release(str(tmp_path / f"{number}.tar"))
    (image,) = operator.find(str(tmp_path / "2.tar")).images
    assert [layer.digest.hex for layer in image.manifest.layers] == [diff_id.hex for diff_id in image.config.diff_ids]
    recorded = operator.records.read(2).images[0]
    manifest = parse_manifest(operator.records.read_document(recorded.manifest))
    assert parse_config(operator.records.read_document(manifest.config.digest)) == image.config
    (update,) = operator.order(str(tmp_path / "2.tar"), ["1"], dry_run=True).costs.updates
    assert update.size < 900


def test_an_archive_with_two_images_is_not_one_release(operator: Operator, tmp_path: Path) -> None:
    builder = Operator(tmp_path / "elsewhere")
    save_like_docker(builder, builder.build([BIG], "one:1"), tmp_path / "one.tar")
    save_like_docker(builder, builder.build([model(1)], "two:1"), tmp_path / "two.tar")
    both: dict[str, bytes] = {}
    entries: list[object] = []
    for name in ("one.tar", "two.tar"):
        with tarfile.open(tmp_path / name) as archive:
            for info in archive:
                data = archive.extractfile(info)
                assert data is not None
                both[info.name] = data.read()
        entries += json.loads(both["manifest.json"])
    both["manifest.json"] = json.dumps(entries).encode()
    with tarfile.open(tmp_path / "both.tar", "w") as archive:
        for member, raw in both.items():
            info = tarfile.TarInfo(member)
            info.size = len(raw)
            archive.addfile(info, io.BytesIO(raw))
    with pytest.raises(UsageError, match="2 images in it: one:1, two:1"):
        operator.find(str(tmp_path / "both.tar"))


def test_a_file_that_is_called_like_an_image_is_not_it(operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    operator.build([BIG], "app:latest")
    save_like_docker(operator, operator.build([model(1)], "other:1"), tmp_path / "app")
    assert operator.find("app") == operator.find("app:latest")
    assert operator.find("./app").images[0].config == operator.find("other:1").images[0].config


def test_a_platform_that_is_not_there(operator: Operator) -> None:
    operator.build([BIG], "app:1", (AMD64, ARM64))
    assert len(operator.find("app:1").images) == 2
    assert [image.platform for image in operator.finder.find("app:1", [ARM64]).images] == [ARM64]
    operator.build([BIG], "app:2")
    with pytest.raises(StoreError, match="no image for linux/arm64"):
        operator.finder.find("app:2", [ARM64])
