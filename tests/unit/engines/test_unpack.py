"""Layers of strangers become trees, whiteouts take away, and nothing leaves the folder."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from wherry.engines.unpack import lay_over, unpack_layer
from wherry.errors import FormatError


def make_tar(*members: tuple[str, bytes, str], mode: int = 0o644) -> bytes:
    """Members as (name, type, content or link)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, text in members:
            info = tarfile.TarInfo(name)
            info.type, info.mode = kind, mode if kind != tarfile.DIRTYPE else 0o755
            data = text.encode() if kind == tarfile.REGTYPE else b""
            info.size, info.linkname = len(data), "" if kind == tarfile.REGTYPE else text
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


FILE, LINK, HARD, DIR = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE


def unpack(folder: Path, data: bytes, step: int = 1000) -> Path:
    folder.mkdir(parents=True)
    unpack_layer((data[at : at + step] for at in range(0, len(data), step)), folder, "layer")
    return folder


def listing(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_files_links_and_folders(tmp_path: Path) -> None:
    data = make_tar(("d/", DIR, ""), ("d/a", FILE, "one"), ("d/h", HARD, "d/a"), ("s", LINK, "/etc/passwd"), ("x/y/ü", FILE, "z"))
    tree = unpack(tmp_path / "t", data)
    assert listing(tree) == {"d", "d/a", "d/h", "s", "x", "x/y", "x/y/ü"}
    assert (tree / "d/h").stat().st_ino == (tree / "d/a").stat().st_ino
    assert (tree / "s").readlink() == Path("/etc/passwd")


def test_set_user_id_is_dropped_and_the_owner_can_read(tmp_path: Path) -> None:
    tree = unpack(tmp_path / "t", make_tar(("a", FILE, "x"), mode=0o4011))
    assert (tree / "a").stat().st_mode & 0o7777 == 0o411


def test_the_later_of_two_members_counts(tmp_path: Path) -> None:
    tree = unpack(tmp_path / "t", make_tar(("a", FILE, "first"), ("b", HARD, "a"), ("a", FILE, "second")))
    assert (tree / "a").read_text() == "second"
    assert (tree / "b").read_text() == "first"


@pytest.mark.parametrize(
    "members",
    [
        [("../a", FILE, "x")],
        [("d/../../a", FILE, "x")],
        [("s", LINK, "/tmp"), ("s/a", FILE, "x")],
        [("s", LINK, ".."), ("s/", DIR, "")],
        [("f", FILE, "x"), ("f/a", FILE, "x")],
        [("h", HARD, "/etc/passwd")],
        [("h", HARD, "../../etc/passwd")],
        [("h", HARD, "h")],
        [("s", LINK, "/etc"), ("h", HARD, "s/passwd")],
        [("d/", DIR, ""), ("d", FILE, "x")],
        [("n", tarfile.CHRTYPE, "")],
        [("n", tarfile.FIFOTYPE, "")],
    ],
)
def test_refused(tmp_path: Path, members: list[tuple[str, bytes, str]]) -> None:
    outside = listing(tmp_path)
    with pytest.raises(FormatError):
        unpack(tmp_path / "t", make_tar(*members))
    assert {path for path in listing(tmp_path) if not path.startswith("t")} == outside


@pytest.mark.parametrize("length", [0, 100, 512, 700, 1024])
def test_truncated(tmp_path: Path, length: int) -> None:
    data = make_tar(("a", FILE, "x" * 600))
    with pytest.raises(FormatError):
        unpack(tmp_path / "t", data[:length])


def test_damaged_header(tmp_path: Path) -> None:
    data = bytearray(make_tar(("a", FILE, "x"), ("b", FILE, "y")))
    data[1024 + 3] ^= 1
    with pytest.raises(FormatError):
        unpack(tmp_path / "t", bytes(data))


def lay(tmp_path: Path, *layers: bytes) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    for number, layer in enumerate(layers):
        lay_over(unpack(tmp_path / str(number), layer), root)
    return root


def test_whiteouts_hide_what_lies_below_only(tmp_path: Path) -> None:
    below = make_tar(("d/a", FILE, "1"), ("d/b", FILE, "2"), ("e/c/f", FILE, "3"), ("o/old", FILE, "4"))
    above = make_tar(
        ("d/.wh.a", FILE, ""), ("e/.wh.c", FILE, ""), ("o/new", FILE, "5"), ("o/.wh..wh..opq", FILE, ""), (".wh.absent", FILE, "")
    )
    root = lay(tmp_path, below, above)
    assert listing(root) == {"d", "d/b", "e", "o", "o/new"}
    assert listing(tmp_path / "0") == {"d", "d/a", "d/b", "e", "e/c", "e/c/f", "o", "o/old"}


@pytest.mark.parametrize("name", [".wh..", ".wh...", ".wh."])
def test_whiteouts_of_nothing(tmp_path: Path, name: str) -> None:
    root = lay(tmp_path, make_tar(("d/a", FILE, "1")), make_tar((f"d/{name}", FILE, "")))
    assert listing(root) == {"d", "d/a"}


def test_files_replace_folders_and_links_and_the_reverse(tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim/kept").write_text("kept")
    below = make_tar(
        ("a/x", FILE, "1"), ("b", FILE, "2"), ("s", LINK, str(tmp_path / "victim")), ("l", LINK, str(tmp_path / "victim/kept"))
    )
    above = make_tar(("a", FILE, "3"), ("b/y", FILE, "4"), ("s/evil", FILE, "5"), ("l", FILE, "6"))
    root = lay(tmp_path, below, above)
    assert (root / "a").read_text() == "3"
    assert (root / "b/y").read_text() == "4"
    assert (root / "s/evil").read_text() == "5"
    assert not (root / "s").is_symlink()
    assert listing(tmp_path / "victim") == {"kept"}
    assert (tmp_path / "victim/kept").read_text() == "kept"


def test_trees_are_shared_not_copied(tmp_path: Path) -> None:
    root = lay(tmp_path, make_tar(("d/a", FILE, "1"), ("s", LINK, "d")))
    assert (root / "d/a").stat().st_ino == (tmp_path / "0/d/a").stat().st_ino
    assert (root / "s").lstat().st_ino == (tmp_path / "0/s").lstat().st_ino


@pytest.mark.parametrize(("written", "read"), [(315532800, 315532800), (0, 0), (1.5, 1), (-5, 0), (1 << 34, 0)])
def test_files_keep_their_times(tmp_path: Path, written: float, read: int) -> None:
    """Python compares them with those in its bytecode; a header that cannot say one gives none."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        info = tarfile.TarInfo("a")
        info.mtime = written
        tar.addfile(info)
    assert int((unpack(tmp_path / "t", out.getvalue()) / "a").stat().st_mtime) == read
