from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.store.tiny import AMD64, assert_valid, blob_names, layers_for, make_tar, pack, put_index, raw_tar
from wherry.errors import FormatError, TrustError, WherryError
from wherry.formats.oci_json import render_config
from wherry.formats.tar import EntryKind, TarEntry, file_entry, symlink_entry
from wherry.model.digest import DiffId, Digest
from wherry.model.oci import LAYER_GZIP, LAYER_TAR
from wherry.store.archive import stream_image
from wherry.store.disk import DiskStore
from wherry.store.images import read_images
from wherry.store.loading import load_archive

TARS = [make_tar(files) for _, _, _, files in layers_for(AMD64)]
CONFIG = render_config(
    platform=AMD64, created="2020-01-01T00:00:00Z", diff_ids=[DiffId(hashlib.sha256(tar).hexdigest()) for tar in TARS]
)
CONFIG_HEX = Digest.of(CONFIG).hex


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    return DiskStore(tmp_path / "store")


def load(store: DiskStore, archive: bytes, **options: int) -> tuple[str, ...]:
    return load_archive(store, io.BytesIO(archive), **options)


def manifest_json(layers: list[str], config: str = f"{CONFIG_HEX}.json", tags: list[str] | None = None) -> TarEntry:
    return file_entry("manifest.json", json.dumps([{"Config": config, "RepoTags": tags, "Layers": layers}]).encode())


def docker_save(tags: list[str] | None = None, tars: list[bytes] | None = None) -> list[TarEntry]:
    """As `docker save` wrote until 24: a folder a layer, the config beside, layers that are equal linked."""
    entries, layers = [], []
    for number, tar in enumerate(tars or TARS):
        layers.append(f"{number:064x}/layer.tar")
        entries += [
            file_entry(f"{number:064x}/VERSION", b"1.0"),
            file_entry(f"{number:064x}/json", b"{}"),
            file_entry(layers[-1], tar),
        ]
    return [*entries, file_entry(f"{CONFIG_HEX}.json", CONFIG), manifest_json(layers, tags=tags), file_entry("repositories", b"{}")]


def test_docker_save_of_old(store: DiskStore) -> None:
    assert load(store, raw_tar(docker_save(["me/old:1", "docker.io/library/old:2"]))) == ("me/old:1", "old:2")
    (image,) = read_images(store, store.resolve("old:2"))
    assert image.config.digest.hex == CONFIG_HEX
    assert {layer.media_type for layer in image.manifest.layers} == {LAYER_TAR}
    assert store.resolve("me/old:1").digest == store.resolve("old:2").digest
    assert_valid(store)


def test_podman_s_form_with_links_for_the_elder(store: DiskStore) -> None:
    entries = []
    for tar in TARS:
        name = hashlib.sha256(tar).hexdigest()
        entries += [file_entry(f"{name}.tar", tar), symlink_entry(f"{name[::-1]}/layer.tar", f"../{name}.tar")]
    layers = [f"{hashlib.sha256(tar).hexdigest()[::-1]}/layer.tar" for tar in TARS]
    entries += [file_entry(f"{CONFIG_HEX}.json", CONFIG), manifest_json(layers, tags=["localhost/pod:latest"])]
    assert load(store, raw_tar(entries)) == ("pod:latest",)
    assert read_images(store, store.resolve("pod"))[0].config.digest.hex == CONFIG_HEX


def test_compressed_layers_keep_their_bytes(store: DiskStore) -> None:
    packed = [pack(tar, "gzip") for tar in TARS]
    load(store, raw_tar(docker_save(["a:1"], packed)))
    (image,) = read_images(store, store.resolve("a:1"))
    assert [(layer.media_type, layer.digest) for layer in image.manifest.layers] == [
        (LAYER_GZIP, Digest.of(blob)) for blob in packed
    ]


def test_an_archive_without_names(store: DiskStore) -> None:
    (name,) = load(store, raw_tar(docker_save(None)))
    assert name == f"loaded:{store.names()[name].digest.hex[:12]}"


