"""Layers and wheels that somebody made to hurt: each ends in a report or in a clean refusal, within bounds."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.simulators.bases import tar_of
from tests.unit.check.trees import LIB, SITE, facts_of, system
from tests.unit.formats.elves import make_elf
from wherry.check import tree as tree_module
from wherry.check.contents import read_contents
from wherry.check.doctor import examine_layers
from wherry.check.scan import scan_layer
from wherry.check.wheel_file import examine_wheel
from wherry.errors import FormatError
from wherry.formats.tar import EntryKind, TarEntry

# Names of everything that is read for what it holds.
NAMES = (
    f"{SITE}/x-1.dist-info/RECORD",
    f"{SITE}/x-1.dist-info/METADATA",
    f"{SITE}/x-1.dist-info/WHEEL",
    f"{SITE}/x/_c.cpython-311-x86_64-linux-gnu.so",
    f"{SITE}/x/lib.py",
    f"{SITE}/own.pth",
    "etc/ld.so.cache",
    "etc/os-release",
    "var/lib/dpkg/info/x.md5sums",
    "opt/conda/conda-meta/x-1-0.json",
    "app/m.pkl",
    "app/m.pt",
    "app/m.onnx",
    "app/m.safetensors",
    "app/settings.py",
    "usr/bin/python3.11",
)
BEGINNINGS = (
    b"",
    b"\x7fELF\2\1\1",
    b"\x80\x04",
    b"PK\x03\x04",
    b"\x1f\x8b\x08",
    b"glibc-ld.so.cache1.1",
    b"Name: ",
    b'{"paths_data": ',
    b"Tag: ",
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(BEGINNINGS), st.binary(max_size=80)), max_size=8))
def test_whatever_files_hold(files: list[tuple[str, bytes, bytes]]) -> None:
    made = {name: start + rest for name, start, rest in files}
    layers = [system(), made]
    contents = [read_contents([tar_of(files)], "test") for files in layers]
    report = examine_layers([facts_of(files) for files in layers], "test", contents=contents)
    assert report.seen.files


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=1500))
def test_a_tar_of_noise(noise: bytes) -> None:
    tar = bytearray(tar_of({**system(), "app/x": noise}))
    tar[: len(noise)] = noise
    with suppress(FormatError):
        scan_layer([bytes(tar)], "test")


def test_paths_that_no_system_could_open_are_passed_over() -> None:
    long = "/".join(["a" * 100] * 60)
    assert [entry.path for entry in facts_of({long: b"", "short": b""}).entries if entry.kind == "file"] == ["short"]


@pytest.mark.parametrize("name", [b"app/\xff.pem", b"/app/key.pem", b"app/../app/key.pem"])
def test_names_that_engines_take(name: bytes) -> None:
    """No key hides behind a name that wherry itself would not give a file."""
    key = b"-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA7\n"
    info = tarfile.TarInfo(os.fsdecode(name))
    info.size = len(key)
    blob = io.BytesIO()
    with tarfile.open(fileobj=blob, mode="w", encoding="utf-8", errors="surrogateescape") as archive:
        archive.addfile(info, io.BytesIO(key))
    facts = scan_layer([blob.getvalue()], "test")
    assert list(facts.secrets) in ([r"app/\xff.pem"], ["app/key.pem"])
    assert read_contents([blob.getvalue()], "test").sha256.keys() == facts.secrets.keys()


def test_folders_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_module, "_MAX_FOLDERS", 10_000)
    deep = {f"{number}/" + "/".join("abcdefghij" * 5): b"" for number in range(50)}
    with pytest.raises(FormatError, match="without end"):
        examine_layers([facts_of(deep)], "test")


def test_links_that_lead_in_circles() -> None:
    loops = {
        name: TarEntry(path=name, kind=EntryKind.SYMLINK, mode=0o777, link=target)
        for name, target in (("opt/env/bin/python", "python3"), ("opt/env/bin/python3", "python"), (f"{SITE}/x.so", "x.so"))
    }
    hard = {
        name: TarEntry(path=name, kind=EntryKind.HARDLINK, link=target)
        for name, target in ((f"{LIB}/lib{one}.so", f"{LIB}/lib{other}.so") for one, other in ("ab", "ba", "cc"))
    }
    asking = {f"{SITE}/m.abi3.so": make_elf(["liba.so", "libc.so"], exports=["PyInit_m"])}
    files = {**system(), **loops, **hard, **asking}
    report = examine_layers([facts_of(files)], "test", contents=[read_contents([tar_of(files)], "test")])
    assert {one.subject for one in report.findings if one.rule == "missing-library"} == {"liba.so", "libc.so"}


def test_libraries_that_bring_each_other_in_by_the_thousand() -> None:
    needed = {number: [f"lib{(number * 7 + step) % 300}.so" for step in range(20)] for number in range(300)}
    libraries = {f"usr/lib/lib{number}.so": make_elf(names) for number, names in needed.items()}
    asking = {f"{SITE}/m.abi3.so": make_elf(["lib0.so"], exports=["PyInit_m"])}
    assert examine_layers([facts_of({**system(), **libraries, **asking})], "test").findings == ()


def test_a_wheel_that_is_a_bomb(tmp_path: Path) -> None:
    path = tmp_path / "x-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.bin", bytes(100_000_000))
    with pytest.raises(FormatError, match="refused"):
        examine_wheel(path)
