"""The dynamic linker's search, case by case; each was looked up in ld.so(8) or seen in glibc's sources."""

from __future__ import annotations

import struct

import pytest

from tests.unit.check.trees import LIB, link, make_tree, system
from tests.unit.formats.elves import make_elf
from wherry.check.linker import ARCHITECTURE, MISSING, VERSION, Linker
from wherry.check.tree import LayeredTree

PROGRAM = "usr/bin/python3.11"


def missing(tree: LayeredTree, path: str, *library_path: str) -> list[str]:
    return [problem.library for problem in Linker(tree, PROGRAM, library_path).load(path) if problem.kind == MISSING]


def test_finds_what_lies_in_the_systems_folders() -> None:
    tree = make_tree({**system(), "app/a.so": make_elf(["libb.so.1"]), f"{LIB}/libb.so.1": make_elf(["libc.so.6"])})
    assert missing(tree, "app/a.so") == []


def test_names_what_is_missing_and_who_asks_for_it() -> None:
    tree = make_tree({**system(), "app/a.so": make_elf(["libb.so.1"]), f"{LIB}/libb.so.1": make_elf(["libGL.so.1"])})
    (problem,) = Linker(tree, PROGRAM).load("app/a.so")
    assert (problem.kind, problem.library, problem.by) == (MISSING, "libGL.so.1", f"{LIB}/libb.so.1")


@pytest.mark.parametrize(("tag", "found"), [("rpath", True), ("runpath", False)])
def test_an_rpath_is_inherited_and_a_runpath_is_not(tag: str, found: bool) -> None:
    files = {
        "app/a.so": make_elf(["libb.so"], **{tag: "$ORIGIN/a.libs"}),  # type: ignore[arg-type]
        "app/a.libs/libb.so": make_elf(["libc1.so"]),
        "app/a.libs/libc1.so": make_elf(),
    }
    assert missing(make_tree({**system(), **files}), "app/a.so") == ([] if found else ["libc1.so"])


def test_a_file_with_a_runpath_inherits_no_rpath() -> None:
    files = {
        "app/a.so": make_elf(["libb.so"], rpath="${ORIGIN}/a.libs"),
        "app/a.libs/libb.so": make_elf(["libc1.so"], runpath="/nowhere"),
        "app/a.libs/libc1.so": make_elf(),
    }
    assert missing(make_tree({**system(), **files}), "app/a.so") == ["libc1.so"]


def test_the_programs_rpath_serves_modules() -> None:
    """As in conda, whose Python has ``$ORIGIN/../lib``."""
    files = {
        PROGRAM: make_elf(["libc.so.6"], interpreter="/lib64/ld.so", rpath="$ORIGIN/../special"),
        "usr/special/libb.so": make_elf(),
        "app/a.so": make_elf(["libb.so"]),
    }
    assert missing(make_tree({**system(), **files}), "app/a.so") == []


def test_origin_is_the_folder_by_which_a_file_was_found() -> None:
    files = {
        "app/a.so": make_elf(["libb.so.1"], rpath="$ORIGIN/here"),
        "app/here/libb.so.1": link("app/here/libb.so.1", "../there/libb.so.1.0"),
        "app/there/libb.so.1.0": make_elf(["libd.so"], runpath="$ORIGIN"),
        "app/here/libd.so": make_elf(),
    }
    assert missing(make_tree({**system(), **files}), "app/a.so") == []


def test_what_is_loaded_under_its_soname_is_not_looked_for() -> None:
    files = {
        "app/a.so": make_elf(["libfirst-1234.so", "second.so"], rpath="$ORIGIN/libs"),
        "app/libs/libfirst-1234.so": make_elf(soname="libreal.so.1"),
        "app/libs/second.so": make_elf(["libreal.so.1"], runpath="/nowhere"),
    }
    assert missing(make_tree({**system(), **files}), "app/a.so") == []


def test_libraries_that_need_each_other_end() -> None:
    files = {"app/a.so": make_elf(["b.so"], rpath="$ORIGIN"), "app/b.so": make_elf(["a.so", "x.so"], rpath="$ORIGIN")}
    assert missing(make_tree({**system(), **files}), "app/a.so") == ["x.so"]


