"""A lock, a store or a cache that is damaged: repaired where that is safe, else told; never another image."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.flow.conftest import Seed, Wherry, assert_valid_store, layers_of, tree_of, write_project

pytestmark = pytest.mark.network

GARBAGE = (b"", b"[]", b"\xff\xfe not text")


@pytest.mark.parametrize("locked", [(), ("--locked",)])
def test_a_lock_for_another_declaration(wherry: Wherry, project: Path, locked: tuple[str, ...]) -> None:
    (project / "requirements.txt").write_text("tinyone==1.1\n")
    before = tree_of(wherry.store, project)
    told = wherry.refused("build", *locked, cwd=project, code=11)
    assert "wherry.lock" in told
    assert "try: wherry lock" in told
    assert tree_of(wherry.store, project) == before
    wherry.ok("build", "--frozen", cwd=project)
    wherry.ok("lock", cwd=project)
    wherry.ok("build", *locked, cwd=project)


def test_no_lock_where_one_is_demanded(wherry: Wherry, tmp_path: Path) -> None:
    project = write_project(tmp_path / "unlocked")
    for flag in ("--locked", "--frozen"):
        assert "wherry lock" in wherry.refused("build", flag, cwd=project, code=11)
    assert not (project / "wherry.lock").exists()


Damage = Callable[[bytes], bytes]
LOCK_DAMAGE: dict[str, Damage] = {
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "cut in a line": lambda data: data[:-30],
    "binary": lambda data: b"\0\xff" + data,
    "a merge conflict": lambda data: b"<<<<<<< ours\n" + data + b"=======\n>>>>>>> theirs\n",
    "a later version": lambda data: data.replace(b"version = 1\n", b"version = 99\n", 1),
    "a field of another kind": lambda data: data.replace(b"size = ", b"size = -", 1),
    "a digest that is none": lambda data: data.replace(b'sha256 = "', b'sha256 = "zz', 1),
    "a file with a path": lambda data: data.replace(b'file = "', b'file = "../../', 1),
}


@pytest.mark.parametrize("kind", LOCK_DAMAGE)
def test_a_damaged_lock_is_refused_and_kept(wherry: Wherry, project: Path, kind: str) -> None:
    lock = project / "wherry.lock"
    lock.write_bytes(LOCK_DAMAGE[kind](lock.read_bytes()))
    before = tree_of(wherry.store, project)
    done = wherry.run("build", cwd=project)
    assert done.returncode in (11, 12), done.stderr
    assert "Traceback" not in done.stderr
    assert "wherry.lock" in done.stderr
    assert tree_of(wherry.store, project) == before


@pytest.mark.parametrize("name", ["python", "code of tinyone", "base"])
def test_a_diff_id_that_does_not_come_out_is_a_matter_of_trust(wherry: Wherry, project: Path, name: str) -> None:
    """Each layer's diff_id that the lock holds is checked, whether the layer is made or found."""
    lock = project / "wherry.lock"
    blocks = lock.read_text().split("[[platform.layer]]")
    wanted = 'members = ["tinyone 1.0"]' if name == "code of tinyone" else f'name = "{name}"'
    number = next(number for number, block in enumerate(blocks) if wanted in block)
    former = blocks[number].split('diff_id = "sha256:')[1][:64]
    blocks[number] = blocks[number].replace(former, "0" * 64)
    lock.write_text("[[platform.layer]]".join(blocks))
    before = tree_of(project)
    told = wherry.refused("build", cwd=project, code=15)
    assert "0" * 64 in told
    assert former in told
    assert tree_of(project) == before


def test_a_damaged_list_of_images_is_told_with_a_way_out(wherry: Wherry, project: Path) -> None:
    reference = wherry.build(project)
    index = wherry.store / "index.json"
    odd = (b"", b"\0" * 64, b"null", b'{"manifests": [1]}', b'{"manifests": [{"digest": "../../x", "size": 1, "mediaType": "x"}]}')
    commands = (("image", "ls"), ("build",), ("image", "rm", "project:latest"))
    for number, garbage in enumerate(odd):
        index.write_bytes(garbage)
        told = wherry.refused(*commands[number % 3], cwd=project, code=13)
        assert "index.json" in told
        assert index.read_bytes() == garbage  # it is the user's to move away
    index.unlink()
    assert wherry.build(project) == reference
    assert_valid_store(wherry.store)


