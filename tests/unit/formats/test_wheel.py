"""Wheels are laid out as installer would, without unpacking; hostile ones are refused by name."""

from __future__ import annotations

import csv
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.simulators.wheels import make_wheel
from wherry.errors import FormatError
from wherry.formats.tar import TarEntry
from wherry.formats.wheel import WheelLayout, plan_wheel
from wherry.model.layout import VENV, EnvironmentLayout


def plan(path: Path) -> WheelLayout:
    return plan_wheel(zipfile.ZipFile(path), path.name, EnvironmentLayout(prefix=VENV, minor="3.11"))


def read(entry: TarEntry) -> bytes:
    return entry.content if isinstance(entry.content, bytes) else b"".join(entry.content())


def read_all(path: Path) -> dict[str, bytes]:
    return {entry.path: read(entry) for entry in plan(path).entries}


LIBRARY = "opt/env/lib/python3.11/site-packages"


def test_files_go_where_their_scheme_says(tmp_path: Path) -> None:
    files = {
        "pkg/__init__.py": b"",
        "pkg-1.0.data/scripts/tool": b"#!python\nprint()\n",
        "pkg-1.0.data/data/share/pkg/table.csv": b"1\n",
        "pkg-1.0.data/headers/pkg.h": b"//\n",
    }
    contents = read_all(make_wheel(tmp_path, files=files))
    assert contents["opt/env/bin/tool"] == b"#!/opt/env/bin/python\nprint()\n"
    assert contents["opt/env/share/pkg/table.csv"] == b"1\n"
    assert contents["opt/env/include/site/python3.11/pkg/pkg.h"] == b"//\n"
    assert f"{LIBRARY}/pkg/__init__.py" in contents
    assert contents[f"{LIBRARY}/pkg-1.0.dist-info/INSTALLER"] == b"wherry\n"


def test_entry_points_become_scripts_of_the_image(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, entry_points="[console_scripts]\npkg-run = pkg.cli:main\n")
    script = next(entry for entry in plan(wheel).entries if entry.path == "opt/env/bin/pkg-run")
    assert script.mode == 0o755
    assert read(script).startswith(b"#!/opt/env/bin/python\n")


def test_record_names_every_file_relative_to_site_packages(tmp_path: Path) -> None:
    files = {"pkg/__init__.py": b"", "pkg-1.0.data/scripts/tool": b"#!python\n", "pkg-1.0.data/data/share/x": b"x"}
    contents = read_all(make_wheel(tmp_path, files=files))
    rows = {row[0] for row in csv.reader(contents[f"{LIBRARY}/pkg-1.0.dist-info/RECORD"].decode().splitlines())}
    resolved = {(Path("/") / LIBRARY / row).as_posix() for row in rows}
    assert {str(Path(path).resolve()) for path in resolved} == {f"/{path}" for path in contents}


def test_the_layout_is_what_pip_installs(tmp_path: Path) -> None:
    """The oracle is pip itself, into a virtual environment's own scheme."""
    files = {"pkg/__init__.py": b"", "pkg/data.bin": bytes(range(256)), "pkg-1.0.data/data/share/x": b"x"}
    wheel = make_wheel(tmp_path, files=files, entry_points="[console_scripts]\nt = pkg:t\n")
    prefix = tmp_path / "prefix"
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-qq",
        "--no-deps",
        "--no-compile",
        "--no-index",
        "--prefix",
        str(prefix),
        str(wheel),
    ]
    subprocess.run(command, check=True, capture_output=True)
    minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    layout = plan_wheel(zipfile.ZipFile(wheel), wheel.name, EnvironmentLayout(prefix=VENV, minor=minor))
    ours = {entry.path.removeprefix("opt/env/") for entry in layout.entries}
    theirs = {str(path.relative_to(prefix)) for path in prefix.rglob("*") if path.is_file()}
    assert ours == {path.replace("local/", "").replace("dist-packages", "site-packages") for path in theirs} - {
        path for path in theirs if path.endswith(("REQUESTED", "direct_url.json"))
    }


def test_shipped_pycache_is_left_out(tmp_path: Path) -> None:
    contents = read_all(make_wheel(tmp_path, files={"pkg/__pycache__/a.cpython-311.pyc": b"x", "pkg/a.py": b""}))
    assert not [path for path in contents if "__pycache__" in path]


