"""Real tools take what the store writes, and the store takes what they write."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import pytest

from tests.conftest import require_tool
from tests.engines.daemons import Daemon
from tests.unit.store.tiny import AMD64, assert_valid, layers_for, make_tar, pack, put_index
from wherry.engines.port import EngineImage
from wherry.model.digest import Digest
from wherry.store.archive import save_image, stream_image
from wherry.store.disk import DiskStore
from wherry.store.images import read_images
from wherry.store.loading import load_archive

pytestmark = pytest.mark.engine


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    store = DiskStore(tmp_path / "store")
    put_index(store)
    return store


def run(*argv: object) -> str:
    done = subprocess.run(list(map(str, argv)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_skopeo_copies_the_layout_without_changing_a_digest(store: DiskStore, tmp_path: Path) -> None:
    require_tool("skopeo")
    run("skopeo", "copy", "--all", "--preserve-digests", f"oci:{store.root}:tiny:latest", f"oci:{tmp_path}/copy:tiny:latest")
    copy = DiskStore(tmp_path / "copy")
    assert copy.resolve("tiny").digest == store.resolve("tiny").digest
    assert_valid(copy)


def test_skopeo_reads_both_forms_of_archive_and_we_read_skopeo_s(store: DiskStore, tmp_path: Path) -> None:
    require_tool("skopeo")
    config = read_images(store, store.resolve("tiny"))[0].config
    for form, kind in (("oci", "oci-archive"), ("hybrid", "oci-archive"), ("hybrid", "docker-archive")):
        source = tmp_path / f"{form}.tar"
        with source.open("wb") as file:
            save_image(store, store.resolve("tiny"), file.write, name="tiny:latest", form=form, platforms=(AMD64,))
        assert Digest.of(run("skopeo", "inspect", "--config", "--raw", f"{kind}:{source}").encode()) == config.digest
        for back in ("docker-archive", "oci-archive"):
            target = tmp_path / f"{form}-{kind}-{back}.tar"
            run("skopeo", "copy", f"{kind}:{source}", f"{back}:{target}:back:1")
            other = DiskStore(tmp_path / f"{form}-{kind}-{back}")
            with target.open("rb") as file:
                assert load_archive(other, file) == ("back:1",)
            (image,) = read_images(other, other.resolve("back:1"))
            assert image.config.diff_ids == config.diff_ids
            assert_valid(other)


def test_umoci_unpacks_it(store: DiskStore, tmp_path: Path) -> None:
    require_tool("umoci")
    archive = io.BytesIO()
    save_image(store, store.resolve("tiny"), archive.write, name="tiny:latest", form="oci", platforms=(AMD64,))
    archive.seek(0)
    single = DiskStore(tmp_path / "single")
    load_archive(single, archive)
    assert run("umoci", "list", "--layout", single.root).split() == ["tiny:latest"]
    # umoci takes what follows the first colon as the tag, colon and all.
    run("umoci", "unpack", "--rootless", "--image", f"{single.root}:tiny:latest", tmp_path / "bundle")
    for _, _, _, files in layers_for(AMD64):
        for path, data in files.items():
            assert (tmp_path / "bundle" / "rootfs" / path).read_bytes() == data


def test_gunzip_and_zstd_read_our_layers(tmp_path: Path) -> None:
    require_tool("gzip", "zstd")
    tar = make_tar({"a": b"content" * 100_000})
    for codec in ("gzip", "zstd"):
        path = tmp_path / f"layer.{codec}"
        path.write_bytes(pack(tar, codec))
        assert subprocess.run([codec, "-dc"], input=path.read_bytes(), capture_output=True, check=True).stdout == tar


@pytest.mark.parametrize("name", ["docker", "podman"])
def test_engines_load_what_we_save_and_we_load_what_they_save(
    name: str, store: DiskStore, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    daemon: Daemon = request.getfixturevalue(f"{name}_engine")
    image = read_images(store, store.resolve("tiny"))[0]
    target = EngineImage(config=image.config, name="tiny:latest")
    daemon.engine.load(stream_image(store, image.descriptor, name="tiny:latest"), target)
    assert daemon.engine.has(target)
    program = ["docker", "-H", f"unix://{daemon.socket}"] if daemon.socket else ["podman"]
    done = daemon.call(*program, "save", "tiny:latest")
    assert done.returncode == 0, done.stderr
    other = DiskStore(tmp_path / "other")
    assert load_archive(other, io.BytesIO(done.stdout)) == ("tiny:latest",)
    assert read_images(other, other.resolve("tiny"))[0].config.diff_ids == image.config.diff_ids
    assert_valid(other)
