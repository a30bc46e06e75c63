"""The pages of images: what is there, what brought the bytes, what an update would move; damage of one hides no other."""

from __future__ import annotations

import gzip
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.simulators.releases import put_image
from tests.unit.cli.test_image import lock_of
from tests.unit.run.backend_contract import wait_until
from tests.unit.store.tiny import AMD64, put_index
from tests.unit.ui.conftest import PLACE, World
from wherry.model.digest import Digest
from wherry.model.lock import LockedWheel

NUMPY = LockedWheel(
    name="numpy", version="2.4.6", file="numpy-2.4.6-py3-none-any.whl", size=9, sha256=Digest("1" * 64), requested=True
)
UPDATE = "base=one:1&target=two:1"


def put_pair(world: World) -> None:
    store = world.desk.store
    shared = {"opt/big": bytes(range(256)) * 400}
    for name, model in (("one:1", b"1" * 6000), ("two:1", b"2" * 6000)):
        store.tag(name, put_image(store, [shared, {"model.pkl": model}], AMD64, "gzip"))


def test_no_images_say_how_to_make_one(world: World) -> None:
    assert "wherry build" in world.read("images")


def test_each_platform_has_a_line_and_damage_its_words(world: World) -> None:
    put_pair(world)
    sound, damaged = put_index(world.desk.store, "sound:1"), world.desk.store.put_bytes(b"to be damaged")
    world.desk.store.tag("damaged:1", replace(sound, digest=damaged))
    page = world.read("images")
    names = re.findall(r'id="image-([^"]+)"', page)
    assert names == ["damaged:1", "one:1-linux/amd64", "sound:1-linux/amd64", "sound:1-linux/arm64", "two:1-linux/amd64"]
    assert page.count('class="wrong"') == 1
    assert "<option>damaged:1" not in page
    world.read("images/show?name=damaged:1", status=500)


@pytest.mark.parametrize("damage", [b"", b"{", b'{"schemaVersion": 2, "manifests": 7}', b"\xff"])
def test_a_damaged_store_is_told_in_words(world: World, damage: bytes) -> None:
    put_pair(world)
    (world.desk.store.root / "index.json").write_bytes(damage)
    page = world.read("images", status=404)
    assert "index.json" in page
    assert "wherry itself" not in page


def test_what_brought_the_bytes(world: World) -> None:
    put_index(world.desk.store)
    page = world.read("images/show?name=tiny&platform=linux/arm64")
    for text in ("numpy", "libc6 2.36", "linux/amd64", "/bin/true", "is not the lock of this image"):
        assert text in page, text
    assert "By the requirements of" not in page
    (world.desk.root / "wherry.lock").write_text(lock_of(NUMPY))
    assert "By the requirements of" in world.read("images/show?name=tiny")
    (world.desk.root / "wherry.lock").write_text("damaged")
    assert "is not the lock of this image" in world.read("images/show?name=tiny")
    world.read("images/show?name=tiny&platform=linux/riscv64", status=400)
    world.read("images/show?name=nothing", status=404)
    world.read("images/show", status=400)


def test_what_an_update_would_move(world: World) -> None:
    put_pair(world)
    page = world.read(f"images/update?{UPDATE}")
    assert "1 of 2 layers is new, 1 stay" in page
    assert "model.pkl" in page
    assert "Cut the update" in page
    answer = world.browser.post(f"/p/images/update/weigh?{UPDATE}", headers={"origin": PLACE})
    assert answer.headers["location"].startswith("/p/images/update?base=one")
    assert wait_until(lambda: "As an update of a device" in world.read(f"images/update?{UPDATE}"))
    page = world.read(f"images/update?{UPDATE}")
    assert "Cut the update" not in page
    assert "data-every" not in page
    assert "nothing to move" in world.read("images/update?base=one:1&target=one:1")
    world.read("images/update?base=one:1&target=none", status=404)


def test_an_update_that_cannot_be_cut_says_why_and_is_tried_again(world: World) -> None:
    put_pair(world)
    (layer,) = {path for path in (world.desk.store.root / "blobs/sha256").iterdir() if holds(path, b"1" * 100)}
    content = layer.read_bytes()
    layer.unlink()
    world.browser.post(f"/p/images/update/weigh?{UPDATE}", headers={"origin": PLACE})
    assert wait_until(lambda: "could not be cut: 1 layers are not here" in world.read(f"images/update?{UPDATE}"))
    layer.write_bytes(content)
    assert "Cut the update" in world.read(f"images/update?{UPDATE}")
    world.browser.post(f"/p/images/update/weigh?{UPDATE}", headers={"origin": PLACE})
    assert wait_until(lambda: "As an update of a device" in world.read(f"images/update?{UPDATE}"))


def holds(layer: Path, content: bytes) -> bool:
    data = layer.read_bytes()
    return data.startswith(b"\x1f\x8b") and content in gzip.decompress(data)
