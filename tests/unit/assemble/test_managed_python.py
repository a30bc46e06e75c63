"""A managed Python's archive: what of it comes into the image and where, and what is refused."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from tests.simulators.managed_python import pretended, write_archive
from wherry.assemble.managed_python import managed_entries, unpack_managed
from wherry.assemble.spool import Spool
from wherry.errors import FormatError, StoreError
from wherry.formats.tar import EntryKind, TarEntry
from wherry.model.digest import Digest
from wherry.model.lock import LockedArchive, LockedInterpreter

FILES = {
    **pretended("3.12.7"),
    "lib/libpython3.12.so.1.0": b"\x7fELF",
    "lib/libpython3.12.so": ("libpython3.12.so.1.0",),
    "lib/python3.12/__pycache__/os.cpython-312.pyc": b"old",
    "lib/python3.12/test/test_os.py": b"",
    "lib/python3.12/site-packages/pip/__init__.py": b"",
    "lib/python3.12/lib-dynload/_ssl.so": b"\x7fELF",
    "lib/libpython3.12.a": b"",
    "include/python3.12/Python.h": b"",
    "share/man/man1/python.1": b"",
    "bin/pip3": b"#!/bin/sh\n",
}


def locked(archive: Path, version: str = "3.12.7") -> LockedInterpreter:
    data = archive.read_bytes()
    file = LockedArchive(file=archive.name, size=len(data), sha256=Digest(hashlib.sha256(data).hexdigest()))
    return LockedInterpreter(source="managed", version=version, path="/opt/python/bin/python3.12", archive=file)


def lay_out(archive: Path) -> dict[str, TarEntry]:
    with Spool(archive.parent) as spool:
        return {entry.path: entry for entry in managed_entries(archive, locked(archive), spool)}


def test_what_runs_comes_into_the_image(tmp_path: Path) -> None:
    found = lay_out(write_archive(tmp_path / "python.tar.gz", FILES))
    files = {path: entry for path, entry in found.items() if entry.kind is not EntryKind.DIRECTORY}
    assert sorted(files) == [
        "opt/python/bin/python3",
        "opt/python/bin/python3.12",
        "opt/python/lib/libpython3.12.so",
        "opt/python/lib/libpython3.12.so.1.0",
        "opt/python/lib/python3.12/_sysconfigdata__linux_x86_64-linux-gnu.py",
        "opt/python/lib/python3.12/lib-dynload/_ssl.so",
        "opt/python/lib/python3.12/os.py",
    ]
    assert files["opt/python/bin/python3.12"].mode == 0o755
    assert files["opt/python/lib/python3.12/os.py"].mode == 0o644
    assert files["opt/python/bin/python3"].link == "python3.12"
    assert [path for path in found if found[path].kind is EntryKind.DIRECTORY][:2] == ["opt", "opt/python"]


def test_hard_links_are_files(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "python.tar.gz", FILES)
    with tarfile.open(tmp_path / "linked.tar.gz", "w:gz") as archive, tarfile.open(path) as source:
        twin = tarfile.TarInfo("python/bin/python")
        twin.type, twin.linkname = tarfile.LNKTYPE, "python/bin/python3.12"
        archive.addfile(twin)
        for member in source:
            archive.addfile(member, source.extractfile(member) if member.isfile() else None)
    found = lay_out(tmp_path / "linked.tar.gz")
    assert found["opt/python/bin/python"].size == found["opt/python/bin/python3.12"].size > 0


@pytest.mark.parametrize(
    ("name", "link", "why"),
    [
        ("python/bin/evil", "/etc/passwd", "leaves its folder"),
        ("python/bin/evil", "../../../etc/passwd", "leaves its folder"),
        ("python/bin/evil", "../..", "leaves its folder"),
        ("other/file", "x", "not an archive of a managed Python"),
        ("python/../../evil", "x", "leaves|root"),
        ("python/bin/python3.12", "x", "two members"),
    ],
)
def test_hostile_archives_are_refused(tmp_path: Path, name: str, link: str, why: str) -> None:
    with tarfile.open(tmp_path / "evil.tar.gz", "w:gz") as archive:
        for path, content in FILES.items():
            member = tarfile.TarInfo(f"python/{path}")
            if isinstance(content, bytes):
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        evil = tarfile.TarInfo(name)
        evil.type, evil.linkname = tarfile.SYMTYPE, link
        archive.addfile(evil)
    with pytest.raises(FormatError, match=why):
        lay_out(tmp_path / "evil.tar.gz")


def test_damaged_and_empty_archives_are_refused(tmp_path: Path) -> None:
    whole = write_archive(tmp_path / "python.tar.gz", FILES).read_bytes()
    for number in (0, 10, len(whole) // 2, len(whole) - 9):
        (tmp_path / "cut.tar.gz").write_bytes(whole[:number])
        with pytest.raises(FormatError):
            lay_out(tmp_path / "cut.tar.gz")
    with pytest.raises(FormatError, match=r"holds no python3\.12"):
        lay_out(write_archive(tmp_path / "other.tar.gz", pretended("3.11.2")))


def test_it_is_unpacked_once_and_asked_for_its_version(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "python.tar.gz", FILES)
    found = unpack_managed(archive, locked(archive), tmp_path / "cache")
    assert (found.version, found.tag) == ("3.12.7", "cpython-312")
    program = Path(found.command[0])
    assert program.is_relative_to(tmp_path / "cache/interpreters")
    wanted = locked(archive)
    archive.unlink()
    assert unpack_managed(archive, wanted, tmp_path / "cache") == found


def test_another_version_than_the_locks_is_refused(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "python.tar.gz", FILES)
    with pytest.raises(StoreError, match=r"is 3\.12\.7, the lock says 3\.12\.8"):
        unpack_managed(archive, locked(archive, "3.12.8"), tmp_path / "cache")
