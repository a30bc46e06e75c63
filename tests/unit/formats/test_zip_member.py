"""A zip's member, read through another inflater: the same bytes, and no lie of the directory gets through."""

from __future__ import annotations

import io
import random
import zipfile
from pathlib import Path

import pytest

from wherry.formats.zip_member import ERRORS, stream_member

NOISE = random.Random(1).randbytes(700_000)
TEXT = b"import numpy as np\n" * 60_000
METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]


def make_zip(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def read(data: bytes, name: str = "a", **changed: int) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        info = archive.getinfo(name)
        for field, value in changed.items():
            setattr(info, field, value)
        return b"".join(stream_member(archive, info))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("content", [b"", b"x", TEXT, NOISE, bytes(3_000_000)], ids=["empty", "byte", "text", "noise", "zeros"])
def test_a_member_is_read_whole(method: int, content: bytes) -> None:
    assert read(make_zip({"a": content, "b": b"other"}, method)) == content


def test_members_may_be_read_in_turns(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(make_zip({"a": TEXT, "b": NOISE}))
    with zipfile.ZipFile(path) as archive:
        streams = [stream_member(archive, archive.getinfo(name)) for name in "ab"]
        parts = {name: [next(stream)] for name, stream in zip("ab", streams, strict=True)}
        for name, stream in zip("ba", reversed(streams), strict=True):
            parts[name].extend(stream)
    assert b"".join(parts["a"]) == TEXT
    assert b"".join(parts["b"]) == NOISE


@pytest.mark.parametrize("size", [0, 1, len(TEXT) - 1, len(TEXT) + 1])
def test_a_size_that_lies_is_refused(size: int) -> None:
    with pytest.raises(zipfile.BadZipFile, match="than the directory says"):
        read(make_zip({"a": TEXT}), file_size=size)


def test_a_bomb_gives_no_more_than_it_announced() -> None:
    data = make_zip({"a": bytes(50_000_000)})
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        info = archive.getinfo("a")
        info.file_size = 1000
        given: list[int] = []
        with pytest.raises(zipfile.BadZipFile, match="larger"):
            given.extend(map(len, stream_member(archive, info)))
        assert sum(given) <= 1000


def test_damage_is_an_error_or_other_bytes_of_the_same_size() -> None:
    data = make_zip({"a": TEXT[:5000]})
    start, end = 31, data.index(b"PK\x01\x02")
    for place in range(start, end):
        damaged = bytearray(data)
        damaged[place] ^= 0x10
        try:
            assert len(read(bytes(damaged))) == 5000
        except ERRORS:
            continue


def test_a_member_that_ends_early_is_refused() -> None:
    with pytest.raises(ERRORS):
        read(make_zip({"a": NOISE}), compress_size=1000)
