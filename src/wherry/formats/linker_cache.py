"""Reads ``/etc/ld.so.cache``: which file the dynamic linker takes for a library's name.

Knows glibc's present form (``glibc-ld.so.cache1.1``), alone or behind the older one. Entries for special processors are
left out: a library that only they have is not there for all. Refused: truncation, more entries or bytes than the bounds.
"""

from __future__ import annotations

import struct

from wherry.errors import FormatError

MAX_CACHE = 16 << 20
_MAGIC = b"glibc-ld.so.cache1.1"
_HEADER = struct.Struct("<II")  # after the magic: how many entries, how many bytes of strings
_ENTRY = struct.Struct("<iIIIQ")  # flags, name, path, OS version, hwcap
_HEADER_SIZE = 48
_MAX_ENTRIES = 100_000
_MAX_STRING = 4096


def parse_linker_cache(data: bytes, where: str) -> tuple[tuple[str, str], ...]:
    """Names with their paths, in the cache's order; the same name may come for several architectures."""
    start = data.find(_MAGIC)
    if start < 0 or len(data) > MAX_CACHE or len(data) < start + _HEADER_SIZE:
        raise FormatError("no ld.so.cache of a known form", where=where)
    count, _ = _HEADER.unpack_from(data, start + len(_MAGIC))
    table = start + _HEADER_SIZE
    if count > _MAX_ENTRIES or table + count * _ENTRY.size > len(data):
        raise FormatError(f"an ld.so.cache of {count} entries", where=where)
    entries = (_ENTRY.unpack_from(data, table + number * _ENTRY.size) for number in range(count))
    return tuple(
        (_text(data, start + name, where), _text(data, start + path, where)) for _, name, path, _, cap in entries if not cap
    )


def _text(data: bytes, at: int, where: str) -> str:
    end = data.find(b"\0", at, at + _MAX_STRING)
    if end < 0:
        raise FormatError("an ld.so.cache with a name without end", where=where)
    return data[at:end].decode("utf-8", "backslashreplace")
