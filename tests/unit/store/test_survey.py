"""What a base's layers tell: libc, Pythons, packages; with whiteouts, links and layers that mean harm."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.simulators.bases import LIBC, OS_RELEASE, Files, base_layers, python_files, tar_of
from wherry.errors import FormatError
from wherry.formats.debian_index import read_status
from wherry.formats.tar import EntryKind, TarEntry, directory_entry, symlink_entry
from wherry.store import survey
from wherry.store.survey import BaseSurvey, survey_base

LIB = "usr/lib/x86_64-linux-gnu/libc.so.6"


def look(*layers: Files) -> BaseSurvey:
    return survey_base([lambda files=files: [tar_of(files)] for files in layers], "base")


def test_a_base_with_python() -> None:
    found = look(*base_layers("3.11.9"))
    assert found.glibc == (2, 36)
    assert found.pythons == {"/usr/local/bin/python3.11": "/usr/local/bin/python3.11"}
    assert found.versions == {("/usr/local", "3.11"): "3.11.9"}
    assert found.os_release["VERSION_CODENAME"] == "bookworm"
    assert found.status == b""


def test_several_pythons_are_told_apart_by_their_prefix() -> None:
    found = look(python_files("3.11.9"), python_files("3.11.2", "usr"), python_files("3.12.1", "opt/python"))
    assert found.versions == {("/usr/local", "3.11"): "3.11.9", ("/usr", "3.11"): "3.11.2", ("/opt/python", "3.12"): "3.12.1"}
    assert len(found.pythons) == 3


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"lib/ld-musl-x86_64.so.1": b"musl", "etc/os-release": b"ID=alpine\n"},
        {LIB: b"\x7fELF another library\n"},
        {"opt/other/lib/libc.so.6": LIBC},
    ],
)
def test_without_a_gnu_c_library(files: Files) -> None:
    assert look(files).glibc is None


def test_without_python() -> None:
    assert look(base_layers()[0]).pythons == {}


@pytest.mark.parametrize("at", [0, 100, survey._LONGEST * 40 - 30, 70_000])
def test_a_library_says_its_version_wherever_it_stands_and_however_it_is_cut(at: int) -> None:
    tar = tar_of({LIB: b"x" * at + b"\0" + LIBC + b"\0" * 100_000})
    for step in (512, 1000, 4099):
        chunks = [tar[start : start + step] for start in range(0, len(tar), step)]
        assert survey_base([lambda chunks=chunks: chunks], "base").glibc == (2, 36)  # type: ignore[misc]


def test_whiteouts_hide_what_lies_below() -> None:
    gone = look(*base_layers(), {"usr/local/bin/.wh.python3.11": b"", "usr/lib/.wh.x86_64-linux-gnu": b""})
    assert gone.pythons == {}
    assert gone.glibc is None


def test_an_opaque_folder_hides_what_was_in_it_and_not_what_its_own_layer_brings() -> None:
    layer = {**python_files("3.12.1"), "usr/local/bin/.wh..wh..opq": b"", "usr/local/include/.wh..wh..opq": b""}
    found = look(*base_layers(), layer)
    assert set(found.pythons) == {"/usr/local/bin/python3.12"}
    assert found.versions == {("/usr/local", "3.12"): "3.12.1"}
    assert look(*base_layers(), {".wh..wh..opq": b""}).glibc is None


def test_a_whiteout_hides_nothing_of_its_own_layer_wherever_it_stands() -> None:
    name = "usr/local/bin/python3.11"
    assert name in {path.lstrip("/") for path in look({**python_files(), "usr/local/bin/.wh.python3.11": b""}).pythons}


def test_what_is_replaced_no_longer_counts() -> None:
    replaced = look(*base_layers(), {"usr/local/bin": b"a file where a folder was"})
    assert replaced.pythons == {}
    assert look(*base_layers(), {LIB: symlink_entry(LIB, "elsewhere")}).glibc is None
    kept = look(*base_layers(), {"usr/local/bin": directory_entry("usr/local/bin")})
    assert kept.pythons


def test_links_are_read_and_not_followed() -> None:
    def link(path: str, target: str) -> TarEntry:
        return symlink_entry(path, target)

    found = look(
        {
            "usr/local/bin/python3.12": link("usr/local/bin/python3.12", "/opt/py/bin/python3.12"),
            "usr/bin/python3.11": link("usr/bin/python3.11", "../local/bin/../../../../../x/python3.11"),
            "etc/os-release": link("etc/os-release", "../usr/lib/os-release"),
            "usr/lib/os-release": OS_RELEASE,
        }
    )
    assert found.pythons == {
        "/usr/local/bin/python3.12": "/opt/py/bin/python3.12",
        "/usr/bin/python3.11": "/x/python3.11",
    }
    assert found.os_release["ID"] == "debian"
    hard = TarEntry(path="usr/bin/python3.11", kind=EntryKind.HARDLINK, link="usr/bin/python3")
    assert look({"usr/bin/python3": b"x", "usr/bin/python3.11": hard}).pythons == {"/usr/bin/python3.11": "/usr/bin/python3.11"}


def test_package_lists_in_one_file_or_in_a_folder() -> None:
    status = b"Package: libc6\nStatus: install ok installed\nVersion: 2.36-9\nArchitecture: amd64\n"
    assert look({"var/lib/dpkg/status": status}).status == status
    folder = {
        "var/lib/dpkg/status.d/b": status,
        "var/lib/dpkg/status.d/a": b"Package: a\nVersion: 1\nArchitecture: all\n",
        "var/lib/dpkg/status.d/a.md5sums": b"0123  usr/bin/a\n",
    }
    found = look(folder).status
    assert [package.name for package in read_status(found, "status")] == ["a", "libc6"]


def test_lists_that_would_fill_the_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "MAX_KEPT", 1000)
    with pytest.raises(FormatError, match="package lists"):
        look({"var/lib/dpkg/status": b"x" * 1001})
    with pytest.raises(FormatError, match="package lists"):
        look({f"var/lib/dpkg/status.d/p{number}": b"x" * 100 for number in range(11)})


def test_large_files_that_tell_nothing_are_passed_over() -> None:
    assert look({"models/big.bin": b"\0" * 3_000_000, **base_layers()[0]}).glibc == (2, 36)


@pytest.mark.parametrize("cut", [100, 512, 1000, 5000])
def test_a_truncated_layer_is_refused(cut: int) -> None:
    tar = tar_of({"etc/os-release": OS_RELEASE, LIB: LIBC * 100})
    with pytest.raises(FormatError):
        survey_base([lambda: [tar[:-cut]]] if cut >= 1024 else [lambda: [tar[:cut]]], "base")


def test_a_member_that_leaves_the_root_is_refused() -> None:
    tar = tar_of({"aa/etc/os-release": OS_RELEASE})
    damaged = tar.replace(b"aa/etc/os-release", b"../etc/os-release")
    with pytest.raises(FormatError):
        survey_base([lambda: [damaged]], "base")


def test_layers_are_read_as_streams() -> None:
    def chunks() -> Iterator[bytes]:
        tar = tar_of(base_layers()[0])
        yield from (tar[start : start + 7] for start in range(0, len(tar), 7))

    assert survey_base([chunks], "base").glibc == (2, 36)