@pytest.mark.parametrize("member", ["../evil", "/etc/passwd", "pkg/../../evil", "pkg/./x", "pkg\\..\\x", "a\0b", "pkg//x"])
def test_a_member_that_leaves_the_wheel_is_refused(tmp_path: Path, member: str) -> None:
    with pytest.raises(FormatError):
        plan(make_wheel(tmp_path, files={member: b"x", "pkg/a.py": b""}))


@pytest.mark.parametrize("member", ["pkg-1.0.data/data/../../../etc/x", "pkg-1.0.data/elsewhere/x"])
def test_a_data_file_that_leaves_its_scheme_is_refused(tmp_path: Path, member: str) -> None:
    with pytest.raises(FormatError):
        plan(make_wheel(tmp_path, files={member: b"x"}))


@pytest.mark.parametrize(
    "member", ["scripts/python", "scripts/python3.11", "data/bin/python3", "data/pyvenv.cfg", "purelib/../../../bin/python"]
)
def test_a_file_in_place_of_the_environments_own_is_refused(tmp_path: Path, member: str) -> None:
    with pytest.raises(FormatError, match=r"environment's own|leaves the wheel"):
        plan(make_wheel(tmp_path, files={f"pkg-1.0.data/{member}": b"#!/bin/sh\n"}))


def test_a_refusal_is_one_line_and_says_what_to_try(tmp_path: Path) -> None:
    with pytest.raises(FormatError) as caught:
        plan(make_wheel(tmp_path, entry_points="[console_scripts]\nno equals sign\n"))
    assert "\n" not in caught.value.what
    assert caught.value.hint


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path)
    with zipfile.ZipFile(wheel, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("pkg/__init__.py", b"evil")
    with pytest.raises(FormatError, match="two members of one name"):
        plan(wheel)


def test_two_members_for_one_place_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="two files for"):
        plan(make_wheel(tmp_path, files={"pkg/a.py": b"1", "pkg-1.0.data/purelib/pkg/a.py": b"2"}))


@pytest.mark.parametrize(
    ("record", "unrecorded", "message"),
    [
        ({"pkg/a.py": "sha256=AAAA,1"}, {}, "differ from RECORD"),
        ({"pkg/a.py": "sha256=AAAA,7"}, {}, "RECORD says 7"),
        ({"pkg/a.py": ","}, {}, "no safe digest"),
        ({"pkg/a.py": "md5=AAAA,1"}, {}, "no safe digest"),
        ({"pkg/b.py": "sha256=AAAA,1"}, {}, "not there"),
        ({}, {"pkg/hidden.py": b"x"}, "does not name"),
        ({"pkg/a.py": "absent"}, {}, "does not name"),
    ],
)
def test_a_record_that_lies_is_refused(tmp_path: Path, record: dict[str, str], unrecorded: dict[str, bytes], message: str) -> None:
    wheel = make_wheel(tmp_path, files={"pkg/a.py": b"x"}, record=record, unrecorded=unrecorded)
    with pytest.raises(FormatError, match=message) as caught:
        read_all(wheel)
    assert wheel.name in str(caught.value)


def test_a_bomb_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="refused"):
        plan(make_wheel(tmp_path, files={"pkg/zeros": bytes(80 << 20)}))


def test_every_truncation_and_bit_flip_is_refused_or_harmless(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, files={"pkg/a.py": b"x = 1\n" * 50})
    sound, whole = wheel.read_bytes(), read_all(wheel)
    broken = tmp_path / "broken" / wheel.name
    broken.parent.mkdir()
    for step in range(0, len(sound), 37):
        for data in (sound[:step], sound[:step] + bytes([sound[step] ^ 0x10]) + sound[step + 1 :]):
            broken.write_bytes(data)
            try:
                contents = read_all(broken)
            except (FormatError, zipfile.BadZipFile):
                continue
            assert contents == whole, f"byte {step}"


def test_a_wheel_without_metadata_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pkg-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("pkg/__init__.py", b"")
    with pytest.raises(FormatError, match="not a sound wheel"):
        plan(path)
