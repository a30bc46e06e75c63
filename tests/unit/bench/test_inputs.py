"""What the bench gives to all builders: the index on loopback, the project's edits, the huge wheel, an image's weight."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from bench.huge import write_huge_wheel
from bench.mirror import serve_wheels
from bench.project import change_line, change_model, write_project
from bench.rivals.port import weigh_layout

from wherry.formats.wheel import plan_wheel
from wherry.model.layout import VENV, EnvironmentLayout

NAME = "huge-1.0-py3-none-any.whl"


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "wheels" / NAME
    write_huge_wheel(path, size=2 << 20)
    return path


def test_the_huge_wheel_is_sound(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        layout = plan_wheel(archive, wheel.name, EnvironmentLayout(prefix=VENV, minor="3.11"))
        for entry in layout.entries:  # reading checks each against RECORD
            assert isinstance(entry.content, bytes) or sum(map(len, entry.content())) == entry.size
    assert wheel.stat().st_size > 8 << 20


def test_the_index_serves_pages_files_and_metadata(wheel: Path) -> None:
    with serve_wheels(wheel.parent) as index:
        page = urlopen(f"{index}huge/").read().decode()
        (address,) = re.findall(r'href="([^"#]+)#sha256=([0-9a-f]{64})"', page)
        file = urlopen(index.removesuffix("/simple/") + address[0])
        assert hashlib.sha256(file.read()).hexdigest() == address[1]
        metadata = urlopen(index.removesuffix("/simple/") + address[0] + ".metadata").read()
        assert b"Name: huge" in metadata
        assert f'data-core-metadata="sha256={hashlib.sha256(metadata).hexdigest()}"' in page
        head = urlopen(Request(index.removesuffix("/simple/") + address[0], method="HEAD"))
        assert int(head.headers["Content-Length"]) == wheel.stat().st_size
        with pytest.raises(HTTPError, match="404") as refused:
            urlopen(f"{index}other/")
        refused.value.close()
        for answer in (file, head):
            answer.close()


def test_edits_touch_one_file_each(tmp_path: Path) -> None:
    write_project(tmp_path)

    def state() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    before = state()
    change_model(tmp_path, 1)
    after_model = state()
    change_line(tmp_path, 1)
    after_line = state()
    assert [Path(path).name for path in before if before[path] != after_model[path]] == ["model.pkl"]
    assert [Path(path).name for path in before if after_line[path] != after_model[path]] == ["__main__.py"]


def test_an_image_weighs_its_manifest_config_and_layers(tmp_path: Path) -> None:
    def put(value: Any) -> dict[str, Any]:
        data = json.dumps(value).encode()
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        blob = tmp_path / "blobs" / digest.replace(":", "/")
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(data)
        return {"digest": digest, "size": len(data)}

    config, layer = put({"rootfs": {}}), {"digest": "sha256:" + "a" * 64, "size": 1000}
    manifest = put({"config": config, "layers": [layer]})
    other = put({"config": config, "layers": []})
    index = put({"manifests": [manifest]})
    entries = [{**index, "annotations": {"org.opencontainers.image.ref.name": "it:latest"}}, other]
    (tmp_path / "index.json").write_text(json.dumps({"manifests": entries}))
    weight = weigh_layout(tmp_path, "it:latest")
    assert weight.total == config["size"] + 1000 + manifest["size"]
    assert weight.beyond(weigh_layout(tmp_path, "it:latest")) == 0
    (tmp_path / "index.json").write_text(json.dumps({"manifests": [other]}))
    assert weight.beyond(weigh_layout(tmp_path)) == 1000 + manifest["size"]
