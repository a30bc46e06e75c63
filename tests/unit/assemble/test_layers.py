"""A layer is written once, named by its uncompressed tar, and found again by what it was made of."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import pytest

from wherry.assemble.layers import LayerCache, write_layer
from wherry.errors import FormatError
from wherry.formats.decompress import unpack_layer_chunks
from wherry.formats.tar import TarEntry, add_parents, file_entry, write_tar
from wherry.model.declaration import Compression
from wherry.model.digest import Digest
from wherry.store.disk import DiskStore


def entries() -> list[TarEntry]:
    return add_parents([file_entry("a/b", b"x" * 700_000), file_entry("a/c", b"")])


@pytest.mark.parametrize("compression", list(Compression))
def test_digests_are_those_of_the_tar_and_of_the_blob(tmp_path: Path, compression: Compression) -> None:
    store = DiskStore(tmp_path)
    blob = write_layer(entries(), store, compression)
    tar = bytearray()
    write_tar(entries(), tar.extend)
    raw = store.path(blob.digest).read_bytes()
    assert blob.diff_id.hex == hashlib.sha256(tar).hexdigest()
    assert (Digest.of(raw), len(raw)) == (blob.digest, blob.size)
    assert b"".join(unpack_layer_chunks([raw], 1 << 30)) == bytes(tar)


def test_any_gzip_reads_it(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    blob = write_layer(entries(), store, Compression.GZIP)
    assert hashlib.sha256(gzip.decompress(store.path(blob.digest).read_bytes())).hexdigest() == blob.diff_id.hex


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    with pytest.raises(FormatError):
        write_layer([TarEntry(path="a", size=9, content=b"x")], store, Compression.GZIP)
    assert [
        path for path in tmp_path.rglob("*") if path.is_file() and path.name not in ("oci-layout", "index.json", "index.lock")
    ] == []


def test_the_cache_believes_only_what_the_store_has(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "store")
    cache = LayerCache(tmp_path / "cache", store, Compression.GZIP)
    key = cache.key(["wheel", "sha256:1"])
    assert cache.find(key) is None
    blob = write_layer(entries(), store, Compression.GZIP)
    cache.remember(key, blob)
    assert cache.find(key) == blob
    store.path(blob.digest).unlink()
    assert cache.find(key) is None


def test_codecs_do_not_share_keys(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "store")
    keys = {LayerCache(tmp_path, store, compression).key(["a"]) for compression in Compression}
    assert len(keys) == len(Compression)


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"diff_id":1}', b'{"diff_id":"sha256:zz","digest":"","size":1}'])
def test_a_damaged_cache_entry_is_no_entry(tmp_path: Path, damage: bytes) -> None:
    cache = LayerCache(tmp_path, DiskStore(tmp_path / "store"), Compression.GZIP)
    (tmp_path / "layers").mkdir()
    (tmp_path / "layers" / f"{cache.key(['a'])}.json").write_bytes(damage)
    assert cache.find(cache.key(["a"])) is None
