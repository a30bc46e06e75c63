from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.deltas import noise
from wherry.errors import FormatError, StoreError
from wherry.store.spooled import SliceReader, SpooledFile


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_small_or_large_it_is_read_the_same(size: int) -> None:
    data = noise(1, size)
    with SpooledFile(data[at : at + 70_001] for at in range(0, size, 70_001)) as spooled:
        assert (spooled.size, spooled.diff_id.hex) == (size, hashlib.sha256(data).hexdigest())
        assert b"".join(spooled.chunks()) == data
        assert b"".join(spooled.chunks(5, 100)) == data[5:105]
        if size > 60:
            assert spooled.read(size - 3, 10) == data[-3:]
            reader = SliceReader(spooled, 10, 50)
            reader.seek(-5, io.SEEK_END)
            assert reader.read() == data[55:60]


def test_what_breaks_off_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield bytes(2 << 20)
        raise FormatError("broken")

    with pytest.raises(FormatError):
        SpooledFile(broken())
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(StoreError, match="no room"):
        SpooledFile((bytes(2 << 20),))
