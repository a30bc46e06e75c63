"""Tars of strangers: what was written is read, whatever else comes is refused and never crashes."""

from __future__ import annotations

import contextlib
import io
import tarfile
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import FormatError
from wherry.formats.decompress import unpack_chunks
from wherry.formats.tar import EntryKind, TarEntry, directory_entry, file_entry, symlink_entry, write_tar
from wherry.formats.untar import MAX_EXTENSION, read_members

_NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=90).filter(
    lambda name: name not in (".", "..")
)
_PATHS = st.lists(_NAMES, min_size=1, max_size=4).map("/".join)


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def read(chunks: Iterator[bytes]) -> list[tuple[str, EntryKind, int, bytes, str]]:
    return [(m.path, m.kind, m.mode, b"".join(m.content), m.link) for m in read_members(chunks, "x")]


@given(st.dictionaries(_PATHS, st.one_of(st.binary(max_size=1500), _PATHS), max_size=6), st.integers(1, 3000))
def test_what_the_writer_writes_is_read_back(members: dict[str, bytes | str], size: int) -> None:
    entries = [
        file_entry(path, value) if isinstance(value, bytes) else symlink_entry(path, value) for path, value in members.items()
    ]
    out = bytearray()
    write_tar([*entries, directory_entry("folder", 0o1777)], out.extend)
    expected = [(e.path, e.kind, e.mode, e.content, e.link) for e in (*entries, directory_entry("folder", 0o1777))]
    assert read(cut(bytes(out), size)) == expected


@given(st.binary(max_size=2048), st.integers(0, 3000), st.binary(min_size=1, max_size=40))
def test_damage_is_a_format_error_or_nothing(noise: bytes, at: int, patch: bytes) -> None:
    out = bytearray()
    write_tar([file_entry("a/" + "long" * 60, b"x" * 700), TarEntry(path="b", kind=EntryKind.HARDLINK, link="a")], out.extend)
    damaged = bytes(out[:at] + patch + out[at + len(patch) :])
    for data in (noise, damaged, bytes(out[:at])):
        with contextlib.suppress(FormatError):
            read(cut(data, 512))


@pytest.mark.parametrize("suffix", ["gz", "xz", "zst", "bz2"])
@given(data=st.binary(max_size=300))
def test_noise_is_no_compressed_stream(suffix: str, data: bytes) -> None:
    with pytest.raises(FormatError):
        list(unpack_chunks([data], suffix, limit=1 << 20, where="x"))


def test_a_huge_name_is_refused_before_it_is_read() -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, MAX_EXTENSION + 1
    with pytest.raises(FormatError, match="a header of"):
        read(iter([info.tobuf(tarfile.GNU_FORMAT), bytes(1 << 20)]))


def test_a_sparse_file_is_refused() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("x")
        info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "x"}
        tar.addfile(info)
    with pytest.raises(FormatError, match="sparse"):
        read(iter([out.getvalue()]))
