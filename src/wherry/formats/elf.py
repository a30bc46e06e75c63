"""Reads what the dynamic linker reads of an ELF file, through `read(offset, length)`; never runs it, never holds it whole.

Follows the gABI (header, program headers, dynamic section, hash tables) and the LSB's symbol versioning. Section headers
are not looked at, as the linker does not either: strip and patchelf leave them wrong. Both classes and byte orders are known.

Rules: nothing is believed beyond the file's size; strings, tables and chains are bounded, and so is how many bytes are
read in all. Refused with a `FormatError`: truncation, addresses that no segment maps, strings without an end, tables
beyond the bounds. A file without a dynamic section is a fine ELF file that needs nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from wherry.errors import FormatError

MAGIC = b"\x7fELF"
# e_machine → (class in bits, byte order) and the OCI architecture that it means.
_ARCHITECTURES = {
    (3, 32, "<"): "386",
    (40, 32, "<"): "arm",
    (62, 64, "<"): "amd64",
    (183, 64, "<"): "arm64",
    (21, 64, "<"): "ppc64le",
    (22, 64, ">"): "s390x",
    (243, 64, "<"): "riscv64",
}
_KINDS = {1: "relocatable", 2: "executable", 3: "shared", 4: "core"}

_MAX_SEGMENTS = 512
_MAX_DYNAMIC = 64 << 10  # bytes: 4,096 entries of 64 bits
_MAX_STRING = 4096
_MAX_STRINGS = 1 << 20  # bytes of all names together
_MAX_VERSIONS = 8192
_MAX_CHAIN = 1 << 16
_BLOCK = 4096

_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_NULL, _NEEDED, _HASH, _STRTAB, _SYMTAB, _STRSZ, _SONAME, _RPATH, _RUNPATH = 0, 1, 4, 5, 6, 10, 14, 15, 29
_GNU_HASH, _VERDEF, _VERDEFNUM, _VERNEED, _VERNEEDNUM = 0x6FFFFEF5, 0x6FFFFFFC, 0x6FFFFFFD, 0x6FFFFFFE, 0x6FFFFFFF
_BASE, _WEAK = 1, 2  # flags of a version

Read = Callable[[int, int], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class ElfNeed:
    """The symbol versions that a file asks of one library; without those that it could do without (weak ones)."""

    library: str
    versions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ElfFile:
    """What the linker knows of a file. `architecture` is OCI's name, or ``machine-N`` for one that OCI has none for.

    `rpath` is None where there is a `runpath`, which the linker then heeds alone; both are as written, ``$ORIGIN`` and
    all. `exports` are those of the symbols asked for that it defines.
    """

    kind: str  # executable, shared, relocatable, core
    bits: int
    architecture: str
    interpreter: str | None = None
    soname: str | None = None
    needed: tuple[str, ...] = ()
    rpath: str | None = None
    runpath: str | None = None
    needs: tuple[ElfNeed, ...] = ()
    defines: tuple[str, ...] = ()
    exports: tuple[str, ...] = ()


def parse_elf(read: Read, size: int, where: str, symbols: Sequence[str] = ()) -> ElfFile:
    """Read a file of `size` bytes. `read` may give less than it is asked for only at the end."""
    try:
        return _Parser(_Window(read, size, where), where).parse(symbols)
    except struct.error as error:  # a table that ends within an entry
        raise FormatError("a truncated ELF file", where=where) from error


class _Window:
    """Reads within the file's bounds, a block at a time, so that neighbouring fields cost one call."""

    def __init__(self, read: Read, size: int, where: str) -> None:
        self._read, self.size, self._where = read, size, where
        self._start, self._block = 0, b""

    def get(self, offset: int, length: int) -> bytes:
        if offset < 0 or length < 0 or offset + length > self.size:
            raise FormatError(f"an ELF file that points beyond its end ({offset}+{length} of {self.size})", where=self._where)
        if not self._start <= offset <= offset + length <= self._start + len(self._block):
            self._start, self._block = offset, self._read(offset, min(max(length, _BLOCK), self.size - offset))
        data = self._block[offset - self._start : offset - self._start + length]
        if len(data) != length:
            raise FormatError("a truncated ELF file", where=self._where)
        return data


@dataclass(frozen=True, slots=True)
class _Segment:
    kind: int
    offset: int
    address: int
    size: int


@dataclass(slots=True)
class _Dynamic:
    """The dynamic section: the last value of each tag, and all names of needed libraries."""

    values: dict[int, int] = field(default_factory=dict)
    needed: list[int] = field(default_factory=list)


