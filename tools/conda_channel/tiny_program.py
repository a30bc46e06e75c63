"""A real static executable of some 500 bytes that prints a string which stands in it, up to its NUL.

It is how one sees that a prefix was embedded into a binary: the program says where it believes to be. Written by hand, one
for each machine, so that no compiler is needed.
"""

from __future__ import annotations

import struct

_BASE = 0x400000
_HEADERS = 64 + 56
_X86_64 = bytes.fromhex(
    "488d35 22000000 31d2 803c1600 7405 48ffc2 ebf5 b801000000 bf01000000 0f05 b83c000000 31ff 0f05".replace(" ", "")
)
_AARCH64 = struct.pack(
    "<12I",
    0x10000181,  # adr x1, the string, 48 bytes on
    0xD2800002,  # mov x2, 0
    0x38626823,  # ldrb w3, [x1, x2]
    0x34000063,  # cbz w3, 12 bytes on
    0x91000442,  # add x2, x2, 1
    0x17FFFFFD,  # b, back to the ldrb
    0xD2800020,  # mov x0, 1
    0xD2800808,  # mov x8, 64: write
    0xD4000001,  # svc 0
    0xD2800000,  # mov x0, 0
    0xD2800BA8,  # mov x8, 93: exit
    0xD4000001,  # svc 0
)
_PROGRAMS = {"linux-64": (62, _X86_64), "linux-aarch64": (183, _AARCH64)}


def make_tiny_program(subdir: str, text: str) -> bytes:
    """An ELF executable for ``linux-64`` or ``linux-aarch64`` that prints `text`."""
    machine, code = _PROGRAMS[subdir]
    body = code + text.encode() + b"\0"
    size = _HEADERS + len(body)
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = struct.pack("<16sHHIQQQIHHHHHH", ident, 2, machine, 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x10000)
    return header + segment + body
