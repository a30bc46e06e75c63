"""Conda's Python is laid out for this host with what it needs, and must be the one that the lock names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from tools.conda_channel.packages import CondaPackage, PackagedFile, write_package

from tests.simulators.conda import lock_archive
from wherry.assemble.conda_python import python_closure, unpack_conda_python
from wherry.errors import StoreError
from wherry.model.lock import LockedInterpreter, LockedRecord

pytest.importorskip("rattler")

INTERPRETER = LockedInterpreter(source="conda", version="3.11.2", path="/opt/conda/bin/python3.11")
PROGRAM = b"#!/bin/sh\necho 3.11.2 cpython-311\n"


def make_python(folder: Path, program: bytes = PROGRAM) -> dict[str, Path]:
    files = {"bin/python3.11": PackagedFile(data=program, mode=0o755), "lib/libclash.so": b"its own"}
    packages = (
        CondaPackage(name="python", version="3.11.2", subdir="linux-64", files=files, depends=("libclash", "tzdata")),
        CondaPackage(name="libclash", noarch="generic", files={"lib/libclash.so": b"other"}),
        CondaPackage(name="tzdata", noarch="generic", files={"share/zone": b""}),
        CondaPackage(name="numpy", noarch="generic", files={"share/numpy": b""}, depends=("python",)),
    )
    return {package.name: write_package(folder, package) for package in packages}


def unpack(folder: Path, archives: Mapping[str, Path]) -> tuple[str, ...]:
    records = [lock_archive(archive) for archive in archives.values()]

    def fetch(wanted: Sequence[LockedRecord]) -> Mapping[str, Path]:
        return {record.name: archives[record.name] for record in wanted}

    return unpack_conda_python(INTERPRETER, records, fetch, folder / "cache").command


def test_it_is_laid_out_once_with_what_it_needs(tmp_path: Path) -> None:
    archives = make_python(tmp_path)
    (program,) = unpack(tmp_path, archives)
    root = Path(program.removesuffix("/opt/conda/bin/python3.11"))
    assert (root / "opt/conda/share/zone").is_file()
    assert not (root / "opt/conda/share/numpy").exists()
    assert (root / "opt/conda/lib/libclash.so").read_bytes() == b"its own"
    assert unpack(tmp_path, {**archives, "python": archives["python"].with_name(archives["python"].name)}) == (program,)
    assert [path.name for path in (tmp_path / "cache/interpreters").iterdir()] == [root.name]


def test_one_that_does_not_run_here_or_is_another_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"Python is 3\.11\.7"):
        unpack(tmp_path, make_python(tmp_path / "other", b"#!/bin/sh\necho 3.11.7 cpython-311\n"))
    with pytest.raises(StoreError, match="does not start on this host"):
        unpack(tmp_path, make_python(tmp_path / "dead", b"#!/nowhere/at/all\n"))


def test_circles_end(tmp_path: Path) -> None:
    one = lock_archive(write_package(tmp_path, CondaPackage(name="python", depends=("pip",))))
    two = lock_archive(write_package(tmp_path, CondaPackage(name="pip", depends=("python",))))
    assert [record.name for record in python_closure([one, two])] == ["pip", "python"]
