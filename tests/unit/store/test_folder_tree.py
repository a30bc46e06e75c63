"""A folder as a base: whatever lies in it, nothing outside is read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wherry.errors import TrustError
from wherry.store.folder_tree import FolderBase


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(b"secret")
    root = tmp_path / "root"
    (root / "etc" / "deep").mkdir(parents=True)
    (root / "etc" / "hosts").write_bytes(b"hosts")
    (root / "etc" / "deep" / "file").write_bytes(b"deep")
    (root / "etc.d").mkdir()
    (root / "etc.d" / "x").write_bytes(b"x")
    (root / "away").symlink_to(tmp_path / "outside")
    (root / "etc" / "link").symlink_to("hosts")
    (root / "etc" / "secret").symlink_to(tmp_path / "outside" / "secret")
    os.mkfifo(root / "etc" / "pipe")
    Path(os.fsdecode(os.fsencode(root) + b"/etc/\xff")).write_bytes(b"no name")
    return root


def test_what_is_listed(root: Path) -> None:
    base = FolderBase(root)
    (root / "etc" / "hosts").chmod(0o640)
    os.utime(root / "etc" / "hosts", ns=(5, 1_700_000_000_999_999_999))
    listed = {file.path: file for file in base.list_files("", 99)}
    assert list(listed) == ["etc/deep/file", "etc/hosts", "etc.d/x"]
    told = listed["etc/hosts"]
    assert (told.size, told.mode, told.mtime) == (5, 0o640, 1_700_000_000)
    assert [file.path for file in base.list_files("etc", 99)] == ["etc/deep/file", "etc/hosts"]
    assert [file.path for file in base.list_files("etc/hosts", 99)] == ["etc/hosts"]
    assert len(list(base.list_files("", 2))) == 2


@pytest.mark.parametrize(
    "scope", ["away", "away/secret", "etc/secret", "etc/link", "nothing", "etc/nothing", "../outside", "etc/..", "etc/hosts/x"]
)
def test_no_scope_leads_outside(root: Path, scope: str) -> None:
    assert list(FolderBase(root).list_files(scope, 99)) == []


@pytest.mark.parametrize(
    "path",
    [
        "away/secret",
        "etc/secret",
        "etc/link",
        "etc/pipe",
        "etc",
        "nothing",
        "../outside/secret",
        "/etc/hosts",
        "etc//hosts",
        "etc/./hosts",
        "",
        ".",
        "etc/hosts\0",
    ],
)
def test_only_regular_files_below_are_opened(root: Path, path: str) -> None:
    with pytest.raises(TrustError):
        FolderBase(root).open_file(path)


def test_a_file_is_read_from_any_place(root: Path) -> None:
    with FolderBase(root).open_file("etc/deep/file") as reader:
        reader.seek(2)
        assert reader.read(9) == b"ep"


def test_the_root_itself_may_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "mounted").symlink_to(root)
    assert len(list(FolderBase(tmp_path / "mounted").list_files("etc", 99))) == 2
    assert list(FolderBase(tmp_path / "gone").list_files("", 99)) == []
