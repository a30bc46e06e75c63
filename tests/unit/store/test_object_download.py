"""Downloads of large objects: what is whole in the end, what is asked for again, and what is an error."""

from __future__ import annotations

import hashlib
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulators.link import LinkSimulator
from tests.simulators.web import WebSimulator
from tests.unit.store.shelf import DATA, Shelf, cut, make_traffic
from wherry.errors import StoreError, TransferError
from wherry.formats.object_address import parse_address
from wherry.store import part_file
from wherry.store.object_download import Downloaded, ObjectSource, Traffic, download_object
from wherry.store.object_sources import ObjectSources
from wherry.store.part_file import PartFile

SIZE = 10_000  # of a range
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(autouse=True)
def _small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_file, "RANGE", SIZE)


def bring(source: ObjectSource, path: Path, traffic: Traffic | None = None) -> Downloaded:
    facts = source.describe()
    assert facts is not None
    part = PartFile(path, source.address, facts)
    try:
        return download_object(source, facts, part, traffic or make_traffic())
    finally:
        part.close()


@pytest.mark.parametrize("size", [0, 1, SIZE, SIZE + 1, len(DATA)])
def test_it_comes_whole(tmp_path: Path, size: int) -> None:
    shelf = Shelf(DATA[:size])
    assert bring(shelf, tmp_path / "p") == Downloaded(sha256=hashlib.sha256(DATA[:size]).hexdigest(), moved=size)
    assert (tmp_path / "p").read_bytes() == DATA[:size]
    assert shelf.requests == -(-size // SIZE)
    assert shelf.most <= 4


def test_connections_that_are_cut_go_on_where_they_were(tmp_path: Path) -> None:
    shelf = Shelf()
    shelf.fail = lambda _request, _offset, sent: cut() if sent >= 3000 else None
    assert bring(shelf, tmp_path / "p").sha256 == DIGEST
    assert shelf.sent == len(DATA)  # not a byte twice


def test_a_store_that_is_busy_for_a_while(tmp_path: Path) -> None:
    shelf = Shelf()
    shelf.fail = lambda request, _offset, _sent: cut() if 3 < request < 12 else None
    assert bring(shelf, tmp_path / "p").sha256 == DIGEST


def test_nothing_for_too_long_is_an_error(tmp_path: Path) -> None:
    shelf = Shelf()
    shelf.fail = cut
    with pytest.raises(TransferError, match="cut"):
        bring(shelf, tmp_path / "p")


def test_an_object_that_is_shorter_than_was_said(tmp_path: Path) -> None:
    shelf = Shelf()
    shelf.said = len(DATA) + 5000
    with pytest.raises(TransferError, match=f"ended after {len(DATA)} bytes"):
        bring(shelf, tmp_path / "p")


def test_an_answer_that_is_too_long(tmp_path: Path) -> None:
    class Long(Shelf):
        def stream(self, offset: int, length: int, version: str | None) -> Iterator[bytes]:
            return super().stream(offset, length + 5, version)

    with pytest.raises(StoreError, match="longer"):
        bring(Long(), tmp_path / "p")


def test_an_object_that_changes_meanwhile_is_no_mixture(tmp_path: Path) -> None:
    shelf = Shelf()

    def change(request: int, _offset: int, _sent: int) -> None:
        if request == 5:
            shelf.version = "v2"

    shelf.fail = change
    with pytest.raises(StoreError, match="changed"):
        bring(shelf, tmp_path / "p")
    shelf.fail, shelf.data = (lambda *_: None), DATA[::-1]
    assert bring(shelf, tmp_path / "p").moved == len(DATA)  # nothing of the former one is believed
    assert (tmp_path / "p").read_bytes() == DATA[::-1]


class TestGoingOn:
    @pytest.fixture
    def half(self, tmp_path: Path) -> Path:
        """A download that broke off for good half-way."""
        shelf = Shelf()
        shelf.fail = lambda _request, offset, _sent: cut() if offset >= 50_000 else None
        with pytest.raises(TransferError):
            bring(shelf, tmp_path / "p")
        return tmp_path / "p"

    def test_ranges_that_are_there_are_not_asked_for(self, half: Path) -> None:
        assert bring(Shelf(), half) == Downloaded(sha256=DIGEST, moved=len(DATA) - 50_000)
        assert half.read_bytes() == DATA

    def test_a_range_that_the_disk_lost_is_asked_for_again(self, half: Path) -> None:
        with half.open("r+b") as file:
            file.seek(12_345)
            file.write(b"\0")
        assert bring(Shelf(), half) == Downloaded(sha256=DIGEST, moved=len(DATA) - 40_000)

    @pytest.mark.parametrize("damage", [b"", b"{", b"\xff\n1 00000000\n", b"99999 00000000\nnonsense\n"])
    def test_a_journal_that_is_damaged(self, half: Path, damage: bytes) -> None:
        journal = half.with_name("p.journal")
        head = journal.read_bytes().partition(b"\n")[0]
        journal.write_bytes(head + b"\n" + damage if damage.startswith(b"9") else damage)
        assert bring(Shelf(), half) == Downloaded(sha256=DIGEST, moved=len(DATA))

    def test_a_journal_that_breaks_off_within_a_line(self, half: Path) -> None:
        journal = half.with_name("p.journal")
        journal.write_bytes(journal.read_bytes()[:-3])
        assert bring(Shelf(), half) == Downloaded(sha256=DIGEST, moved=len(DATA) - 40_000)

    @pytest.mark.parametrize("other", [Shelf(version="v2"), Shelf(address="az://shelf/other"), Shelf(DATA[:-1])])
    def test_another_object_begins_anew(self, half: Path, other: Shelf) -> None:
        assert bring(other, half).moved == len(other.data)
        assert half.read_bytes() == other.data


def test_without_a_version_it_comes_in_one_piece_from_the_beginning(tmp_path: Path) -> None:
    shelf = Shelf(version=None)
    shelf.fail = lambda request, _offset, sent: cut() if request == 1 and sent > 20_000 else None
    assert bring(shelf, tmp_path / "p").sha256 == DIGEST
    assert shelf.requests == 2
    assert shelf.sent == len(DATA) + 21_000
    assert bring(shelf, tmp_path / "p").moved == len(DATA)


def test_stopping_keeps_what_is_there(tmp_path: Path) -> None:
    shelf, asked = Shelf(), []
    shelf.fail = lambda request, _offset, _sent: asked.append(request) if request > 5 else None
    with pytest.raises(TransferError, match="stopped"):
        bring(shelf, tmp_path / "p", make_traffic(stopped=lambda: bool(asked)))
    assert 0 < bring(Shelf(), tmp_path / "p").moved < len(DATA)


def test_a_full_disk_is_known_before_anything_moves(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    shelf = Shelf()
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(StoreError, match="disk is full"):
            bring(shelf, tmp_path / "p")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert shelf.requests == 0
    assert not list(tmp_path.iterdir())


class TestWeb:
    def open(self, port: int, path: str = "data") -> ObjectSource:
        return ObjectSources({}).open(parse_address(f"http://127.0.0.1:{port}/{path}"))

    def test_ranges_over_a_link_that_is_cut(self, tmp_path: Path) -> None:
        with WebSimulator({"/data": DATA}) as web, LinkSimulator(web.address) as link:
            link.weather.cut_after, link.weather.cuts = 7000, 8
            assert bring(self.open(link.port), tmp_path / "p").sha256 == DIGEST
            assert link.down < 2 * len(DATA)
            assert all(seen.range.startswith("bytes=") for seen in web.seen[1:])

    @pytest.mark.parametrize("manner", [{"etag": "none"}, {"etag": "weak"}, {"ranges": False}])
    def test_servers_that_know_no_ranges(self, tmp_path: Path, manner: dict[str, object]) -> None:
        with WebSimulator({"/data": DATA}) as web:
            for name, value in manner.items():
                setattr(web.manners, name, value)
            assert bring(self.open(web.address[1]), tmp_path / "p").sha256 == DIGEST
            assert [(seen.status, seen.range) for seen in web.seen[1:]] == [(200, "")]

    def test_another_one_under_the_same_address(self, tmp_path: Path) -> None:
        with WebSimulator({"/data": DATA}) as web:
            source = self.open(web.address[1])
            facts = source.describe()
            assert facts is not None
            web.files["/data"] = DATA[::-1]
            with pytest.raises(StoreError, match="changed"):
                list(source.stream(0, 100, facts.version))

    def test_what_is_not_there_or_not_allowed(self) -> None:
        with WebSimulator({}) as web:
            assert self.open(web.address[1]).describe() is None
            web.manners.status = 403
            with pytest.raises(StoreError, match="no access"):
                self.open(web.address[1]).describe()
            web.manners.status = 503
            with pytest.raises(TransferError, match="503"):
                self.open(web.address[1]).describe()

    @pytest.mark.parametrize("manner", ["shifted", "total"])
    def test_parts_that_are_others_than_asked_for(self, tmp_path: Path, manner: str) -> None:
        with WebSimulator({"/data": DATA}) as web:
            setattr(web.manners, manner, 5)
            source = self.open(web.address[1])
            with pytest.raises(StoreError, match="the server"):
                bring(source, tmp_path / "p")


def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(DATA)
    source = ObjectSources({}).open(parse_address(f"file://{tmp_path}/data"))
    assert bring(source, tmp_path / "p").sha256 == DIGEST
    (tmp_path / "data").write_bytes(DATA[:-1])
    with pytest.raises(StoreError, match="changed"):
        list(source.stream(0, 10, "former"))
    (tmp_path / "data").unlink()
    assert source.describe() is None
