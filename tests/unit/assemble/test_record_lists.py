"""The list of an archive's files is read from its own metadata; what is no list, or damaged, is refused and never a crash."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Literal

import pytest
from tools.conda_channel.packages import CondaPackage, write_package
from tools.conda_channel.samples import compass, hello, old_anchor

from tests.simulators.conda import lock_archive
from wherry.assemble.record_lists import RecordList, read_record_list
from wherry.assemble.records import place_files
from wherry.errors import FormatError, StoreError

Form = Literal[".conda", ".tar.bz2"]


def read(folder: Path, package: CondaPackage, form: Form = ".conda") -> RecordList:
    archive = write_package(folder, package, form)
    return read_record_list(archive, lock_archive(archive))


@pytest.mark.parametrize("form", [".conda", ".tar.bz2"])
def test_both_forms(tmp_path: Path, form: Form) -> None:
    found = read(tmp_path, hello("1.0"), form)
    assert found.entry_points == ("hello = hello:main",)
    placed = place_files(found.files, found.entry_points, noarch_python=True, minor="3.12")
    assert {"lib/python3.12/site-packages/hello/__init__.py", "bin/hello"} <= placed.keys()
    assert placed["bin/hello"] is None
    assert not any(path.startswith("site-packages") for path in placed)


def test_links_are_among_them_and_folders_are_not(tmp_path: Path) -> None:
    paths = '{"paths": [{"_path": "share", "path_type": "directory"}, {"_path": "share/x", "path_type": "softlink"}]}'
    found = read(tmp_path, CondaPackage(name="linked", info={"info/paths.json": paths.encode()}))
    assert found.files == (("share/x", None),)
    assert {path for path, _ in read(tmp_path, compass("linux-64")).files} >= {"lib/libcompass.so", "bin/compass"}


def test_the_oldest_have_a_plain_list(tmp_path: Path) -> None:
    assert read(tmp_path, old_anchor("linux-64"), ".tar.bz2").files == (("etc/anchor.conf", None), ("share/anchor/iron", None))


@pytest.mark.parametrize(
    "info",
    [
        {"info/paths.json": b"{"},
        {"info/paths.json": b'{"paths": [{"_path": "../x"}]}'},
        {"info/paths.json": b'{"paths": {}}'},
        {"info/paths.json": None, "info/files": None},
        {"info/link.json": b'{"noarch": {"type": "python", "entry_points": ["../../x = a:b"]}}'},
    ],
)
def test_what_is_no_list_is_refused(tmp_path: Path, info: dict[str, bytes | None]) -> None:
    package = CondaPackage(name="odd", noarch="python", files={"site-packages/x.py": b""}, info=info)
    with pytest.raises(FormatError):
        read(tmp_path, package)


@pytest.mark.parametrize("form", [".conda", ".tar.bz2"])
def test_damage_is_an_error_of_ours(tmp_path: Path, form: Form) -> None:
    archive = write_package(tmp_path, hello("1.0"), form)
    record, sound, noise = lock_archive(archive), archive.read_bytes(), random.Random(3)
    whole = read_record_list(archive, record)
    for _ in range(60):
        damaged = bytearray(sound)
        damaged[noise.randrange(len(sound))] ^= 1 << noise.randrange(8)
        archive.write_bytes(damaged if noise.random() < 0.5 else sound[: noise.randrange(len(sound))])
        try:
            assert read_record_list(archive, record).files  # what lies behind the list is not looked at here
        except FormatError:
            continue
    archive.write_bytes(sound)
    assert read_record_list(archive, record) == whole
    archive.unlink()
    with pytest.raises(StoreError):
        read_record_list(archive, record)