def test_ld_library_path_counts() -> None:
    files = {"app/a.so": make_elf(["libb.so"]), "srv/libs/libb.so": make_elf()}
    tree = make_tree({**system(), **files})
    assert missing(tree, "app/a.so") == ["libb.so"]
    assert missing(tree, "app/a.so", "/srv/libs") == []


def test_the_linkers_cache_counts() -> None:
    files = {"app/a.so": make_elf(["libb.so"]), "usr/local/lib/libb.so": make_elf()}
    assert missing(make_tree({**system(), **files}), "app/a.so") == ["libb.so"]
    files["etc/ld.so.cache"] = render_cache({"libb.so": "/usr/local/lib/libb.so"})
    assert missing(make_tree({**system(), **files}), "app/a.so") == []


def render_cache(libraries: dict[str, str]) -> bytes:
    strings, entries, start = b"", [], 48 + 24 * len(libraries)
    for name, path in libraries.items():
        at = start + len(strings)
        strings += name.encode() + b"\0" + path.encode() + b"\0"
        entries.append(struct.pack("<iIIIQ", 0x0303, at, at + len(name) + 1, 0, 0))
    return b"glibc-ld.so.cache1.1" + struct.pack("<II", len(libraries), len(strings)) + bytes(20) + b"".join(entries) + strings


def test_a_file_of_another_machine_is_passed_over_and_told() -> None:
    files = {"app/a.so": make_elf(["libb.so"], rpath="$ORIGIN:/srv"), "app/libb.so": make_elf(architecture="arm64")}
    (problem,) = Linker(make_tree({**system(), **files}), PROGRAM).load("app/a.so")
    assert (problem.kind, problem.detail) == (ARCHITECTURE, "arm64")
    files["srv/libb.so"] = make_elf()
    assert Linker(make_tree({**system(), **files}), PROGRAM).load("app/a.so") == ()


def test_versions_are_held_against_what_the_library_defines() -> None:
    good = make_elf(["libc.so.6"], needs={"libc.so.6": ["GLIBC_2.34"]})
    bad = make_elf(["libc.so.6"], needs={"libc.so.6": ["GLIBC_2.34", "GLIBC_2.38"]})
    linker = Linker(make_tree({**system(), "app/good.so": good, "app/bad.so": bad}), PROGRAM)
    assert linker.load("app/good.so") == ()
    (problem,) = linker.load("app/bad.so")
    assert (problem.kind, problem.library, problem.detail, problem.provider) == (
        VERSION,
        "libc.so.6",
        "GLIBC_2.38",
        f"{LIB}/libc.so.6",
    )


def test_a_library_without_versions_is_taken_as_it_is() -> None:
    files = {f"{LIB}/libv.so": make_elf(), "app/a.so": make_elf(["libv.so"], needs={"libv.so": ["V_2"]})}
    assert Linker(make_tree({**system(), **files}), PROGRAM).load("app/a.so") == ()


def test_musl_looks_elsewhere() -> None:
    musl = {
        "lib/ld-musl-x86_64.so.1": make_elf(soname="libc.musl-x86_64.so.1"),
        "lib/libc.musl-x86_64.so.1": link("lib/libc.musl-x86_64.so.1", "ld-musl-x86_64.so.1"),
        "usr/local/lib/libb.so": make_elf(["libd.so"]),
        "app/libs/libd.so": make_elf(),
        "usr/local/bin/python3.12": make_elf(["libc.musl-x86_64.so.1"], interpreter="/lib/ld-musl-x86_64.so.1"),
        "app/a.so": make_elf(["libb.so"], runpath="$ORIGIN/libs"),
    }
    linker = Linker(make_tree(musl), "usr/local/bin/python3.12")
    assert linker.is_musl
    assert linker.load("app/a.so") == ()


def test_a_program_that_would_not_start() -> None:
    files = {PROGRAM: make_elf(["libpython3.11.so.1.0"], interpreter="/lib64/ld.so")}
    assert [one.library for one in Linker(make_tree({**system(), **files}), PROGRAM).program_problems] == ["libpython3.11.so.1.0"]
