"""`wherry image delta`: images, archives, tars and folders as ends; what is made, shown and refused."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.simulators.registry import RegistrySimulator
from tests.unit.store.tiny import AMD64, ARM64, make_tar, put_image, put_index
from wherry.cli import delta as command
from wherry.cli.image import register
from wherry.errors import FormatError, StoreError, TrustError, UsageError
from wherry.model.digest import DiffId
from wherry.store.disk import DiskStore
from wherry.store.images import read_images, walk_manifests
from wherry.store.loading import load_archive
from wherry.store.places import store_path
from wherry.store.spooled import SpooledFile

NOISE = random.Random(5).randbytes(40_000)
OLD = {"lib/a.bin": NOISE, "lib/b.txt": b"one\n" * 500}
NEW = {"lib/a.bin": NOISE[:20_000] + b"inserted" + NOISE[20_000:], "lib/b.txt": b"one\n" * 500, "lib/c.txt": b"new\n"}


@pytest.fixture
def store() -> DiskStore:
    return DiskStore(store_path(os.environ))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("old.tar").write_bytes(make_tar(OLD))
    Path("new.tar").write_bytes(make_tar(NEW))
    return tmp_path


def run(*arguments: str) -> None:
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    command.register(app)
    app(["image", "delta", *arguments], standalone_mode=False)


def result(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    run(*arguments, "--json")
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == 1
    return document


def write_folder(root: Path, files: dict[str, bytes]) -> None:
    for path, data in files.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        place.chmod(0o644)


def test_two_tars(capsys: pytest.CaptureFixture[str]) -> None:
    made = result(capsys, "make", "old.tar", "new.tar", "-o", "d")
    (layer,) = made["layers"]
    assert (made["image"], made["kept"], layer["form"]) == (None, [], "delta")
    assert made["size"] == Path("d").stat().st_size < 400
    assert result(capsys, "show", "d") == made
    run("apply", "old.tar", "d", "-o", "back.tar")
    assert Path("back.tar").read_bytes() == Path("new.tar").read_bytes()
    run("show", "d")
    assert layer["diff_id"].removeprefix("sha256:")[:12] in capsys.readouterr().out


def test_folders_give_the_tar_of_a_layer(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(here / "old", OLD)
    write_folder(here / "new", NEW)
    run("make", "old", "new", "-o", "d")
    run("apply", "old.tar", "d", "-o", "back.tar")  # a folder and a tar of the same files are one base
    run("apply", "old", "d", "-o", "again.tar")
    assert Path("back.tar").read_bytes() == Path("again.tar").read_bytes() == Path("new.tar").read_bytes()


def test_an_altered_file_of_the_base_is_named(here: Path) -> None:
    write_folder(here / "old", OLD)
    run("make", "old", "new.tar", "-o", "d")
    (here / "old" / "lib" / "a.bin").write_bytes(NOISE[:100] + b"?" + NOISE[101:])
    with pytest.raises(TrustError) as caught:
        run("apply", "old", "d", "-o", "back.tar")
    assert caught.value.where == "lib/a.bin"
    assert not Path("back.tar").exists()


def test_two_images_into_the_store(store: DiskStore, capsys: pytest.CaptureFixture[str]) -> None:
    store.tag("old:latest", put_image(store, AMD64, codec="gzip"))
    store.tag("new:latest", put_image(store, ARM64, codec="zstd"))
    made = result(capsys, "make", "old", "new", "-o", "d")
    assert (len(made["layers"]), len(made["kept"])) == (1, 2)
    run("apply", "old", "d", "-t", "again")
    (wanted,), (again,) = (read_images(store, store.resolve(name)) for name in ("new", "again"))
    assert (again.config.raw, made["image"]) == (wanted.config.raw, str(again.config.digest))
    with pytest.raises(UsageError):
        run("apply", "old", "d")


def test_an_archive_is_an_image_too(store: DiskStore, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from wherry.store.archive import save_image

    for name, platform in (("old", AMD64), ("new", ARM64)):
        with Path(f"{name}.image").open("wb") as file:
            save_image(store, put_image(store, platform), file.write, name=f"{name}:latest")
    run("make", "old.image", "new.image", "-o", "d")
    run("apply", "old.image", "d", "-o", "back.image", "-t", "new")
    assert capsys.readouterr().out.count("sha256:") == 1
    other = DiskStore(here / "other")
    for name in ("new.image", "back.image"):
        with Path(name).open("rb") as file:
            load_archive(other, file)
    assert {str(read_images(other, root)[0].platform) for root in other.roots()} == {"linux/arm64"}
    with pytest.raises(StoreError, match="has no layer"):
        run("apply", "new.tar", "d", "-t", "new")


def test_of_several_platforms_one_is_named(store: DiskStore) -> None:
    put_index(store)
    with pytest.raises(StoreError, match="several platforms"):
        run("make", "old.tar", "tiny", "-o", "d")
    run("make", "old.tar", "tiny", "-o", "d", "--platform", "linux/arm64")
    run("make", "tiny", "tiny", "-o", "d", "--platform", "linux/arm64")
    run("apply", "tiny", "d", "-t", "same", "--platform", "linux/arm64")
    assert len(read_images(store, store.resolve("same"))) == 1


def test_an_image_of_a_registry(store: DiskStore, here: Path) -> None:
    made = DiskStore(here / "made")
    with RegistrySimulator() as registry:
        for descriptor, document in walk_manifests(made, put_index(made)):
            registry.add_manifest("team/tiny", document.raw, descriptor.media_type, "1")
        for path in (made.root / "blobs/sha256").iterdir():
            registry.add_blob("team/tiny", path.read_bytes())
        index = next(raw for raw, _ in registry.repository("team/tiny").manifests.values() if b'"manifests"' in raw)
        registry.add_manifest("team/tiny", index, "application/vnd.oci.image.index.v1+json", "1")
        run("make", "old.tar", f"{registry.host}/team/tiny:1", "-o", "d", "--platform", "linux/arm64")
    assert Path("d").is_file()
    assert not store.names()


def test_a_name_in_the_store_comes_before_one_on_disk(store: DiskStore, here: Path) -> None:
    put_index(store, "old:latest")
    write_folder(here / "old", OLD)
    with pytest.raises(StoreError, match="several platforms"):
        run("make", "old", "new.tar", "-o", "d")
    run("make", "./old", "new.tar", "-o", "d")
    with pytest.raises(StoreError, match="No such file"):
        run("make", "./nothing", "new.tar", "-o", "d")


def test_what_is_refused(here: Path) -> None:
    run("make", "old.tar", "new.tar", "-o", "d")
    data = Path("d").read_bytes()
    for broken in (data[:-1], data[:50] + b"?" + data[51:], b"", b"wdl\x01"):
        Path("broken").write_bytes(broken)
        with pytest.raises(FormatError):
            run("show", "broken")
        with pytest.raises(FormatError):
            run("apply", "old.tar", "broken", "-o", "back.tar")
    with pytest.raises(StoreError, match="no image 'nothing'"):
        run("make", "old.tar", "nothing", "-o", "d")
    with pytest.raises(UsageError):
        run("apply", "old.tar", "d")
    with pytest.raises(UsageError):
        run("apply", "old.tar", "d", "-o", "-", "--json")
    with pytest.raises(TrustError):
        run("apply", "new.tar", "d", "-o", "back.tar")
    assert not Path("back.tar").exists()


def test_the_layer_is_known_by_its_tar(capsys: pytest.CaptureFixture[str]) -> None:
    made = result(capsys, "make", "old.tar", "new.tar", "-o", "d")
    with SpooledFile((Path("new.tar").read_bytes(),)) as tar:
        assert DiffId.parse(made["layers"][0]["diff_id"]) == tar.diff_id
