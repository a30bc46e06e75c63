"""An image of one layer has the files of all, in an OCI layout that names it."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

from tools.demo.one_layer import write_one_layer

from tests.simulators.releases import put_image
from wherry.model.digest import Digest
from wherry.model.platform import Platform
from wherry.store.disk import DiskStore
from wherry.store.images import pick_image


def test_all_files_lie_in_one_layer(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "store")
    descriptor = put_image(store, [{"app/base": b"base" * 500}, {"app/model": b"model"}], Platform.parse("linux/amd64"), "gzip")
    layers = [{"digest": str(layer.digest)} for layer in pick_image(store, descriptor).manifest.layers]
    for _ in range(2):  # the same image again is the same
        done = write_one_layer(store, {"manifest": str(descriptor.digest), "layers": layers}, tmp_path / "layout")
    index = json.loads((tmp_path / "layout" / "index.json").read_text())
    assert {each["annotations"]["org.opencontainers.image.ref.name"] for each in index["manifests"]} == {done.tag}
    single = DiskStore(tmp_path / "layout")
    image = pick_image(single, single.resolve(index["manifests"][-1]["digest"]))
    assert [layer.size for layer in image.manifest.layers] == [done.size]
    assert len(image.config.diff_ids) == 1
    with tarfile.open(tmp_path / "layout" / "blobs" / "sha256" / image.manifest.layers[0].digest.hex) as tar:
        assert tar.getnames() == ["app", "app/base", "app/model"]  # engines refuse a layer that has a path twice
        file = tar.extractfile("app/model")
        assert file is not None
        assert file.read() == b"model"
    assert store.has(Digest.parse(layers[0]["digest"]))
