"""Room is reserved first; what has its name is whole."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from wherry.agent.spool import Spool
from wherry.errors import StoreError, TrustError
from wherry.model.digest import DiffId

TAR = bytes(range(256)) * 40
DIFF_ID = DiffId(hashlib.sha256(TAR).hexdigest())
OTHER = DiffId("0" * 64)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def names(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "spool").iterdir())


def test_a_layer(spool: Spool, tmp_path: Path) -> None:
    spool.reserve({DIFF_ID: len(TAR)})
    assert {path.name: path.stat().st_size for path in (tmp_path / "spool").iterdir()} == {
        f"{DIFF_ID.hex}.part": len(TAR),
        "room": len(TAR),
    }
    spool.write_layer(DIFF_ID, len(TAR), [TAR[:100], TAR[100:]])
    assert spool.has(DIFF_ID)
    assert b"".join(spool.open_layer(DIFF_ID)()) == TAR
    spool.give_room()
    assert names(tmp_path) == [f"{DIFF_ID.hex}.tar"]
    spool.reserve({DIFF_ID: len(TAR), OTHER: 10})  # what is whole stays
    assert names(tmp_path) == [f"{OTHER.hex}.part", f"{DIFF_ID.hex}.tar", "room"]
    spool.reserve({OTHER: 10})  # what is not wanted goes
    assert names(tmp_path) == [f"{OTHER.hex}.part", "room"]
    spool.clear()
    assert names(tmp_path) == []


@pytest.mark.parametrize("tar", [TAR[:-1], TAR + b"x"])
def test_a_layer_of_another_size(spool: Spool, tar: bytes) -> None:
    spool.reserve({DIFF_ID: len(TAR)})
    with pytest.raises(TrustError):
        spool.write_layer(DIFF_ID, len(TAR), [tar])
    assert not spool.has(DIFF_ID)


def test_a_layer_that_turns_out_wrong(spool: Spool) -> None:
    def chunks() -> Iterator[bytes]:
        yield TAR
        raise TrustError("not this one")

    spool.reserve({DIFF_ID: len(TAR)})
    with pytest.raises(TrustError):
        spool.write_layer(DIFF_ID, len(TAR), chunks())
    assert not spool.has(DIFF_ID)


def test_a_full_disk_is_found_before_anything_is_written(spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_handle: int, _offset: int, size: int) -> None:
        if size > 20:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(StoreError, match="full") as caught:
        spool.reserve({OTHER: 15, DIFF_ID: 15})
    assert "agent.toml" in str(caught.value.hint)
    assert names(tmp_path) == []


def test_a_disk_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "spool").write_bytes(b"a file")
    with pytest.raises(StoreError):
        Spool(tmp_path / "spool").reserve({DIFF_ID: 1})
