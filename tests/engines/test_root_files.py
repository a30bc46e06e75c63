"""Images as one file: made by the real squashfs-tools, read by unsquashfs and file(1), started as the clusters' programs do."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import require_tool
from tests.engines.images import busybox_entries, layer_bytes, put_image
from wherry.engines.root_files import provide_root_file, write_root_file
from wherry.errors import EngineError
from wherry.formats.sif import DATA_AT
from wherry.formats.tar import TarEntry, file_entry
from wherry.store.disk import DiskStore
from wherry.store.images import StoredImage, read_images

pytestmark = pytest.mark.engine


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    require_tool("tar2sqfs")
    require_tool("unsquashfs")
    return DiskStore(tmp_path / "store")


@pytest.fixture
def image(store: DiskStore) -> StoredImage:
    own = [
        file_entry("home/app/hello", b"echo $GREETING $1 from $PWD\n"),
        TarEntry(path="etc/mine", content=b"x", size=1, owner=(7, 8)),
    ]
    layers = [layer_bytes(busybox_entries()), layer_bytes(own), layer_bytes([file_entry("bin/.wh.touch", b"")])]
    env = ("PATH=/bin", "GREETING=it's $HOME")
    descriptor = put_image(store, "tiny", layers, entrypoint=("sh", "hello"), cmd=("nobody",), env=env)
    return read_images(store, descriptor)[0]


def unpack(path: Path, folder: Path, offset: int = 0) -> Path:
    subprocess.run(["unsquashfs", "-quiet", "-no-progress", "-o", str(offset), "-d", folder, path], check=True, capture_output=True)
    return folder


def chroot(root: Path, script: str) -> str:
    done = subprocess.run(
        ["unshare", "-r", "-R", root, "/bin/sh", "-c", script], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_squashfs_holds_the_root_and_starts_as_enroot_does(store: DiskStore, image: StoredImage, tmp_path: Path) -> None:
    write_root_file(store, image, "squashfs", tmp_path / "a.sqfs", os.environ)
    root = unpack(tmp_path / "a.sqfs", tmp_path / "root")
    assert not (root / "bin/touch").is_symlink()
    assert (root / "bin/cat").readlink() == Path("busybox")
    listed = subprocess.run(["unsquashfs", "-lln", tmp_path / "a.sqfs"], check=True, capture_output=True, text=True).stdout
    assert next(line.split()[1] for line in listed.splitlines() if line.endswith("/etc/mine")) == "7/8"
    lines = (root / "etc/environment").read_text().splitlines()
    assert lines == ["PATH=/bin", "GREETING=it's $HOME"]
    assert chroot(root, "PATH=/bin; GREETING=hi; export PATH GREETING; . /etc/rc") == "hi nobody from /home/app\n"


def test_sif_is_what_others_know_as_such(store: DiskStore, image: StoredImage, tmp_path: Path) -> None:
    path = tmp_path / "a.sif"
    write_root_file(store, image, "sif", path, os.environ)
    assert path.stat().st_mode & 0o111
    root = unpack(path, tmp_path / "root", DATA_AT)
    assert chroot(root, ". /.singularity.d/env/10-image.sh; . /.singularity.d/runscript") == "it's $HOME nobody from /home/app\n"
    assert chroot(root, ". /.singularity.d/env/10-image.sh; sh /.singularity.d/runscript you") == "it's $HOME you from /home/app\n"


def test_equal_images_give_equal_files_and_are_made_once(store: DiskStore, image: StoredImage, tmp_path: Path) -> None:
    first = provide_root_file(store, image, "sif", tmp_path / "one", os.environ)
    second = provide_root_file(store, image, "sif", tmp_path / "two", os.environ)
    assert first.name == second.name == f"{image.config.digest.hex}.sif"
    assert first.read_bytes() == second.read_bytes()
    made = first.stat().st_ino
    assert provide_root_file(store, image, "sif", tmp_path / "one", {"PATH": ""}).stat().st_ino == made


def test_what_goes_wrong_leaves_nothing(store: DiskStore, image: StoredImage, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(EngineError, match="tar2sqfs is not installed"):
        write_root_file(store, image, "squashfs", folder / "a", {"PATH": str(tmp_path)})
    blob = store.path(image.manifest.layers[1].digest)
    blob.chmod(0o644)
    blob.write_bytes(b"\0" * blob.stat().st_size)
    with pytest.raises(Exception, match=r"unpacks to|ends before|goes on"):
        write_root_file(store, image, "squashfs", folder / "a", os.environ)
    assert not list(folder.iterdir())