@pytest.mark.parametrize("wrap", [gzip.compress, lambda data: pack(data, "zstd")], ids=["gzip", "zstd"])
def test_compressed_archives(store: DiskStore, wrap: Callable[[bytes], bytes]) -> None:
    assert load(store, wrap(raw_tar(docker_save(["a:1"])))) == ("a:1",)


def test_layers_bigger_than_documents_go_through_the_disk(store: DiskStore) -> None:
    big = make_tar({"big": os.urandom(5 << 20)})
    config = render_config(platform=AMD64, created="", diff_ids=[DiffId(hashlib.sha256(big).hexdigest())])
    entries = [
        file_entry("l.tar", big),
        file_entry("c", config),
        manifest_json(["l.tar"], "c", ["a:1"]),
    ]
    assert load(store, raw_tar(entries)) == ("a:1",)
    assert_valid(store)


def saved(store: DiskStore, **options: object) -> list[TarEntry]:
    """The members of an own archive, to damage them."""
    from wherry.formats.untar import read_members

    put_index(store, "src:1")
    chunks = stream_image(store, store.resolve("src:1"), name="src:1", **options)  # type: ignore[arg-type]
    return [
        file_entry(member.path, b"".join(member.content)) for member in read_members(chunks, "") if member.kind is EntryKind.FILE
    ]


def replaced(entries: list[TarEntry], path: str, data: bytes | None) -> list[TarEntry]:
    kept = [entry for entry in entries if entry.path != path]
    assert len(kept) < len(entries)
    return kept if data is None else [*kept, file_entry(path, data)]


def test_an_index_of_which_only_some_platforms_are_in_the_archive(store: DiskStore, tmp_path: Path) -> None:
    """As `docker save` writes images that it pulled for one platform."""
    entries = saved(DiskStore(tmp_path / "src"), form="oci")
    left_out = read_images(DiskStore(tmp_path / "src"), DiskStore(tmp_path / "src").resolve("src:1"))[1]
    entries = replaced(entries, f"blobs/sha256/{left_out.descriptor.digest.hex}", None)
    load(store, raw_tar(entries))
    (image,) = read_images(store, store.resolve("src:1"))
    assert image.platform == AMD64


def damage_digest(entries: list[TarEntry]) -> list[TarEntry]:
    blob = max((entry for entry in entries if entry.path.startswith("blobs/")), key=lambda entry: entry.size)
    assert isinstance(blob.content, bytes)
    return replaced(entries, blob.path, blob.content[:-1] + b"?")


def lie_about_layer(entries: list[TarEntry]) -> list[TarEntry]:
    """A manifest, digests all right, whose uncompressed layer is not the one of the config."""
    evil = make_tar({"evil": b"evil"})
    index = json.loads(next(entry.content for entry in entries if entry.path == "index.json"))  # type: ignore[arg-type]
    path = "blobs/sha256/" + index["manifests"][0]["digest"][7:]
    manifest = json.loads(next(entry.content for entry in entries if entry.path == path))  # type: ignore[arg-type]
    manifest["layers"][0] |= {"digest": str(Digest.of(evil)), "size": len(evil)}
    raw = json.dumps(manifest).encode()
    index["manifests"][0] |= {"digest": str(Digest.of(raw)), "size": len(raw)}
    entries = replaced(entries, "index.json", json.dumps(index).encode())
    return [
        *entries,
        file_entry(f"blobs/sha256/{Digest.of(evil).hex}", evil),
        file_entry(f"blobs/sha256/{Digest.of(raw).hex}", raw),
    ]


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (damage_digest, TrustError),
        (lie_about_layer, TrustError),
        (lambda entries: replaced(entries, "index.json", b"{}"), FormatError),
        (lambda entries: replaced(entries, "index.json", b'{"schemaVersion":2,"manifests":[]}'), FormatError),
        (lambda entries: [*entries, file_entry("manifest.json", b"[]")], FormatError),
        (lambda entries: replaced(entries, max(entries, key=lambda entry: entry.size).path, None), FormatError),
        (lambda entries: [file_entry("../../evil", b""), *entries], FormatError),
        (lambda entries: [symlink_entry("a", "../../../etc/shadow"), *entries], FormatError),
        (lambda entries: [TarEntry(path="a", kind=EntryKind.HARDLINK, link="../b"), *entries], FormatError),
    ],
)
def test_hostile_oci_archives(
    store: DiskStore, tmp_path: Path, damage: Callable[[list[TarEntry]], list[TarEntry]], error: type[WherryError]
) -> None:
    entries = saved(DiskStore(tmp_path / "src"), platforms=(AMD64,))
    with pytest.raises(error):
        load(store, raw_tar(damage(entries)))
    assert store.names() == {}
    assert blob_names(store) == set()
    assert not list((store.root / "ingest").iterdir())


