"""Reading PE files: what Windows' loader would, within bounds, whatever they hold."""

from __future__ import annotations

import sys
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.formats.portables import make_pe
from wherry.errors import FormatError, UsageError
from wherry.formats import pe
from wherry.formats.pe import PeFile, parse_pe

WHOLE = make_pe(["KERNEL32.dll", "MSVCP140.dll"], delayed=["mkl_rt.2.dll"], exports=["PyInit__c", "other"])


@pytest.mark.parametrize("architecture", ["amd64", "386", "arm64"])
def test_what_is_asked_for_and_offered(architecture: str) -> None:
    made = make_pe(["KERNEL32.dll", "kernel32.DLL", "a.dll"], delayed=["b.dll"], exports=["PyInit_x"], architecture=architecture)
    assert parse_pe(made, "x.pyd", ("PyInit_x", "PyInit_y")) == PeFile(
        architecture=architecture,
        is_library=True,
        needed=("kernel32.dll", "a.dll"),
        delayed=("b.dll",),
        exports=("PyInit_x",),
    )


def test_programs_and_managed_files() -> None:
    assert not parse_pe(make_pe(library=False), "x.exe").is_library
    assert parse_pe(make_pe(["mscoree.dll"], managed=True), "x.dll").is_managed


@pytest.mark.parametrize("length", [0, 1, 2, 63, 64, 68, 200, 0x400, 0x500, len(WHOLE) - 1])
def test_truncated(length: int) -> None:
    with pytest.raises(FormatError):
        parse_pe(WHOLE[:length], "x.dll")


def test_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pe, "MAX_PE", len(WHOLE) - 1)
    with pytest.raises(FormatError, match="larger than"):
        parse_pe(WHOLE, "x.dll")


def test_more_libraries_than_anybody_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pe, "_MAX_NAMES", 3)
    parse_pe(make_pe([f"{number}.dll" for number in range(3)]), "x.dll")
    with pytest.raises(FormatError, match="more than 3"):
        parse_pe(make_pe([f"{number}.dll" for number in range(4)]), "x.dll")


@pytest.mark.parametrize("name", ["a\x1b[2J.dll", "\xe9.dll", "x" * 300])
def test_names_that_are_none(name: str) -> None:
    """lief passes over an import of such a name, as Windows would find no file for it."""
    assert parse_pe(make_pe(["a.dll", name, "b.dll"]), "x.dll").needed == ("a.dll", "b.dll")
    with pytest.raises(FormatError, match="no file's"):
        parse_pe(make_pe(delayed=["a.dll", name]), "x.dll")


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=12))
def test_whatever_is_changed(edits: list[tuple[int, int]]) -> None:
    data = bytearray(WHOLE)
    for place, value in edits:
        data[place] = value
    with suppress(FormatError):
        found = parse_pe(bytes(data), "x.dll")
        assert all(0 < len(name) < 256 for name in (*found.needed, *found.delayed))


def test_without_lief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lief", None)
    with pytest.raises(UsageError, match="needs lief") as caught:
        parse_pe(WHOLE, "x.dll")
    assert caught.value.hint == 'pip install "wherry[windows]"'
