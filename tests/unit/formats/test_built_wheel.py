"""A wheel written anew: equal files give equal bytes, whatever the zip around them was like."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from tests.simulators.wheels import make_wheel
from wherry.errors import FormatError
from wherry.formats.built_wheel import CompiledError, check_tags, rewrite_wheel
from wherry.formats.wheel import plan_wheel
from wherry.model.layout import VENV, EnvironmentLayout


def rewrite(path: Path) -> bytes:
    sink = io.BytesIO()
    with path.open("rb") as source:
        rewrite_wheel(source, path.name, "3.11", sink)
    return sink.getvalue()


def shuffle(path: Path, target: Path) -> Path:
    """The same files in another order, at another time, compressed otherwise, with folders and a comment."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_BZIP2) as new:
        new.comment = b"made on a Tuesday"
        new.mkdir("pkg")
        for info in reversed(old.infolist()):
            header = zipfile.ZipInfo(info.filename, (2024, 5, 7, 1, 2, 4))
            header.external_attr = (0o100775 if info.external_attr >> 16 & 0o100 else 0o100600) << 16
            header.compress_type = zipfile.ZIP_BZIP2
            new.writestr(header, old.read(info))
    return target


FILES = {"pkg/b.py": b"b = 1\n", "pkg/a.py": b"a = 1\n", "pkg/tool.sh": b"#!/bin/sh\n", "pkg/with space.txt": b""}


def test_equal_files_give_equal_bytes(tmp_path: Path) -> None:
    first = make_wheel(tmp_path, files=FILES, executable=("pkg/tool.sh",))
    (tmp_path / "other").mkdir()
    second = shuffle(first, tmp_path / "other" / first.name)
    data = rewrite(first)
    assert rewrite(second) == data
    again = tmp_path / "again" / first.name
    again.parent.mkdir()
    again.write_bytes(data)
    with zipfile.ZipFile(again) as archive:
        names = archive.namelist()
        assert names[:4] == ["pkg/a.py", "pkg/b.py", "pkg/tool.sh", "pkg/with space.txt"]
        assert names[-1] == "pkg-1.0.dist-info/RECORD"
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        modes = {info.filename: info.external_attr >> 16 & 0o777 for info in archive.infolist()}
        assert {path for path, mode in modes.items() if mode == 0o755} == {"pkg/tool.sh"}
        assert set(modes.values()) == {0o755, 0o644}
        assert len(plan_wheel(archive, first.name, EnvironmentLayout(prefix=VENV, minor="3.11")).entries) > 5
    assert rewrite(again) == data


def test_signatures_are_left_out(tmp_path: Path) -> None:
    signed = make_wheel(tmp_path, unrecorded={"pkg-1.0.dist-info/RECORD.jws": b"{}"})
    with zipfile.ZipFile(io.BytesIO(rewrite(signed))) as archive:
        assert "pkg-1.0.dist-info/RECORD.jws" not in archive.namelist()


@pytest.mark.parametrize("tag", ["cp311-cp311-linux_x86_64", "py3-none-manylinux_2_17_x86_64", "cp311-cp311-any"])
def test_a_wheel_for_some_platforms_is_refused(tag: str) -> None:
    with pytest.raises(CompiledError, match="for some platforms only"):
        check_tags(f"pkg-1.0-{tag}.whl")
    check_tags("pkg-1.0-py2.py3-none-any.whl")
    with pytest.raises(FormatError, match="no name of a wheel"):
        check_tags("pkg.whl")


def test_what_is_no_sound_wheel_is_refused(tmp_path: Path) -> None:
    for number, evil in enumerate(({"../up.py": b""}, {"pkg/unnamed.py": b""})):
        with pytest.raises(FormatError):
            rewrite(make_wheel(tmp_path / str(number), unrecorded=evil))
    whole = make_wheel(tmp_path).read_bytes()
    for length in range(0, len(whole), 61):
        cut = tmp_path / "pkg-1.0-py3-none-any.whl"
        cut.write_bytes(whole[:length])
        with pytest.raises(FormatError):
            rewrite(cut)