BASE = [file_entry("l.tar", TARS[0]), file_entry("c", CONFIG)]


@pytest.mark.parametrize(
    ("entries", "error"),
    [
        ([], "neither index.json nor manifest.json"),
        ([file_entry("manifest.json", b"{}")], "not a list of images"),
        ([file_entry("manifest.json", b"[" * 100_000)], "not valid JSON"),
        ([file_entry("manifest.json", b"[]")], "lists no image"),
        ([file_entry("manifest.json", b"[{}]")], "no Config"),
        ([*BASE, manifest_json(["l.tar"], "c")], "1 layers, and 3 in the config"),
        ([*BASE, manifest_json(["l.tar"] * 3, "c")], "the config says"),
        ([*BASE, manifest_json(["gone"] * 3, "c")], "no member 'gone'"),
        ([*BASE, manifest_json(["../l.tar"] * 3, "c")], "leaves the archive"),
        ([*BASE, symlink_entry("x", "y"), symlink_entry("y", "x"), manifest_json(["x"] * 3, "c")], "no member 'x'"),
        ([*BASE, file_entry("0" * 64 + ".json", CONFIG), manifest_json([], "0" * 64 + ".json")], "sha256:"),
        (docker_save(["a b"]), "not an image name"),
        (docker_save(["a:1"], [TARS[0], TARS[1], pack(TARS[2], "gzip")[:-9]]), "ends too early"),
        (docker_save(["a:1"], [TARS[0], TARS[1], pack(b"?", "gzip")]), "the config says"),
    ],
)
def test_hostile_docker_archives(store: DiskStore, entries: list[TarEntry], error: str) -> None:
    with pytest.raises(WherryError, match=error):
        load(store, raw_tar(entries))
    assert store.names() == {}
    assert blob_names(store) == set()


@pytest.mark.parametrize("wrap", [lambda data: data, gzip.compress], ids=["plain", "gzip"])
def test_truncated_anywhere(store: DiskStore, wrap: Callable[[bytes], bytes]) -> None:
    archive = wrap(raw_tar(docker_save(["a:1"])))
    for end in range(0, len(archive) - 1024, max(1, len(archive) // 40)):
        with pytest.raises(FormatError):
            load(store, archive[:end])
    assert blob_names(store) == set()


def test_a_bomb_stops_at_the_limit(store: DiskStore) -> None:
    bomb = gzip.compress(raw_tar([file_entry("zeros", bytes(40 << 20))]))
    with pytest.raises(FormatError, match="more than the 16777216 bytes allowed"):
        load(store, bomb, limit=16 << 20)
    assert blob_names(store) == set()


def test_a_failed_load_takes_nothing_away_that_was_there(store: DiskStore) -> None:
    load(store, raw_tar(docker_save(["a:1"])))
    before = blob_names(store)
    with pytest.raises(WherryError):
        load(store, raw_tar([*docker_save(["b:1"]), file_entry("blobs/sha256/" + "0" * 64, b"")]))
    assert blob_names(store) == before
    assert_valid(store)
