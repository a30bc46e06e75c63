from __future__ import annotations

import gzip
import io
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.unit.store.tiny import AMD64, put_image, put_index
from wherry.cli.image import complete_image_names, register
from wherry.errors import LockError, StoreError, UsageError
from wherry.formats.lockfile import render_lock
from wherry.model.digest import Digest
from wherry.model.lock import Lock, LockedInterpreter, LockedWheel, PlatformLock
from wherry.store.disk import DiskStore
from wherry.store.images import reach_blobs
from wherry.store.places import store_path


@pytest.fixture
def store() -> DiskStore:
    return DiskStore(store_path(os.environ))


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> None:
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    app(["image", *arguments], standalone_mode=False)


def result(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    run(*arguments, "--json")
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == 1
    return document


def test_ls(store: DiskStore, capsys: pytest.CaptureFixture[str]) -> None:
    run("ls")
    assert "no images yet" in capsys.readouterr().err
    index = put_index(store)
    (row,) = result(capsys, "ls")["images"]
    assert (row["name"], row["digest"], row["created"]) == ("tiny:latest", str(index.digest), "1980-01-01T00:00:00Z")
    assert [platform["platform"] for platform in row["platforms"]] == ["linux/amd64", "linux/arm64"]
    assert row["size"] == sum(reach_blobs(store, index).values())
    assert all(0 < platform["size"] < row["size"] for platform in row["platforms"])
    run("ls")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["NAME", "PLATFORM", "IMAGE", "ID", "SIZE", "CREATED"]
    assert len(lines) == 3
    assert row["platforms"][0]["image_id"][7:19] in lines[1]


def test_ls_shows_the_sound_images_beside_a_damaged_one(store: DiskStore, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = put_index(store, "damaged:1")
    store.tag("sound:1", put_image(store, AMD64))
    store.path(damaged.digest).write_bytes(b"{}")
    first, second = result(capsys, "ls")["images"]
    assert "damaged" in first["error"]
    assert "error" not in second
    run("ls")
    assert "damaged:1  blob sha256:" in capsys.readouterr().out


def test_rm_by_name_by_digest_and_dry(store: DiskStore, capsys: pytest.CaptureFixture[str]) -> None:
    index = put_index(store)
    store.tag("again:1", index)
    assert result(capsys, "rm", index.digest.hex[:12], "--dry-run") == {
        "schema": 1,
        "removed": ["again:1", "tiny:latest"],
        "dry_run": True,
    }
    assert len(store.names()) == 2
    run("rm", "tiny")
    assert capsys.readouterr().out == "tiny:latest\n"
    assert list(store.names()) == ["again:1"]
    run("rm", str(index.digest), "again:1")
    assert store.names() == {}
    with pytest.raises(StoreError, match="no image 'tiny'"):
        run("rm", "tiny")


def test_rm_removes_all_or_nothing(store: DiskStore) -> None:
    put_index(store)
    with pytest.raises(StoreError, match="no image 'other'"):
        run("rm", "tiny", "other")
    assert list(store.names()) == ["tiny:latest"]


def test_a_part_of_an_image_has_no_name(store: DiskStore) -> None:
    put_index(store)
    with pytest.raises(StoreError, match="a part of other images"):
        run("rm", str(put_image(store, AMD64).digest))


def test_prune(store: DiskStore, capsys: pytest.CaptureFixture[str]) -> None:
    put_index(store)
    junk = store.put_bytes(b"junk")
    os.utime(store.path(junk), (1, 1))
    pruned = result(capsys, "prune", "--keep-recent", "7d", "--dry-run")
    assert (pruned["removed"], pruned["size"], pruned["dry_run"]) == ([str(junk)], 4, True)
    run("prune")
    assert capsys.readouterr().out == "freed 4 B in 1 blobs\n"
    assert not store.has(junk)
    with pytest.raises(UsageError, match="90s, 30m, 12h, 7d"):
        run("prune", "--keep-recent", "soon")


def test_inspect(store: DiskStore, capsys: pytest.CaptureFixture[str]) -> None:
    put_index(store)
    first, second = result(capsys, "inspect", "tiny")["images"]
    assert (first["platform"], second["platform"]) == ("linux/amd64", "linux/arm64")
    assert [(layer["name"], layer["kind"]) for layer in first["layers"]] == [("base", "base"), ("numpy", "wheel"), ("code", "code")]
    assert first["history"][1] == {"created_by": "wherry layer wheel numpy", "comment": "numpy 2.4.6", "empty_layer": False}
    assert first["config"]["entrypoint"] == ["/bin/true"]
    assert [cause["name"] for cause in first["causes"]] == ["base", "numpy 2.4.6", "code"]
    run("inspect", "tiny", "--platform", "linux/arm64")
    out = capsys.readouterr().out
    assert second["image_id"] in out
    assert first["image_id"] not in out
    assert "numpy 2.4.6  " in out
    with pytest.raises(StoreError, match=r"no image for linux/riscv64; there are: linux/amd64, linux/arm64"):
        run("inspect", "tiny", "--platform", "linux/riscv64")


def test_a_lock_that_was_named_must_be_there_and_fit(store: DiskStore, tmp_path: Path) -> None:
    put_index(store)
    with pytest.raises(LockError, match="cannot be read"):
        run("inspect", "tiny", "--lock", "gone.lock")
    (tmp_path / "wherry.lock").write_text("nonsense = [")
    run("inspect", "tiny")


def lock_of(*wheels: LockedWheel) -> str:
    interpreter = LockedInterpreter(source="debian", version="3.11.2", path="/usr/bin/python3.11")
    locked = PlatformLock(platform=AMD64, base=None, interpreter=interpreter, debs=(), wheels=wheels, layers=())
    return render_lock(Lock(declaration=Digest("0" * 64), platforms=(locked,)))


def test_the_tree_follows_the_lock_of_the_project(store: DiskStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put_index(store)
    numpy = LockedWheel(
        name="numpy", version="2.4.6", file="numpy-2.4.6-py3-none-any.whl", size=9, sha256=Digest("1" * 64), requested=True
    )
    (tmp_path / "wherry.lock").write_text(lock_of(numpy))
    (image,) = result(capsys, "inspect", "tiny", "--platform", "linux/amd64")["images"]
    assert [cause["name"] for cause in image["causes"]] == ["numpy 2.4.6", "base", "code"]
    (tmp_path / "wherry.lock").write_text(lock_of(replace(numpy, version="2.4.7", file="numpy-2.4.7-py3-none-any.whl")))
    (image,) = result(capsys, "inspect", "tiny", "--platform", "linux/amd64")["images"]
    assert [cause["name"] for cause in image["causes"]] == ["base", "numpy 2.4.6", "code"]
    with pytest.raises(LockError, match=r"wherry.lock: it is not the lock of this image for linux/amd64"):
        run("inspect", "tiny", "--platform", "linux/amd64", "--lock", "wherry.lock")


@pytest.mark.parametrize("form", ["hybrid", "oci"])
def test_save_and_load(
    store: DiskStore, tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    index = put_index(store)
    run("save", "tiny", "-o", "out.tar", "--format", form)
    assert [path.name for path in tmp_path.iterdir()] == ["out.tar"]
    monkeypatch.setenv("WHERRY_STORE", str(tmp_path / "other"))
    (loaded,) = result(capsys, "load", "out.tar")["loaded"]
    assert loaded["name"] == "tiny:latest"
    assert (loaded["digest"] == str(index.digest)) == (form == "oci")
    monkeypatch.setenv("WHERRY_STORE", str(tmp_path / "third"))
    packed = gzip.compress((tmp_path / "out.tar").read_bytes())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(packed)))
    run("load", "-")
    assert capsys.readouterr().out == "tiny:latest\n"


def test_a_save_that_fails_leaves_the_former_file(store: DiskStore, tmp_path: Path) -> None:
    put_index(store, codec="identity")
    run("save", "tiny", "-o", "out.tar", "--name", "else:1")
    former = (tmp_path / "out.tar").read_bytes()
    assert b"else:1" in former
    big = max((store.root / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    big.write_bytes(big.read_bytes()[:-1] + b"?")
    with pytest.raises(Exception, match="sha256"):
        run("save", "tiny", "-o", "out.tar")
    assert [path.name for path in tmp_path.iterdir()] == ["out.tar"]
    assert (tmp_path / "out.tar").read_bytes() == former


def test_a_file_that_is_not_there(store: DiskStore) -> None:
    with pytest.raises(StoreError, match=r"gone.tar: cannot be read: No such file"):
        run("load", "gone.tar")
    put_index(store)
    with pytest.raises(StoreError, match="cannot be written"):
        run("save", "tiny", "-o", "no/such/folder/out.tar")


def test_completion(store: DiskStore) -> None:
    put_index(store)
    put_index(store, "other:1")
    assert complete_image_names("ti") == ["tiny:latest"]
    assert complete_image_names("") == ["other:1", "tiny:latest"]
    (store.root / "index.json").write_bytes(b"{")
    assert complete_image_names("") == []
