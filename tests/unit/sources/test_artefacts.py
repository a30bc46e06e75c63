"""A locked wheel is found again, in the order that the specification gives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulators.python_index import PythonIndex, Wheel, make_wheel
from wherry.errors import LockError, TransferError, TrustError
from wherry.model.digest import Digest
from wherry.model.lock import LockedWheel
from wherry.sources.artefacts import ArtefactFinder
from wherry.sources.index_credentials import CredentialBook
from wherry.sources.seen_urls import SeenUrls
from wherry.sources.transport import ATTEMPTS, Transport
from wherry.sources.uv_program import Indexes

WHEEL = make_wheel("cargo", "1.0", padding=5000)


def locked(wheel: Wheel) -> LockedWheel:
    return LockedWheel(name=wheel.name, version=wheel.version, file=wheel.file, size=len(wheel.data), sha256=Digest(wheel.sha256))


@pytest.fixture
def index() -> Iterator[PythonIndex]:
    with PythonIndex() as simulator:
        simulator.add(WHEEL)
        yield simulator


def finder(
    cache: Path, *urls: str, links: tuple[str, ...] = (), find: tuple[Path, ...] = (), offline: bool = False
) -> ArtefactFinder:
    transport = Transport({}, CredentialBook(urls, {}), offline=offline, stall=5.0, pause=lambda seconds: None)
    return ArtefactFinder(cache, transport, lambda: Indexes(urls=urls, find_links=links), find=find)


@pytest.mark.parametrize("json_pages", [False, True])
@pytest.mark.parametrize("digests", [False, True])
def test_an_index_has_it(tmp_path: Path, json_pages: bool, digests: bool) -> None:
    with PythonIndex(json_pages=json_pages, digests=digests) as index:
        index.add(make_wheel("cargo", "0.9"), WHEEL)
        path = finder(tmp_path, index.url).fetch_wheel(locked(WHEEL))
    assert path == tmp_path / "artefacts" / "sha256" / WHEEL.sha256 / WHEEL.file
    assert path.read_bytes() == WHEEL.data
    assert [entry.name for entry in path.parent.iterdir()] == [WHEEL.file]


def test_the_cache_comes_first(index: PythonIndex, tmp_path: Path) -> None:
    finder(tmp_path, index.url).fetch_wheel(locked(WHEEL))
    before = len(index.requests)
    assert finder(tmp_path, index.url).fetch_wheel(locked(WHEEL)).read_bytes() == WHEEL.data
    assert len(index.requests) == before


def test_a_folder_comes_before_the_network(index: PythonIndex, tmp_path: Path) -> None:
    folder = tmp_path / "carried"
    folder.mkdir()
    (folder / WHEEL.file).write_bytes(WHEEL.data)
    finder(tmp_path / "cache", index.url, find=(folder,)).fetch_wheel(locked(WHEEL))
    assert index.requests == []


def test_where_it_was_seen_comes_before_the_indexes(index: PythonIndex, tmp_path: Path) -> None:
    SeenUrls(tmp_path).remember(Digest(WHEEL.sha256), index.file_url(WHEEL), len(WHEEL.data))
    finder(tmp_path, index.url).fetch_wheel(locked(WHEEL))
    assert [request[1] for request in index.requests] == [f"/files/{WHEEL.file}"]


def test_a_place_where_it_was_and_is_no_more(index: PythonIndex, tmp_path: Path) -> None:
    SeenUrls(tmp_path).remember(Digest(WHEEL.sha256), f"{index.root}/files/moved.whl", len(WHEEL.data))
    assert finder(tmp_path, index.url).fetch_wheel(locked(WHEEL)).read_bytes() == WHEEL.data


def test_a_damaged_memory_is_none(tmp_path: Path) -> None:
    (tmp_path / "urls").mkdir()
    for damage in (b"", b"{", b"[]", b'{"url": 1, "size": 2}', b'{"url": "x", "size": -1}', b"\xff" * 99):
        (tmp_path / "urls" / WHEEL.sha256).write_bytes(damage)
        assert SeenUrls(tmp_path).find(Digest(WHEEL.sha256)) is None


def test_a_memory_holds_no_credentials(tmp_path: Path) -> None:
    SeenUrls(tmp_path).remember(Digest(WHEEL.sha256), "https://ada:s3cret@index.example/f/x.whl?token=s3cret#sha256=1", 3)
    assert "s3cret" not in (tmp_path / "urls" / WHEEL.sha256).read_text()


def test_file_indexes_and_flat_lists(tmp_path: Path) -> None:
    simple, links = tmp_path / "simple", tmp_path / "links"
    (simple / "cargo").mkdir(parents=True)
    links.mkdir()
    (simple / WHEEL.file).write_bytes(WHEEL.data)
    (simple / "cargo" / "index.html").write_text(f'<a href="../{WHEEL.file}#sha256={WHEEL.sha256}">x</a>')
    other = make_wheel("ballast", "2.0")
    (links / other.file).write_bytes(other.data)
    found = finder(tmp_path / "cache", simple.as_uri(), links=(links.as_uri(),), offline=True)
    paths = found.fetch_all([locked(WHEEL), locked(other)])
    assert [path.name for path in paths] == [WHEEL.file, other.file]


def test_several_at_once_keep_their_order(tmp_path: Path) -> None:
    wheels = [make_wheel(f"part-{number}", "1.0", padding=number * 1000) for number in range(20)]
    with PythonIndex() as index:
        index.add(*wheels)
        paths = finder(tmp_path, index.url).fetch_all([locked(wheel) for wheel in wheels])
    assert [path.read_bytes() for path in paths] == [wheel.data for wheel in wheels]


def test_the_first_error_stops_the_others(tmp_path: Path) -> None:
    wheels = [make_wheel(f"part-{number}", "1.0", padding=300_000 - number) for number in range(12)]
    with PythonIndex() as index:
        index.add(*wheels)
        index.fail(f"/files/{wheels[0].file}", "wrong")
        with pytest.raises(TrustError):
            finder(tmp_path, index.url).fetch_all([locked(wheel) for wheel in wheels])
    assert not list(tmp_path.rglob("*.part-*"))


def test_wrong_bytes_stop_it(index: PythonIndex, tmp_path: Path) -> None:
    index.fail(f"/files/{WHEEL.file}", "wrong")
    with pytest.raises(TrustError, match="digest"):
        finder(tmp_path, index.url).fetch_wheel(locked(WHEEL))
    assert not list(tmp_path.rglob("*.whl*"))


def test_vanished_everywhere_names_the_way_out(index: PythonIndex, tmp_path: Path) -> None:
    index.wheels.clear()
    with pytest.raises(LockError, match=r"cargo 1\.0 is nowhere") as caught:
        finder(tmp_path, index.url).fetch_wheel(locked(WHEEL))
    assert "wherry lock --upgrade-package cargo" in (caught.value.hint or "")


def test_another_file_of_the_same_name_is_not_taken(index: PythonIndex, tmp_path: Path) -> None:
    """The index says by its digest that it is another one: that is no attack, it is just not ours."""
    index.wheels[:] = [make_wheel("cargo", "1.0", padding=5000, build="rebuilt = True\n")]
    with pytest.raises(LockError, match="nowhere"):
        finder(tmp_path, index.url).fetch_wheel(locked(WHEEL))
    assert index.downloads(WHEEL) == []


def test_a_broken_index_is_not_a_vanished_package(index: PythonIndex, tmp_path: Path) -> None:
    index.fail("/simple/cargo/", *["500"] * ATTEMPTS)
    with pytest.raises(TransferError):
        finder(tmp_path, index.url).fetch_wheel(locked(WHEEL))


def test_a_broken_index_does_not_hide_the_next(index: PythonIndex, tmp_path: Path) -> None:
    with PythonIndex() as broken:
        broken.fail("/simple/cargo/", *["500"] * ATTEMPTS)
        assert finder(tmp_path, broken.url, index.url).fetch_wheel(locked(WHEEL)).read_bytes() == WHEEL.data


def test_a_page_of_garbage_is_passed_over(tmp_path: Path) -> None:
    with PythonIndex() as broken, PythonIndex() as whole:
        broken.extra_pages["/simple/cargo/"] = b"\x00\xff<a href='file:///etc/passwd'><a href=\"ht!tp://[\">\n" * 3
        whole.add(WHEEL)
        assert finder(tmp_path, broken.url, whole.url).fetch_wheel(locked(WHEEL)).read_bytes() == WHEEL.data


def test_a_cache_that_cannot_be_written(index: PythonIndex, tmp_path: Path) -> None:
    from wherry.errors import StoreError

    (tmp_path / "artefacts").write_text("a file in the way")
    with pytest.raises(StoreError, match="cannot write"):
        finder(tmp_path, index.url).fetch_wheel(locked(WHEEL))
