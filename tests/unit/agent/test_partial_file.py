"""Downloads that survive: what is kept after kills, power cuts that drop or reorder writes, and damage."""

from __future__ import annotations

import hashlib
import os
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.agent.partial_file import BLOCK, Content, PartialFile
from wherry.errors import StoreError

BODY = random.Random(3).randbytes(5 * BLOCK + 700)
CONTENT = Content(address="https://a.example/p", validator='"1"', size=len(BODY))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool" / "parcel"


def blocks_of(path: Path) -> Path:
    return path.with_name("parcel.blocks")


def begin(path: Path, size: int = 0) -> PartialFile:
    partial = PartialFile(path)
    partial.begin(CONTENT)
    partial.write(BODY[:size])
    return partial


def test_a_new_process_goes_on_where_the_last_block_ended(path: Path) -> None:
    begin(path, 2 * BLOCK + 5).close()
    partial = PartialFile(path)
    assert (partial.content, partial.done, partial.arrived, partial.complete) == (CONTENT, 2 * BLOCK, 2 * BLOCK, False)
    partial.write(BODY[2 * BLOCK :])
    assert partial.complete
    assert partial.read(0, len(BODY) + 9) == BODY
    partial.close()
    assert PartialFile(path).complete


def test_what_came_of_a_block_is_kept_when_it_is_known_that_no_more_comes(path: Path) -> None:
    partial = begin(path, BLOCK + 5)
    partial.settle()
    partial.close()
    partial = PartialFile(path)
    assert partial.done == BLOCK + 5
    partial.write(BODY[BLOCK + 5 :])
    assert partial.read(0, len(BODY)) == BODY
    partial.close()


def test_nothing_begun(path: Path) -> None:
    partial = PartialFile(path)
    assert (partial.content, partial.done, partial.complete, partial.read(0, 9)) == (None, 0, False, b"")
    with pytest.raises(ValueError, match="announced"):
        partial.write(b"x")
    partial.discard()


def test_more_than_announced_is_refused(path: Path) -> None:
    partial = begin(path, len(BODY))
    with pytest.raises(ValueError, match="announced"):
        partial.write(b"x")
    partial.discard()
    assert list(path.parent.iterdir()) == []


def test_another_content_begins_anew(path: Path) -> None:
    partial = begin(path, 3 * BLOCK)
    partial.begin(Content(address="https://a.example/q", validator="", size=10))
    assert partial.done == 0
    partial.write(b"0123456789")
    partial.close()
    partial = PartialFile(path)
    assert partial.read(0, 99) == b"0123456789"
    partial.close()


@pytest.mark.parametrize("damage", [b"", b"{}\n", b"[]\n", b"\xff" * 9000, b'{"address":1,"validator":"","size":5}\n', b"null"])
def test_what_describes_nothing_is_nothing(path: Path, damage: bytes) -> None:
    begin(path, 3 * BLOCK).close()
    blocks_of(path).write_bytes(damage)
    partial = PartialFile(path)
    assert (partial.content, partial.done) == (None, 0)
    partial.close()


@pytest.mark.parametrize("place", [0, BLOCK - 1, BLOCK, 2 * BLOCK + 9, 4 * BLOCK])
def test_a_flipped_bit_ends_what_is_kept(path: Path, place: int) -> None:
    begin(path, 5 * BLOCK).close()
    with path.open("r+b") as file:
        file.seek(place)
        file.write(bytes((BODY[place] ^ 1,)))
    partial = PartialFile(path)
    assert partial.done == place // BLOCK * BLOCK
    partial.write(BODY[partial.done :])
    partial.close()
    partial = PartialFile(path)
    assert partial.read(0, len(BODY)) == BODY
    partial.close()


def test_no_room_is_said_before_anything_is_fetched(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StoreError, match="full"):
        begin(path)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_law_a_power_cut_costs_one_block_at_most(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """What was not synced is lost or not, each write by itself; a torn one is half there."""
    path = tmp_path_factory.mktemp("cut") / "parcel"
    arrived = data.draw(st.integers(0, len(BODY)))
    partial = begin(path, arrived)
    safe = partial.done
    records = blocks_of(path).stat().st_size
    following = BODY[safe : safe + BLOCK]  # the block that was being written when the power went
    with path.open("r+b") as file:
        file.seek(safe)
        file.write(following[: data.draw(st.integers(0, len(following)))])
    if data.draw(st.booleans()):
        whole = len(following).to_bytes(4, "big") + hashlib.sha256(following).digest()
        with blocks_of(path).open("ab") as file:
            file.write(whole[: data.draw(st.integers(0, len(whole)))])
    partial.close()
    resumed = PartialFile(path)
    assert resumed.done in (safe, safe + len(following))
    assert resumed.read(0, len(BODY)) == BODY[: resumed.done]
    assert blocks_of(path).stat().st_size >= records
    resumed.write(BODY[resumed.done :])
    assert resumed.read(0, len(BODY)) == BODY
    resumed.discard()
