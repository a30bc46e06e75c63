"""What was downloaded is kept by digest, once for all that need it, and believed only while nobody touched it."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.unit.store.shelf import DATA, Shelf, cut, make_traffic
from wherry.errors import StoreError, TransferError, TrustError
from wherry.store import input_cache, part_file
from wherry.store.input_cache import InputCache

DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(autouse=True)
def _small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_file, "RANGE", 10_000)
    monkeypatch.setattr(input_cache, "_RESERVE", 0)


@pytest.fixture
def cache(tmp_path: Path) -> InputCache:
    return InputCache(tmp_path / "cache", make_traffic())


@pytest.fixture
def view(cache: InputCache) -> Iterator[Path]:
    with cache.open_views("w") as folder:
        yield folder


def test_it_comes_once_for_all(cache: InputCache, view: Path) -> None:
    shelf = Shelf()
    first, again = cache.fetch(shelf, view / "a/data"), cache.fetch(shelf, view / "b/data")
    assert first is not None
    assert again is not None
    assert (first.sha256, first.size, first.version, first.moved) == (DIGEST, len(DATA), "v1", len(DATA))
    assert (again.sha256, again.version, again.moved) == (DIGEST, "v1", 0)
    assert (view / "a/data").read_bytes() == DATA
    assert (view / "a/data").stat().st_ino == (view / "b/data").stat().st_ino
    assert (view / "a/data").stat().st_mode & 0o222 == 0


def test_who_says_the_digest_asks_nobody(cache: InputCache, view: Path) -> None:
    cache.fetch(Shelf(), view / "a")
    other = Shelf(address="az://elsewhere/copy")
    assert cache.fetch(other, view / "b", DIGEST)
    assert other.described == 0


def test_another_version_is_another_object(cache: InputCache, view: Path) -> None:
    cache.fetch(Shelf(), view / "a")
    found = cache.fetch(Shelf(DATA[::-1], "v2"), view / "b")
    assert found is not None
    assert (view / "b").read_bytes() == DATA[::-1]


def test_another_digest_than_was_said(cache: InputCache, view: Path, tmp_path: Path) -> None:
    with pytest.raises(TrustError, match="not 00"):
        cache.fetch(Shelf(), view / "a", "0" * 64)
    assert not list(view.iterdir())
    assert not list((tmp_path / "cache/parts").iterdir())
    assert not list((tmp_path / "cache/data").iterdir())


def test_what_a_task_altered_is_downloaded_again(cache: InputCache, view: Path) -> None:
    cache.fetch(Shelf(), view / "a")
    (view / "a").chmod(0o644)
    with (view / "a").open("r+b") as file:
        file.write(b"mine")
    found = cache.fetch(Shelf(), view / "b", DIGEST)
    assert found is not None
    assert found.moved == len(DATA)
    assert (view / "b").read_bytes() == DATA


def test_many_at_once_move_it_once(cache: InputCache, view: Path, tmp_path: Path) -> None:
    shelf = Shelf()
    together = threading.Barrier(6)
    errors: list[BaseException] = []

    def fetch(number: int) -> None:
        try:
            together.wait()
            InputCache(tmp_path / "cache", make_traffic()).fetch(shelf, view / str(number))
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=fetch, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert shelf.sent == len(DATA)
    assert {path.read_bytes() for path in view.iterdir()} == {DATA}


def test_a_download_that_broke_off_is_gone_on_with(cache: InputCache, view: Path) -> None:
    shelf = Shelf()
    shelf.fail = lambda _request, offset, _sent: cut() if offset >= 50_000 else None
    with pytest.raises(TransferError):
        cache.fetch(shelf, view / "a")
    found = cache.fetch(Shelf(), view / "a")
    assert found is not None
    assert found.moved == len(DATA) - 50_000


def test_nothing_is_there(cache: InputCache, view: Path) -> None:
    class Empty(Shelf):
        def describe(self) -> None:
            return None

    assert cache.fetch(Empty(), view / "a") is None


def test_who_waits_for_another_s_download_can_be_stopped(cache: InputCache, view: Path, tmp_path: Path) -> None:
    shelf, stop = Shelf(), threading.Event()
    begun, go = threading.Event(), threading.Event()
    shelf.fail = lambda *_: (begun.set(), go.wait())[0]
    other = threading.Thread(target=cache.fetch, args=(shelf, view / "a"))
    other.start()
    begun.wait()
    stop.set()
    with pytest.raises(TransferError, match="stopped"):
        InputCache(tmp_path / "cache", make_traffic(stopped=lambda: begun.is_set() and stop.is_set())).fetch(Shelf(), view / "b")
    go.set()
    other.join()
    assert (view / "a").read_bytes() == DATA


class TestPruning:
    def shelf(self, number: int) -> Shelf:
        return Shelf(bytes([number]) * 40_000, address=f"az://shelf/{number}")

    def test_what_was_used_longest_ago_goes_first(self, tmp_path: Path) -> None:
        cache = InputCache(tmp_path / "cache", make_traffic(), cap=130_000)
        with cache.open_views("w") as view:
            for number in (1, 2, 3):
                cache.fetch(self.shelf(number), view / str(number))
            cache.fetch(self.shelf(1), view / "again")
        for number, path in enumerate(sorted((tmp_path / "cache/data").iterdir(), key=lambda path: path.stat().st_atime_ns)):
            os.utime(path, ns=(number, path.stat().st_mtime_ns))
        with cache.open_views("w") as view:
            cache.fetch(self.shelf(4), view / "4")
            found = [cache.fetch(self.shelf(number), view / f"x{number}") for number in (1, 3)]
            assert [one.moved for one in found if one] == [0, 0]
            again = cache.fetch(self.shelf(2), view / "x2")
            assert again is not None
            assert again.moved == 40_000

    def test_what_is_used_stays(self, tmp_path: Path) -> None:
        cache = InputCache(tmp_path / "cache", make_traffic(), cap=50_000)
        with cache.open_views("w") as view:
            for number in (1, 2, 3):
                cache.fetch(self.shelf(number), view / str(number))
            assert [len(path.read_bytes()) for path in view.iterdir()] == [40_000] * 3
            assert len(list((tmp_path / "cache/data").iterdir())) == 3

    def test_parts_that_nobody_goes_on_with_make_room(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        cache = InputCache(tmp_path / "cache", make_traffic())
        broken = self.shelf(1)
        broken.fail = cut
        with cache.open_views("w") as view:
            with pytest.raises(TransferError):
                cache.fetch(broken, view / "1")
            monkeypatch.setattr(input_cache, "_RESERVE", 1 << 62)
            cache.fetch(self.shelf(2), view / "2")
        assert not list((tmp_path / "cache/parts").glob("*.part"))


def test_views_of_the_dead_are_cleared_and_those_of_the_living_are_not(cache: InputCache, tmp_path: Path) -> None:
    dead = tmp_path / "cache/views/w.1"
    (dead / "0.0").mkdir(parents=True)
    with ExitStack() as held:
        living = held.enter_context(cache.open_views("a"))
        assert not dead.exists()
        held.enter_context(cache.open_views("b"))
        assert living.exists()
    assert not list((tmp_path / "cache/views").iterdir())


def test_a_full_disk(cache: InputCache, view: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_handle: int, _size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(part_file, "reserve_space", refuse)
    with pytest.raises(StoreError, match="disk is full"):
        cache.fetch(Shelf(), view / "a")
    assert not list((tmp_path / "cache/parts").iterdir())
