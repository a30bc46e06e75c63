"""The tar that we write: read back by the standard library and by GNU tar, equal bytes from equal entries."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import FormatError
from wherry.formats.tar import FIXED_TIME, EntryKind, TarEntry, add_parents, directory_entry, file_entry, symlink_entry, write_tar


def render(entries: list[TarEntry]) -> bytes:
    out = bytearray()
    write_tar(entries, out.extend)
    return bytes(out)


names = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=120).filter(
    lambda name: name not in (".", "..")
)
paths = st.lists(names, min_size=1, max_size=4).map("/".join)


@given(st.dictionaries(paths, st.binary(max_size=1500), max_size=6))
def test_what_is_written_is_read_back(files: dict[str, bytes]) -> None:
    files = {path: data for path, data in files.items() if not any(other.startswith(f"{path}/") for other in files)}
    raw = render(add_parents(file_entry(path, data) for path, data in files.items()))
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        found = {member.name: archive.extractfile(member).read() for member in archive if member.isfile()}  # type: ignore[union-attr]
        assert all((member.uid, member.gid, member.mtime, member.uname) == (0, 0, FIXED_TIME, "") for member in archive)
    assert found == files


def test_parents_come_before_their_children_and_once() -> None:
    entries = add_parents([file_entry("a/b/c", b""), file_entry("a-b", b""), directory_entry("a/b", 0o1777)])
    assert [entry.path for entry in entries] == ["a", "a/b", "a/b/c", "a-b"]
    assert entries[1].mode == 0o1777
    assert entries[0].kind is EntryKind.DIRECTORY


def test_one_path_twice_is_refused() -> None:
    with pytest.raises(FormatError, match="two entries"):
        add_parents([file_entry("a", b"1"), file_entry("a", b"2")])


@pytest.mark.parametrize("content", [lambda: iter([b"12"]), lambda: iter([b"12", b"34"]), b"12"])
def test_a_content_of_another_size_is_refused(content: object) -> None:
    with pytest.raises(FormatError, match="expected 3 bytes"):
        render([TarEntry(path="a", size=3, content=content)])  # type: ignore[arg-type]


def test_names_that_are_not_unicode_are_refused() -> None:
    with pytest.raises(FormatError, match="not Unicode"):
        render([file_entry("a\udcff", b"")])


def test_gnu_tar_reads_long_names_and_links(tmp_path: Path) -> None:
    if shutil.which("tar") is None:
        pytest.skip("no tar")
    long = "d" * 90 + "/" + "é" * 60
    raw = render(add_parents([file_entry(long, b"x"), symlink_entry("link", "t" * 150), file_entry("p/" * 70 + "f", b"y")]))
    told = subprocess.run(
        ["tar", "-tvf", "-"], input=raw, capture_output=True, check=True, env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"}
    )
    text = told.stdout.decode()
    assert long in text
    assert "t" * 150 in text
    assert "p/" * 70 + "f" in text


def test_the_bytes_are_frozen() -> None:
    """A change here is a new layout version: every layer would get another diff_id."""
    import hashlib

    raw = render(
        add_parents([file_entry("opt/env/é", b"x" * 600, 0o755), symlink_entry("bin", "usr/bin"), directory_entry("tmp", 0o1777)])
    )
    assert hashlib.sha256(raw).hexdigest() == FROZEN


FROZEN = "7f4cda6f1438a2d6e82f502d15df6d300a10cf2dc6fbb0aa74968ec89b226674"
