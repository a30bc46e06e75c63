"""Small ELF files made by hand, for tests: just what a linker reads."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

_MACHINES = {"amd64": 62, "arm64": 183, "386": 3}


def make_elf(
    needed: Sequence[str] = (),
    *,
    soname: str | None = None,
    rpath: str | None = None,
    runpath: str | None = None,
    needs: Mapping[str, Sequence[str]] | None = None,
    defines: Sequence[str] = (),
    exports: Sequence[str] = (),
    interpreter: str | None = None,
    architecture: str = "amd64",
) -> bytes:
    """A shared library, or a program where it has an interpreter. Addresses are offsets."""
    form = _Form(64 if architecture != "386" else 32)
    strings = _Strings()
    entries = [(1, strings.add(name)) for name in needed]
    entries += [(tag, strings.add(text)) for tag, text in ((14, soname), (15, rpath), (29, runpath)) if text is not None]
    tables = {
        0x6FFFFFFE: _render_needs(needs or {}, strings),
        0x6FFFFFFC: _render_definitions(defines, strings),
        6: form.symbols(exports, strings),
        4: _render_hash(exports),
    }
    counts = {0x6FFFFFFF: len(needs or {}), 0x6FFFFFFD: len(defines) + 1 if defines else 0}
    start = form.header + 3 * form.segment
    body = bytearray((interpreter or "").encode() + b"\0")
    places = {}
    for tag, table in {**tables, 5: bytes(strings.data)}.items():
        body += b"\0" * (-len(body) % 8)
        places[tag] = start + len(body)
        body += table
    body += b"\0" * (-len(body) % 8)
    entries += [(tag, place) for tag, place in places.items() if tag in (4, 5, 6) or tables[tag]]
    entries += [(tag, count) for tag, count in counts.items() if count]
    entries += [(10, len(strings.data)), (0, 0)]
    dynamic = b"".join(form.entry(*entry) for entry in entries)
    at, end = start + len(body), start + len(body) + len(dynamic)
    segments = [(1, 0, end), (2, at, len(dynamic)), (3 if interpreter else 0, start, len(interpreter or "") + 1)]
    return form.head(_MACHINES[architecture], 2 if interpreter else 3, segments) + bytes(body) + dynamic


class _Strings:
    def __init__(self) -> None:
        self.data = bytearray(b"\0")

    def add(self, text: str) -> int:
        at = len(self.data)
        self.data += text.encode() + b"\0"
        return at


class _Form:
    """The two classes of ELF, little-endian."""

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self.header, self.segment = (64, 56) if bits == 64 else (52, 32)

    def head(self, machine: int, kind: int, segments: Sequence[tuple[int, int, int]]) -> bytes:
        ident = b"\x7fELF" + bytes([self.bits // 32, 1, 1]) + bytes(9)
        form = "<HHIQQQIHHHHHH" if self.bits == 64 else "<HHIIIIIHHHHHH"
        head = ident + struct.pack(form, kind, machine, 1, 0, self.header, 0, 0, self.header, self.segment, len(segments), 0, 0, 0)
        for type_, at, size in segments:
            if self.bits == 64:
                head += struct.pack("<IIQQQQQQ", type_, 4, at, at, at, size, size, 8)
            else:
                head += struct.pack("<IIIIIIII", type_, at, at, at, size, size, 4, 8)
        return head

    def entry(self, tag: int, value: int) -> bytes:
        return struct.pack("<QQ" if self.bits == 64 else "<II", tag, value)

    def symbols(self, names: Sequence[str], strings: _Strings) -> bytes:
        table = bytes(24 if self.bits == 64 else 16)
        for name in names:
            at = strings.add(name)
            table += struct.pack("<IBBHQQ", at, 18, 0, 1, 0, 0) if self.bits == 64 else struct.pack("<IIIBBH", at, 0, 0, 18, 0, 1)
        return table


def _render_needs(needs: Mapping[str, Sequence[str]], strings: _Strings) -> bytes:
    made = b""
    for number, (library, versions) in enumerate(needs.items()):
        size = 16 + 16 * len(versions)
        last = number == len(needs) - 1
        made += struct.pack("<HHIII", 1, len(versions), strings.add(library), 16, 0 if last else size)
        for index, version in enumerate(versions):
            made += struct.pack("<IHHII", 0, 0, 2, strings.add(version), 0 if index == len(versions) - 1 else 16)
    return made


def _render_definitions(versions: Sequence[str], strings: _Strings) -> bytes:
    if not versions:
        return b""
    made = b""
    for number, version in enumerate(["self", *versions]):
        last = number == len(versions)
        made += struct.pack("<HHHHIII", 1, 0 if number else 1, number + 1, 1, 0, 20, 0 if last else 28)
        made += struct.pack("<II", strings.add(version), 0)
    return made


def _render_hash(exports: Sequence[str]) -> bytes:
    """One bucket: all symbols in one chain."""
    count = len(exports) + 1
    chain = [0, *(number + 1 if number < len(exports) else 0 for number in range(1, count))]
    return struct.pack(f"<{3 + count}I", 1, count, 1 if exports else 0, *chain)
