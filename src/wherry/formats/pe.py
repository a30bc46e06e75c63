"""Reads of a Windows library or program (PE/COFF) what Windows' loader would. lief parses it; nothing is run.

Follows Microsoft's "PE Format". lief holds a file whole, so that files beyond `MAX_PE` are refused, and of what it finds only
names are kept: at most `_MAX_NAMES` of them, each as a file's name may be. lief is patient with damage; refused with a
`FormatError` are a file that it cannot read at all, sections beyond the file's end, and names that no file could have.
The extra `windows` brings lief.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from wherry.errors import FormatError, UsageError

MAGIC = b"MZ"
MAX_PE = 256 << 20
_MAX_NAMES = 4096
_NAME = re.compile(r"[\x20-\x7e]{1,255}")
_ARCHITECTURES = {0x014C: "386", 0x8664: "amd64", 0xAA64: "arm64", 0x01C4: "arm"}
_CLR_HEADER = 14  # the data directory that makes a file one of .NET's
_LIBRARY = 0x2000  # IMAGE_FILE_DLL


@dataclass(frozen=True, slots=True, kw_only=True)
class PeFile:
    """What the loader knows of a file. `architecture` is OCI's name, or ``machine-N``; names of libraries are in lower case.

    `delayed` are loaded when a function of theirs is first called. `exports` are those asked for that it has; `is_managed`:
    .NET loads it, for any machine.
    """

    architecture: str
    is_library: bool
    is_managed: bool = False
    needed: tuple[str, ...] = ()
    delayed: tuple[str, ...] = ()
    exports: tuple[str, ...] = ()


def parse_pe(data: bytes, where: str, symbols: Sequence[str] = ()) -> PeFile:
    """Read a file; `symbols` are exported names to look for."""
    if len(data) > MAX_PE:
        raise FormatError(f"larger than {MAX_PE >> 20} MiB: not read", where=where)
    lief = _load_lief()
    found = lief.PE.parse(data, _configure(lief)) if data[:2] == MAGIC else None
    if found is None:
        raise FormatError("not a PE file that could be read", where=where)
    if len(found.sections) != found.header.numberof_sections:
        raise FormatError("truncated: its headers name more sections than there are", where=where)
    if any(section.offset + section.sizeof_raw_data > len(data) for section in found.sections):
        raise FormatError("truncated: a section lies beyond its end", where=where)
    (machine,) = struct.unpack_from("<H", data, found.dos_header.addressof_new_exeheader + 4)  # lief knows fewer of them
    table = found.get_export()
    exported = {entry.name for entry in table.entries} if table is not None and symbols else set()
    directories = list(found.data_directories)
    return PeFile(
        architecture=_ARCHITECTURES.get(machine, f"machine-{machine}"),
        is_library=bool(int(found.header.characteristics) & _LIBRARY),
        is_managed=len(directories) > _CLR_HEADER and directories[_CLR_HEADER].rva != 0,
        needed=_take_names((each.name for each in found.imports), where),
        delayed=_take_names((each.name for each in found.delay_imports), where),
        exports=tuple(name for name in symbols if name in exported),
    )


def _load_lief() -> Any:
    try:
        import lief
    except ImportError:
        raise UsageError(
            "reading Windows' libraries needs lief, which is not installed", hint='pip install "wherry[windows]"'
        ) from None
    lief.logging.disable()  # it would talk of each oddity on stderr
    return lief


def _configure(lief: Any) -> Any:
    wanted = lief.PE.ParserConfig()
    for part in ("signature", "rsrc", "reloc", "exceptions", "arm64x_binary"):
        setattr(wanted, f"parse_{part}", False)
    return wanted


def _take_names(names: Iterable[Any], where: str) -> tuple[str, ...]:
    taken: dict[str, None] = {}
    for name in names:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise FormatError("asks for a library whose name is no file's", where=where)
        taken[name.lower()] = None
        if len(taken) > _MAX_NAMES:
            raise FormatError(f"asks for more than {_MAX_NAMES} libraries", where=where)
    return tuple(taken)