class _Parser:
    def __init__(self, window: _Window, where: str) -> None:
        self._window, self._where = window, where
        self._order, self._bits = "<", 64
        self._segments: tuple[_Segment, ...] = ()
        self._strings = (0, 0)  # offset and size of the string table
        self._spent = 0

    def parse(self, symbols: Sequence[str]) -> ElfFile:
        kind, machine = self._read_header()
        plain = ElfFile(
            kind=_KINDS.get(kind, f"kind-{kind}"),
            bits=self._bits,
            architecture=self._name_architecture(machine),
            interpreter=next((self._read_interpreter(one) for one in self._segments if one.kind == _PT_INTERP), None),
        )
        section = next((one for one in self._segments if one.kind == _PT_DYNAMIC), None)
        dynamic = self._read_dynamic(section) if section else _Dynamic()
        if _STRTAB not in dynamic.values:
            if dynamic.needed:
                raise self._refuse("needs libraries, and has no names for them")
            return plain
        self._strings = (self._offset_of(dynamic.values[_STRTAB]), dynamic.values.get(_STRSZ, 0))
        runpath = self._optional_string(dynamic, _RUNPATH)
        return replace(
            plain,
            soname=self._optional_string(dynamic, _SONAME),
            needed=tuple(self._string(at) for at in dynamic.needed),
            rpath=self._optional_string(dynamic, _RPATH) if runpath is None else None,
            runpath=runpath,
            needs=tuple(self._read_needs(dynamic)),
            defines=tuple(self._read_definitions(dynamic)),
            exports=tuple(symbol for symbol in symbols if self._defines_symbol(dynamic, symbol.encode())),
        )

    # -- header and segments

    def _read_header(self) -> tuple[int, int]:
        ident = self._window.get(0, 16)
        if ident[:4] != MAGIC or ident[4] not in (1, 2) or ident[5] not in (1, 2):
            raise self._refuse("not an ELF file")
        self._bits, self._order = 32 * ident[4], "<" if ident[5] == 1 else ">"
        # Up to the number of program headers: kind, machine, version, entry, phoff, shoff, flags, ehsize, phentsize, phnum.
        kind, machine, _, _, table, _, _, _, width, count = self._unpack("HHIQQQIHHH" if self._bits == 64 else "HHIIIIIHHH", 16)
        if count > _MAX_SEGMENTS:
            raise self._refuse(f"{count} segments")
        form = "IIQQQQQQ" if self._bits == 64 else "IIIIIIII"
        if count and width < struct.calcsize(self._order + form):
            raise self._refuse(f"program headers of {width} bytes")
        self._segments = tuple(self._read_segment(form, table + number * width) for number in range(count))
        return kind, machine

    def _read_segment(self, form: str, at: int) -> _Segment:
        fields = self._unpack(form, at)
        if self._bits == 64:
            kind, _, offset, address, _, size, _, _ = fields
        else:
            kind, offset, address, _, size, _, _, _ = fields
        return _Segment(kind, offset, address, size)

    def _name_architecture(self, machine: int) -> str:
        return _ARCHITECTURES.get((machine, self._bits, self._order), f"machine-{machine}")

    def _read_interpreter(self, segment: _Segment) -> str:
        if segment.size > _MAX_STRING:
            raise self._refuse(f"an interpreter's name of {segment.size} bytes")
        return self._window.get(segment.offset, segment.size).partition(b"\0")[0].decode("utf-8", "backslashreplace")

    def _offset_of(self, address: int) -> int:
        """Where in the file an address lies. The linker knows addresses only."""
        for segment in self._segments:
            if segment.kind == _PT_LOAD and segment.address <= address < segment.address + segment.size:
                return address - segment.address + segment.offset
        raise self._refuse(f"an address that no segment maps: {address:#x}")

    # -- the dynamic section

    def _read_dynamic(self, segment: _Segment) -> _Dynamic:
        form = "QQ" if self._bits == 64 else "II"
        width = struct.calcsize(form)
        table = self._window.get(segment.offset, min(segment.size, _MAX_DYNAMIC))
        found = _Dynamic()
        for tag, value in struct.iter_unpack(self._order + form, table[: len(table) // width * width]):
            if tag == _NULL:
                return found
            if tag == _NEEDED:
                found.needed.append(value)
            else:
                found.values[tag] = value
        if segment.size > _MAX_DYNAMIC:
            raise self._refuse(f"a dynamic section of {segment.size} bytes")
        return found

    def _optional_string(self, dynamic: _Dynamic, tag: int) -> str | None:
        return self._string(dynamic.values[tag]) if tag in dynamic.values else None

    def _string(self, at: int) -> str:
        return self._string_bytes(at).decode("utf-8", "backslashreplace")

    def _string_bytes(self, at: int) -> bytes:
        start, size = self._strings
        if at >= size:
            raise self._refuse("a name beyond the table of names")
        data = b""
        limit = min(_MAX_STRING, size - at)
        while len(data) < limit:
            data += self._window.get(start + at + len(data), min(256, limit - len(data)))
            if b"\0" in data:
                text = data.partition(b"\0")[0]
                self._spent += len(text) + 1
                if self._spent > _MAX_STRINGS:
                    raise self._refuse("names without end")
                return text
        raise self._refuse("a name without an end")

    # -- symbol versions

    def _read_needs(self, dynamic: _Dynamic) -> Iterator[ElfNeed]:
        """The chain of Verneed, each with its chain of Vernaux."""
        for at in self._chain(dynamic, _VERNEED, _VERNEEDNUM, "HHIII", 4):
            _, count, file, first, _ = self._unpack("HHIII", at)
            versions = []
            for aux in self._follow(at + first, count, "IHHII", 4):
                _, flags, _, name, _ = self._unpack("IHHII", aux)
                if not flags & _WEAK:
                    versions.append(self._string(name))
            yield ElfNeed(library=self._string(file), versions=tuple(versions))

    def _read_definitions(self, dynamic: _Dynamic) -> Iterator[str]:
        """The names of Verdef, without the first, which is the file's own."""
        for at in self._chain(dynamic, _VERDEF, _VERDEFNUM, "HHHHIII", 6):
            _, flags, _, count, _, first, _ = self._unpack("HHHHIII", at)
            if count and not flags & _BASE:
                yield self._string(self._unpack("II", at + first)[0])

    def _chain(self, dynamic: _Dynamic, table: int, number: int, form: str, step: int) -> Iterator[int]:
        if table in dynamic.values:
            yield from self._follow(self._offset_of(dynamic.values[table]), dynamic.values.get(number, 0), form, step)

    def _follow(self, at: int, count: int, form: str, step: int) -> Iterator[int]:
        """The places of a chain's entries, whose field `step` says how far the next one is; 0 ends it."""
        if count > _MAX_VERSIONS:
            raise self._refuse(f"a chain of {count} versions")
        for _ in range(count):
            self._spent += 1
            if self._spent > _MAX_STRINGS:
                raise self._refuse("versions without end")
            yield at
            further = self._unpack(form, at)[step]
            if not further:
                return
            at += further

    # -- symbols, by hash

    def _defines_symbol(self, dynamic: _Dynamic, name: bytes) -> bool:
        if _SYMTAB not in dynamic.values:
            return False
        if _GNU_HASH in dynamic.values:
            numbers = self._gnu_candidates(self._offset_of(dynamic.values[_GNU_HASH]), name)
        elif _HASH in dynamic.values:
            numbers = self._old_candidates(self._offset_of(dynamic.values[_HASH]), name)
        else:
            return False
        table = self._offset_of(dynamic.values[_SYMTAB])
        return any(self._is_symbol(table, number, name) for number in numbers)

    def _is_symbol(self, table: int, number: int, name: bytes) -> bool:
        if self._bits == 64:
            at, _, _, section, _, _ = self._unpack("IBBHQQ", table + 24 * number)
        else:
            at, _, _, _, _, section = self._unpack("IIIBBH", table + 16 * number)
        return section != 0 and self._string_bytes(at) == name

    def _gnu_candidates(self, at: int, name: bytes) -> Iterator[int]:
        """Numbers of symbols whose hash is that of `name`, out of DT_GNU_HASH."""
        buckets, first, filters, _ = self._unpack("IIII", at)
        if not buckets:
            return
        wanted = 5381
        for letter in name:
            wanted = (wanted * 33 + letter) & 0xFFFFFFFF
        bucket_table = at + 16 + filters * (self._bits // 8)
        number = self._unpack("I", bucket_table + 4 * (wanted % buckets))[0]
        if number < first:
            return
        chain = bucket_table + 4 * buckets
        for _ in range(_MAX_CHAIN):
            value = self._unpack("I", chain + 4 * (number - first))[0]
            if value | 1 == wanted | 1:
                yield number
            if value & 1:
                return
            number += 1

    def _old_candidates(self, at: int, name: bytes) -> Iterator[int]:
        """The same out of DT_HASH."""
        buckets, _ = self._unpack("II", at)
        if not buckets:
            return
        wanted = 0
        for letter in name:
            wanted = (wanted << 4) + letter
            high = wanted & 0xF0000000
            wanted = (wanted ^ high >> 24) & ~high & 0xFFFFFFFF
        number = self._unpack("I", at + 8 + 4 * (wanted % buckets))[0]
        for _ in range(_MAX_CHAIN):
            if not number:
                return
            yield number
            number = self._unpack("I", at + 8 + 4 * (buckets + number))[0]

    # --

    def _unpack(self, form: str, at: int) -> tuple[int, ...]:
        return struct.unpack(self._order + form, self._window.get(at, struct.calcsize(self._order + form)))

    def _refuse(self, what: str) -> FormatError:
        return FormatError(f"no ELF file that a linker would take: {what}", where=self._where)
