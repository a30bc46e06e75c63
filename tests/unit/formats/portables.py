"""Small PE files made by hand, for tests: headers, one section, and the three tables that say what is asked for and offered."""

from __future__ import annotations

import struct
from collections.abc import Sequence

_MACHINES = {"amd64": 0x8664, "386": 0x014C, "arm64": 0xAA64}
_BASE = 0x1000  # where the section is mapped
_START = 0x400  # where it lies in the file


def make_pe(
    needed: Sequence[str] = (),
    *,
    delayed: Sequence[str] = (),
    exports: Sequence[str] = (),
    architecture: str = "amd64",
    library: bool = True,
    managed: bool = False,
) -> bytes:
    """A DLL that asks for one function, ``f``, of each library."""
    section = _Section(8 if architecture != "386" else 4)
    tables = {1: section.add_imports(needed)}
    if delayed:
        tables[13] = section.add_delayed(delayed)
    if exports:
        tables[0] = section.add_exports(exports)
    if managed:
        tables[14] = (section.add(bytes(72)), 72)
    body = bytes(section.data) + bytes(-len(section.data) % 0x200)
    return _render_headers(architecture, tables, len(body), library) + body


class _Section:
    def __init__(self, word: int) -> None:
        self.data = bytearray()
        self._word = "<Q" if word == 8 else "<I"

    def add(self, data: bytes) -> int:
        """Gives the address at which it will be, relative to the image's."""
        self.data += bytes(-len(self.data) % 8)
        self.data += data
        return _BASE + len(self.data) - len(data)

    def _add_names(self) -> int:
        entry = self.add(struct.pack("<H", 0) + b"f\0")
        return self.add(struct.pack(self._word, entry) + struct.pack(self._word, 0))

    def add_imports(self, needed: Sequence[str]) -> tuple[int, int]:
        rows = b"".join(
            struct.pack("<5I", self._add_names(), 0, 0, self.add(name.encode() + b"\0"), self._add_names()) for name in needed
        )
        return self.add(rows + bytes(20)), len(rows) + 20

    def add_delayed(self, names: Sequence[str]) -> tuple[int, int]:
        rows = b"".join(
            struct.pack(
                "<8I", 1, self.add(name.encode() + b"\0"), self.add(bytes(8)), self._add_names(), self._add_names(), 0, 0, 0
            )
            for name in names
        )
        return self.add(rows + bytes(32)), len(rows) + 32

    def add_exports(self, names: Sequence[str]) -> tuple[int, int]:
        count = len(names)
        functions = self.add(struct.pack(f"<{count}I", *[_BASE] * count))
        texts = self.add(struct.pack(f"<{count}I", *[self.add(name.encode() + b"\0") for name in names]))
        ordinals = self.add(struct.pack(f"<{count}H", *range(count)))
        title = self.add(b"x.dll\0")
        return self.add(struct.pack("<IIHHIIIIIII", 0, 0, 0, 0, title, 1, count, count, functions, texts, ordinals)), 40


def _render_headers(architecture: str, tables: dict[int, tuple[int, int]], size: int, library: bool) -> bytes:
    wide = architecture != "386"
    directories = b"".join(struct.pack("<II", *tables.get(number, (0, 0))) for number in range(16))
    optional = struct.pack("<HBBIIIII", 0x20B if wide else 0x10B, 14, 0, size, 0, 0, 0, _BASE)
    optional += struct.pack("<QII" if wide else "<IIII", *([0x180000000] if wide else [0, 0x10000000]), 0x1000, 0x200)
    optional += struct.pack("<HHHHHHIIIIHH", 6, 0, 0, 0, 6, 0, 0, _BASE + ((size + 0xFFF) & ~0xFFF), _START, 0, 2, 0)
    optional += struct.pack("<QQQQII" if wide else "<IIIIII", 1 << 20, 1 << 12, 1 << 20, 1 << 12, 0, 16) + directories
    kind = 0x22 | (0x2000 if library else 0)
    head = b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0"
    head += struct.pack("<HHIIIHH", _MACHINES[architecture], 1, 0, 0, 0, len(optional), kind) + optional
    head += struct.pack("<8sIIIIIIHHI", b".rdata", size, _BASE, size, _START, 0, 0, 0, 0, 0x40000040)
    return head.ljust(_START, b"\0")
