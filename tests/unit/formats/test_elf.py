"""Reading ELF as the linker does; the oracle is lief, over the real libraries of the machine that runs the tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import lief
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.formats.elves import make_elf
from wherry.errors import FormatError
from wherry.formats.elf import MAGIC, ElfFile, ElfNeed, parse_elf

LIBRARIES = (Path(sys.prefix), Path("/usr/lib/x86_64-linux-gnu"), Path("/usr/lib/aarch64-linux-gnu"), Path("/usr/bin"))
SAMPLE = 150


def parse_bytes(data: bytes, *symbols: str) -> ElfFile:
    return parse_elf(lambda offset, length: data[offset : offset + length], len(data), "x.so", symbols)


def list_elves() -> Iterator[Path]:
    for root in LIBRARIES:
        for path in sorted(root.rglob("*")):
            if path.is_file() and not path.is_symlink() and os.access(path, os.R_OK):
                with path.open("rb") as file:
                    if file.read(4) == MAGIC:
                        yield path


def test_agrees_with_lief_on_real_files() -> None:
    found = list(list_elves())
    assert len(found) > 50
    for path in found[:: max(1, len(found) // SAMPLE)]:
        module = f"PyInit_{path.name.partition('.')[0]}"
        with path.open("rb") as file:
            handle = file.fileno()
            made = parse_elf(
                lambda offset, length, at=handle: os.pread(at, length, offset), path.stat().st_size, str(path), (module,)
            )
        assert describe(made) == describe_by_lief(path, module), path


def describe(file: ElfFile) -> dict[str, Any]:
    return {
        "needed": list(file.needed),
        "rpath": file.rpath,
        "runpath": file.runpath,
        "soname": file.soname,
        "interpreter": file.interpreter,
        "needs": sorted((need.library, sorted(need.versions)) for need in file.needs),
        "defines": sorted(file.defines),
        "exports": len(file.exports),
    }


def describe_by_lief(path: Path, module: str) -> dict[str, Any]:
    binary: Any = lief.ELF.parse(str(path))
    entries: dict[str, list[Any]] = {}
    for entry in binary.dynamic_entries:
        entries.setdefault(type(entry).__name__, []).append(entry)
    runpath = next((entry.runpath for entry in entries.get("DynamicEntryRunPath", [])), None)
    rpath = next((entry.rpath for entry in entries.get("DynamicEntryRpath", [])), None)
    definitions = [one for one in binary.symbols_version_definition if not one.flags & 1]
    return {
        "needed": [entry.name for entry in entries.get("DynamicEntryLibrary", [])],
        "rpath": rpath if runpath is None else None,
        "runpath": runpath,
        "soname": next((entry.name for entry in entries.get("DynamicSharedObject", [])), None),
        "interpreter": binary.interpreter if binary.has_interpreter else None,
        "needs": sorted(
            (one.name, sorted(aux.name for aux in one.get_auxiliary_symbols())) for one in binary.symbols_version_requirement
        ),
        "defines": sorted(next(iter(one.auxiliary_symbols)).name for one in definitions),
        "exports": sum(symbol.name == module and symbol.shndx != 0 for symbol in binary.dynamic_symbols),
    }


@pytest.mark.parametrize("architecture", ["amd64", "arm64", "386"])
def test_reads_what_was_written(architecture: str) -> None:
    data = make_elf(
        ["libc.so.6", "libm.so.6"],
        soname="libx.so.1",
        rpath="$ORIGIN/../x.libs",
        needs={"libc.so.6": ["GLIBC_2.2.5", "GLIBC_2.34"], "libm.so.6": ["GLIBC_2.29"]},
        defines=["X_1", "X_2"],
        exports=["first", "PyInit_x"],
        architecture=architecture,
    )
    assert parse_bytes(data, "PyInit_x", "PyInit_y") == ElfFile(
        kind="shared",
        bits=32 if architecture == "386" else 64,
        architecture=architecture,
        soname="libx.so.1",
        needed=("libc.so.6", "libm.so.6"),
        rpath="$ORIGIN/../x.libs",
        needs=(
            ElfNeed(library="libc.so.6", versions=("GLIBC_2.2.5", "GLIBC_2.34")),
            ElfNeed(library="libm.so.6", versions=("GLIBC_2.29",)),
        ),
        defines=("X_1", "X_2"),
        exports=("PyInit_x",),
    )


def test_a_runpath_silences_an_rpath() -> None:
    file = parse_bytes(make_elf(rpath="/a", runpath="/b"))
    assert (file.rpath, file.runpath) == (None, "/b")


def test_a_program_names_its_interpreter() -> None:
    file = parse_bytes(make_elf(interpreter="/lib64/ld-linux-x86-64.so.2"))
    assert (file.kind, file.interpreter) == ("executable", "/lib64/ld-linux-x86-64.so.2")


def test_refuses_what_is_cut_off_anywhere() -> None:
    data = make_elf(["libc.so.6"], needs={"libc.so.6": ["GLIBC_2.2.5"]}, defines=["X_1"], exports=["f"])
    for length in range(len(data)):
        with pytest.raises(FormatError):
            parse_bytes(data[:length], "f")


def test_refuses_a_reader_that_gives_less_than_there_is() -> None:
    data = make_elf(["libc.so.6"])
    with pytest.raises(FormatError, match="truncated"):
        parse_elf(lambda offset, length: data[offset : offset + length][:10], len(data), "x.so")


def test_bounds_how_much_is_read_of_a_bomb() -> None:
    """A version chain of the most entries, each of which has the longest name there may be."""
    long = "v" * 4000
    data = make_elf(needs={"libc.so.6": [long] * 2000})
    with pytest.raises(FormatError, match=r"chain|names|end|beyond"):
        parse_bytes(data.replace(b"\0v", b"vv"))
    many = make_elf(needs={"libc.so.6": [f"V{number}" for number in range(9000)]})
    with pytest.raises(FormatError, match="chain"):
        parse_bytes(many)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_altered_bytes_give_a_value_or_a_clean_refusal(data: st.DataObject) -> None:
    whole = bytearray(
        make_elf(["libc.so.6"], soname="a", runpath="$ORIGIN", needs={"libc.so.6": ["G_1"]}, defines=["X"], exports=["f"])
    )
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] = data.draw(st.integers(0, 255))
    with suppress(FormatError):
        assert isinstance(parse_bytes(bytes(whole), "f"), ElfFile)


@given(st.binary(max_size=600))
def test_noise_is_no_elf_file(noise: bytes) -> None:
    for data in (noise, MAGIC + b"\2\1" + noise):
        with pytest.raises(FormatError):
            parse_bytes(data, "f")
