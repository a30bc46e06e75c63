"""What every `BlobStore` must do. A store's own tests subclass `BlobStoreContract` and give `new_store`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from wherry.errors import StoreError, TrustError
from wherry.model.digest import Digest
from wherry.store.port import BlobStore

DATA = b"cargo" * 50_000
DIGEST = Digest.of(DATA)


class BlobStoreContract:
    def new_store(self, place: Path) -> BlobStore:
        raise NotImplementedError

    @pytest.fixture
    def store(self, tmp_path: Path) -> BlobStore:
        return self.new_store(tmp_path)

    def test_gives_back_what_was_put(self, store: BlobStore) -> None:
        store.put((DATA[:7], b"", DATA[7:]), DIGEST, len(DATA))
        assert store.has(DIGEST)
        with store.open(DIGEST) as file:
            assert file.read(10) == DATA[:10]
            assert file.read() == DATA[10:]

    def test_an_empty_blob(self, store: BlobStore) -> None:
        empty = Digest.of(b"")
        store.put((), empty, 0)
        with store.open(empty) as file:
            assert file.read() == b""

    def test_putting_twice_is_putting_once(self, store: BlobStore) -> None:
        store.put((DATA,), DIGEST, len(DATA))
        store.put((DATA,), DIGEST, len(DATA))
        with store.open(DIGEST) as file:
            assert file.read() == DATA

    def test_a_missing_blob(self, store: BlobStore) -> None:
        assert not store.has(DIGEST)
        with pytest.raises(StoreError):
            store.open(DIGEST)

    @pytest.mark.parametrize("sent", [DATA[:-1], DATA + b"x", b"C" + DATA[1:], b""], ids=["short", "long", "changed", "nothing"])
    def test_wrong_bytes_are_refused_and_not_kept(self, store: BlobStore, sent: bytes) -> None:
        with pytest.raises(TrustError):
            store.put((sent,), DIGEST, len(DATA))
        assert not store.has(DIGEST)
        assert not store.has(Digest.of(sent))

    def test_a_stream_longer_than_announced_is_cut_off(self, store: BlobStore) -> None:
        def endless() -> Iterator[bytes]:
            while True:
                yield DATA

        with pytest.raises(TrustError):
            store.put(endless(), DIGEST, len(DATA))
        assert not store.has(DIGEST)

    def test_a_source_that_breaks_leaves_nothing(self, store: BlobStore) -> None:
        def breaking() -> Iterator[bytes]:
            yield DATA[:100]
            raise ConnectionResetError

        with pytest.raises(ConnectionResetError):
            store.put(breaking(), DIGEST, len(DATA))
        assert not store.has(DIGEST)
        store.put((DATA,), DIGEST, len(DATA))
        assert store.has(DIGEST)
