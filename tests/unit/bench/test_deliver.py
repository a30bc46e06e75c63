"""What the bench `deliver` gives to all: layers as tars and trees, an archive as docker writes it; and what rivals make of it."""

from __future__ import annotations

import random
import tarfile
from pathlib import Path

import pytest
from bench.pairs import PAIRS, write_archive
from bench.rivals.deltas import RIVALS, Trees

from tests.conftest import require_tool
from wherry.store.disk import DiskStore
from wherry.store.images import read_images
from wherry.store.loading import load_archive

FILE = random.Random(1).randbytes(60_000)
CHANGED = FILE[:30_000] + b"a few bytes more" + FILE[30_000:]
TOOLS = {"zstd-patch-from": "zstd", "xdelta3": "xdelta3", "casync": "casync"}


@pytest.fixture
def trees(tmp_path: Path) -> Trees:
    for name, data in (("old", FILE), ("new", CHANGED)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "library").write_bytes(data)
        (tmp_path / name / "same").write_bytes(bytes(5_000))
        with tarfile.open(tmp_path / f"{name}.tar", "w") as tar:
            tar.add(tmp_path / name, ".")
    trees = Trees(folder=tmp_path, base_tar=tmp_path / "old.tar", target_tar=tmp_path / "new.tar")
    trees.unpack()
    return trees


@pytest.mark.parametrize("rival", sorted(RIVALS))
def test_rivals_send_what_changed(trees: Trees, rival: str) -> None:
    if rival in TOOLS:
        require_tool(TOOLS[rival])
    sent = RIVALS[rival](trees)
    most = {"gzip-files": 62_000, "casync": 62_000}.get(rival, 3_000)
    assert 0 < sent.size < most


def test_a_tree_becomes_an_image(tmp_path: Path) -> None:
    (tmp_path / "tree" / "usr").mkdir(parents=True)
    (tmp_path / "tree" / "usr" / "file").write_bytes(FILE)
    write_archive(tmp_path / "image.tar", tmp_path / "tree", "openssl:0")
    store = DiskStore(tmp_path / "store")
    with (tmp_path / "image.tar").open("rb") as file:
        load_archive(store, file)
    (image,) = read_images(store, store.resolve("openssl:0"))
    assert str(image.platform) == "linux/amd64"
    assert len(image.config.diff_ids) == 1


def test_every_case_has_a_title() -> None:
    from bench.deliver import CASES, TITLES

    assert set(TITLES) == set(CASES) == {*PAIRS, "huge-layer", "idle-month"}