def test_a_lost_blob_is_made_again(wherry: Wherry, project: Path) -> None:
    reference = wherry.build(project)
    image = reference["images"][0]
    documents = [reference["index"], image["manifest"], image["config"]]
    own = [layer["digest"] for layer in layers_of(reference) if layer["cause"] in ("code", "tinyone 1.0")]
    for digest in documents + own:
        (wherry.store / "blobs/sha256" / digest.removeprefix("sha256:")).unlink()
        assert wherry.build(project) == reference, digest
        assert_valid_store(wherry.store)


def test_a_damaged_blob_is_never_handed_on(wherry: Wherry, project: Path, tmp_path: Path) -> None:
    reference = wherry.build(project)
    layer = next(layer for layer in layers_of(reference) if layer["cause"] == "code")
    for digest in (layer["digest"], reference["images"][0]["config"], reference["images"][0]["manifest"]):
        blob = wherry.store / "blobs/sha256" / digest.removeprefix("sha256:")
        whole = blob.read_bytes()
        for damaged in (whole[:-7], whole[:40] + bytes(4) + whole[44:], b""):
            blob.unlink()
            blob.write_bytes(damaged)
            done = wherry.run("image", "save", "project", "-o", tmp_path / "image.tar", cwd=project)
            assert done.returncode in (12, 13, 15), (digest, done.stderr)
            assert "Traceback" not in done.stderr
            assert list(tmp_path.glob("*image.tar*")) == []
        blob.unlink()
        blob.write_bytes(whole)
    wherry.ok("image", "save", "project", "-o", tmp_path / "image.tar", cwd=project)


@pytest.mark.parametrize("part", ["layers", "builds", "urls", "debian", "interpreters"])
def test_a_damaged_cache_gives_the_same_image(alone: Wherry, project: Path, part: str) -> None:
    """Whatever is in the cache can be had again; damage costs time, or a clear word where it has to be deleted."""
    reference = alone.build(project)
    for garbage in GARBAGE:
        for path in [path for path in (alone.cache / part).rglob("*") if path.is_file() and not path.is_symlink()]:
            if part == "interpreters" and path.suffix not in (".json", ".py", ""):
                continue
            path.write_bytes(garbage)
        (project / "main.py").write_text((project / "main.py").read_text())
        assert alone.build(project) == reference
    shutil.rmtree(alone.cache / part)
    assert alone.build(project, "--verify") == reference


@pytest.mark.parametrize("damage", ["other bytes", "cut"])
@pytest.mark.parametrize("what", ["artefacts/**/tinyone-1.0*.whl", "artefacts/**/libexpat1_*_amd64.deb"])
def test_a_damaged_download_is_removed_and_had_again(alone: Wherry, project: Path, what: str, damage: str) -> None:
    """All that was made of it is gone, so that it is laid out anew."""
    reference = alone.build(project)
    shutil.rmtree(alone.store)
    for part in ("layers", "builds", "interpreters"):
        shutil.rmtree(alone.cache / part, ignore_errors=True)
    (path,) = alone.cache.glob(what)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x40
    path.unlink()
    path.write_bytes(data if damage == "other bytes" else data[: len(data) // 2])
    done = alone.run("build", "--json", cwd=project)
    if done.returncode != 0:
        assert done.returncode == 13, done.stderr
        assert "Traceback" not in done.stderr
        assert str(alone.cache) in done.stderr
        assert path.name in done.stderr
        assert_valid_store(alone.store)
        done = alone.run("build", "--json", cwd=project)
    assert json.loads(done.stdout) == reference


def test_a_store_of_another_layout_is_refused(wherry: Wherry, project: Path, seed: Seed) -> None:
    shutil.rmtree(wherry.store)
    wherry.store.write_text("a file where the store should be")
    told = wherry.refused("build", cwd=project, code=13)
    assert str(wherry.store) in told
    assert wherry.store.read_text() == "a file where the store should be"
