"""Release, Packages, dependency fields, status; and Debian's order of versions."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import require_tool
from wherry.errors import FormatError
from wherry.formats.debian_index import (
    PackageIndex,
    Relation,
    parse_package,
    parse_relations,
    parse_release,
    read_status,
    split_paragraphs,
)
from wherry.formats.debian_version import version_key

PACKAGE = b"""Package: libssl3
Version: 3.0.22-1~deb12u2
Architecture: amd64
Pre-Depends: libc6 (>= 2.36)
Depends: debconf (>= 0.5) | debconf-2.0, zlib1g:any
Provides: libssl (= 3.0), tls-library
Breaks: openssh-client (<< 1:9.4p1)
Description: Secure Sockets Layer toolkit
 continued
Filename: pool/main/o/openssl/libssl3_3.0.22_amd64.deb
Size: 12
SHA256: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
"""


def test_a_package() -> None:
    package = parse_package(PACKAGE, "Packages", "https://mirror.example/debian")
    assert package.depends == (
        (Relation(name="libc6", operator=">=", version="2.36"),),
        (Relation(name="debconf", operator=">=", version="0.5"), Relation(name="debconf-2.0")),
        (Relation(name="zlib1g"),),
    )
    assert package.provides[0] == Relation(name="libssl", operator="=", version="3.0")
    assert package.conflicts == (Relation(name="openssh-client", operator="<<", version="1:9.4p1"),)
    assert package.filename.endswith("libssl3_3.0.22_amd64.deb")


def test_architecture_restrictions() -> None:
    text = "a [amd64 i386], b [!amd64], c [arm64] | d, e (>= 1) <!nocheck>"
    assert [[r.name for r in group] for group in parse_relations(text, "amd64", "x")] == [["a"], ["d"], ["e"]]


@pytest.mark.parametrize("text", ["a (>> )", "A B", "a (= 1", "a; b", "-a", "a (~ 1)"])
def test_damaged_relations(text: str) -> None:
    with pytest.raises(FormatError):
        parse_relations(text, "amd64", "x")


@pytest.mark.parametrize(
    "damage",
    [
        (b"Version: 3.0.22-1~deb12u2\n", b""),
        (b"Size: 12", b"Size: -12"),
        (b"pool/main", b"../../etc"),
        (b"Filename: pool", b"Filename: /pool"),
        (b"SHA256: aaaa", b"SHA256: zzzz"),
        (b"Version:", b"Package: twice\nVersion:"),
        (b"Version:", b"no field\nVersion:"),
    ],
)
def test_damaged_packages(damage: tuple[bytes, bytes]) -> None:
    with pytest.raises(FormatError):
        parse_package(PACKAGE.replace(*damage), "Packages")


@given(st.lists(st.integers(1, 40), max_size=20))
def test_paragraphs_do_not_depend_on_the_chunks(cuts: list[int]) -> None:
    data = b"A: 1\n\nB: 2\n c\n\n\nD: 3\n"
    chunks, at = [], 0
    for cut in cuts:
        chunks.append(data[at : at + cut])
        at += cut
    chunks.append(data[at:])
    assert list(split_paragraphs(chunks, "x")) == [b"A: 1", b"B: 2\n c", b"D: 3"]


def test_a_paragraph_without_end_is_refused() -> None:
    with pytest.raises(FormatError, match="without an end"):
        list(split_paragraphs(iter([b"x" * 65536] * 100), "x"))


def test_an_index_merges_files_and_knows_providers() -> None:
    index = PackageIndex()
    index.add([PACKAGE], "main", "a")
    index.add([PACKAGE, b"\n", PACKAGE.replace(b"3.0.22", b"3.0.23")], "security", "b")
    assert [package.version for package in index.candidates("libssl3")] == ["3.0.22-1~deb12u2", "3.0.23-1~deb12u2"]
    assert index.providers("tls-library") == index.providers("libssl") == ("libssl3",)
    assert "libssl3" in index
    assert index.candidates("none") == ()


def test_a_release() -> None:
    digest = "b" * 64
    text = f"Origin: Debian\nCodename: trixie\nDate: Sat, 12 Sep 2026 07:55:41 UTC\nSHA256:\n {digest} 12 main/x\n"
    release = parse_release(text.encode(), "InRelease")
    assert (release.codename, release.date.isoformat(), release.files["main/x"].size) == ("trixie", "2026-09-12T07:55:41+00:00", 12)
    for bad in (
        text.replace("main/x", "../x"),
        text.replace("Date", "Dote"),
        text.replace(" 12 ", " -1 "),
        text.replace("Sep", "Spt"),
    ):
        with pytest.raises(FormatError):
            parse_release(bad.encode(), "InRelease")


def test_status_lists_only_what_is_installed() -> None:
    text = b"Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n\n"
    gone = b"Package: b\nStatus: deinstall ok config-files\nVersion: 1\nArchitecture: all\n"
    assert [package.name for package in read_status(text + gone, "status")] == ["a"]


def test_versions_in_order() -> None:
    ordered = [
        "1~~",
        "1~~a",
        "1~",
        "1.18~",
        "1.18",
        "1.18-1~deb12u1",
        "1.18-1",
        "1.18-1+b1",
        "1.18a",
        "1.18+x",
        "1.19",
        "1:0.1",
        "2:0",
    ]
    assert sorted(ordered, key=lambda text: (version_key(text), text)) == ordered
    assert version_key("1.0") == version_key("0:1.00-0")
    for bad in ("", "a b", "x:1", "1_2", "1" * 600):
        with pytest.raises(FormatError):
            version_key(bad)


_VERSIONS = st.from_regex(r"(?:[0-2]:)?[0-9][0-9a.+~]{0,5}(?:-[0-9a.+~]{1,4})?", fullmatch=True)


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="compared with dpkg itself")
@given(_VERSIONS, _VERSIONS)
def test_versions_are_ordered_as_dpkg_orders_them(one: str, other: str) -> None:
    require_tool("dpkg")
    says = subprocess.run(["dpkg", "--compare-versions", one, "lt", other], check=False).returncode == 0
    assert (version_key(one) < version_key(other)) == says
