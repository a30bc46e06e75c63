"""What every object store keeps: one suite, with a class for each store below it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from wherry.errors import StoreError, UsageError
from wherry.store.objects import Listed, ObjectStore


class ObjectStoreContract:
    """A subclass gives `store`, a fixture: an empty store."""

    def test_put_and_get(self, store: ObjectStore, tmp_path: Path) -> None:
        assert store.get("a/b") is None
        assert store.size("a/b") is None
        store.put("a/b", b"one")
        store.put("a/b", b"three")
        held = store.get("a/b")
        assert held is not None
        assert (held.data, store.size("a/b")) == (b"three", 5)
        (tmp_path / "file").write_bytes(bytes(3 << 20))
        store.put("a/large", tmp_path / "file")
        assert store.size("a/large") == 3 << 20

    def test_ranges(self, store: ObjectStore) -> None:
        store.put("data", b"0123456789")
        assert [store.read("data", *span) for span in ((0, 3), (8, 5), (4, 1))] == [b"012", b"89", b"4"]
        with pytest.raises(StoreError):
            store.read("none", 0, 1)

    def test_of_many_that_put_if_absent_one_does(self, store: ObjectStore) -> None:
        won: list[int] = []
        threads = [
            threading.Thread(
                target=lambda number=number: won.append(number) if store.put_if_absent("d/x", b"%d" % number) else None
            )
            for number in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        held = store.get("d/x")
        assert held is not None
        assert [b"%d" % number for number in won] == [held.data]
        assert not store.put_if_absent("d/x", b"again")

    def test_of_many_that_put_if_match_one_does(self, store: ObjectStore) -> None:
        store.put("d/x", b"first")
        held = store.get("d/x")
        assert held is not None
        won: list[int] = []
        threads = [
            threading.Thread(
                target=lambda number=number: won.append(number) if store.put_if_match("d/x", b"%d" % number, held.version) else None
            )
            for number in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        now = store.get("d/x")
        assert now is not None
        assert [b"%d" % number for number in won] == [now.data]
        assert not store.put_if_match("d/x", b"again", held.version)
        assert store.put_if_match("d/x", b"again", now.version)
        assert not store.put_if_match("d/none", b"x", now.version)

    def test_lists_in_the_order_of_bytes(self, store: ObjectStore) -> None:
        keys = ["a-b/x", "a.b", "a/b", "a/b0", "a0", "b/c/d", "b/c-d", "b/c.d"]
        for key in keys:
            store.put(key, key.encode())
        assert [one for page in store.list("") for one in page] == [Listed(key, len(key)) for key in sorted(keys)]
        assert [one.key for page in store.list("b/") for one in page] == ["b/c-d", "b/c.d", "b/c/d"]
        assert [*store.list("c/")] == []
        assert (store.folders(""), store.folders("b/"), store.folders("c/")) == (("a", "a-b", "b"), ("c",), ())

    def test_lists_come_in_pages(self, store: ObjectStore) -> None:
        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(lambda number: store.put_if_absent(f"many/{number:05}", b""), range(1003)))
        pages = [len(page) for page in store.list("many/")]
        assert sum(pages) == 1003
        assert max(pages) <= 1000

    def test_what_is_deleted_is_gone(self, store: ObjectStore) -> None:
        store.put("a/b/c", b"x")
        store.delete("a/b/c")
        store.delete("a/b/c")
        assert store.get("a/b/c") is None
        assert [*store.list("")] == []
        store.put("a/b", b"where a folder was")
        assert store.get("a/b") is not None

    @pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/../b", "a/.b", "-a", "a b", "é", "a%2Fb", "a" * 256])
    def test_what_is_no_key(self, store: ObjectStore, key: str) -> None:
        with pytest.raises(UsageError):
            store.put(key, b"x")
        with pytest.raises(UsageError):
            store.get(key)
