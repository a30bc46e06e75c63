"""Debian's order of versions (deb-version(7)) as a sort key.

``epoch:upstream-revision``: parts without digits compare letter by letter, ``~`` before the end, the end before
letters, letters before the rest; parts of digits compare as numbers. A missing epoch or revision is 0.
"""

from __future__ import annotations

import re

from wherry.errors import FormatError

_VERSION = re.compile(r"(?:(?P<epoch>[0-9]{1,9}):)?(?P<upstream>[A-Za-z0-9.+~:-]+?)(?:-(?P<revision>[A-Za-z0-9.+~]+))?")
_RUNS = re.compile(r"([^0-9]*)([0-9]*)")

VersionKey = tuple[int, tuple[tuple[tuple[int, ...], int], ...], tuple[tuple[tuple[int, ...], int], ...]]


def version_key(text: str) -> VersionKey:
    """Equal keys are equal versions. What is no version is a `FormatError`."""
    match = _VERSION.fullmatch(text)
    if match is None or len(text) > 512 or (match["epoch"] is None and ":" in text):
        raise FormatError(f"not a Debian version: {text[:80]!r}")
    return int(match["epoch"] or 0), _key_of(match["upstream"]), _key_of(match["revision"] or "0")


def _key_of(part: str) -> tuple[tuple[tuple[int, ...], int], ...]:
    return tuple(((*map(_order, letters), 0), int(digits or 0)) for letters, digits in _RUNS.findall(part))


def _order(character: str) -> int:
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 256
