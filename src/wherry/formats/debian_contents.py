"""Reads a Debian archive's Contents index for one question: which packages bring a shared library?

Follows the repository format's Contents indices: a path without its first slash, blanks, then packages with their sections,
divided by commas. Only names that the dynamic linker finds by itself count: ``lib….so.N`` in the system's folders. The
index is passed as a stream; a line longer than any path may be is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_LIBRARY = re.compile(rb"\n(?:usr/)?lib(?:64)?/(?:[a-z0-9_]+-linux-[a-z0-9]+/)?(lib[^/\s]+\.so(?:\.[^/\s]+)?)[ \t]+([^\s]+)(?=\n)")
_SPECIAL = re.compile(r".*-(?:dev|dbg|dbgsym|cross|udeb)")
_MAX_LINE = 64 << 10


def parse_library_packages(chunks: Iterable[bytes]) -> dict[str, tuple[str, ...]]:
    """Names of libraries with the packages that bring them, the likeliest first: ordinary ones of the section libs."""
    found: dict[str, set[str]] = {}
    rest = b"\n"
    for chunk in chunks:
        text, line_end, tail = (rest + chunk).rpartition(b"\n")
        for name, packages in _LIBRARY.findall(text + line_end):
            found.setdefault(name.decode("utf-8", "replace"), set()).update(packages.decode("utf-8", "replace").split(","))
        rest = b"\n" + tail[-_MAX_LINE:]
    for name, packages in _LIBRARY.findall(rest + b"\n"):
        found.setdefault(name.decode("utf-8", "replace"), set()).update(packages.decode("utf-8", "replace").split(","))
    return {name: _order(packages) for name, packages in sorted(found.items())}


def _order(packages: Iterable[str]) -> tuple[str, ...]:
    def rank(place: str) -> tuple[bool, bool, int, str]:
        section, _, name = place.rpartition("/")
        return _SPECIAL.fullmatch(name) is not None, not section.endswith("libs"), len(name), name

    return tuple(dict.fromkeys(place.rpartition("/")[2] for place in sorted(packages, key=rank)))
