"""Looks through a base image's layers for what decides which wheels run on it. Reads, never unpacks or runs anything.

Layers are read from the bottom; what a higher one replaces or whites out no longer counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from wherry.formats.tar import EntryKind
from wherry.formats.untar import TarMember, read_members

STATUS = "var/lib/dpkg/status"
STATUS_FOLDER = "var/lib/dpkg/status.d/"  # one paragraph a file, as in images that were made without dpkg
_OS_RELEASE = ("etc/os-release", "usr/lib/os-release")
_PYTHON = re.compile(r"(usr/local/bin|usr/bin|opt/[^/]+/bin)/python(3\.\d+)")
_HEADERS = re.compile(r".*include/python(3\.\d+)/patchlevel\.h")
_VERSION = re.compile(rb'#define\s+PY_VERSION\s+"(3\.\d+\.\d+)')
_GLIBC = re.compile(rb"GNU C Library [^\n]{0,80}version (\d+)\.(\d+)")
_LIBC = re.compile(r"(?:usr/)?lib(?:64)?/(?:[^/]+/)?(?:libc\.so\.6|libc-2\.\d+\.so)")
_SMALL = 32 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseSurvey:
    """`glibc` is None without a GNU C library; `pythons` are absolute paths; `versions` those that headers tell, by minor."""

    glibc: tuple[int, int] | None
    pythons: tuple[str, ...]
    versions: dict[str, str]
    status: bytes
    os_release: dict[str, str]


def survey_base(layers: Iterable[Callable[[], Iterable[bytes]]], where: str) -> BaseSurvey:
    """Each of `layers` opens an uncompressed layer tar, the lowest first."""
    found: dict[str, bytes] = {}
    for number, layer in enumerate(layers):
        for member in read_members(layer(), f"{where}: layer {number}"):
            _take(member, found)
    return BaseSurvey(
        glibc=_find_glibc(found),
        pythons=tuple(sorted(f"/{path}" for path in found if _PYTHON.fullmatch(path))),
        versions=_find_versions(found),
        status=found.get(STATUS) or b"\n".join(found[path].strip() + b"\n" for path in sorted(found) if _is_paragraph(path)),
        os_release=_parse_os_release(next((found[path] for path in _OS_RELEASE if path in found), b"")),
    )


def _take(member: TarMember, found: dict[str, bytes]) -> None:
    folder, _, name = member.path.rpartition("/")
    if name.startswith(".wh."):
        hidden = f"{folder}/{name.removeprefix('.wh.')}" if folder else name.removeprefix(".wh.")
        for path in [path for path in found if path == hidden or path.startswith(f"{hidden}/")]:
            del found[path]
    elif member.kind in (EntryKind.FILE, EntryKind.HARDLINK) and _PYTHON.fullmatch(member.path):
        found[member.path] = b""
    elif member.kind is EntryKind.FILE and _is_telling(member.path):
        found[member.path] = _read_small(member)


def _is_telling(path: str) -> bool:
    return (
        path == STATUS
        or _is_paragraph(path)
        or path in _OS_RELEASE
        or bool(_LIBC.fullmatch(path))
        or bool(_HEADERS.fullmatch(path))
    )


def _is_paragraph(path: str) -> bool:
    return path.startswith(STATUS_FOLDER) and not path.endswith(".md5sums")


def _read_small(member: TarMember) -> bytes:
    data = bytearray()
    for chunk in member.content:
        data += chunk[: _SMALL - len(data)]
    return bytes(data)


def _find_glibc(found: dict[str, bytes]) -> tuple[int, int] | None:
    for path, data in found.items():
        match = _GLIBC.search(data) if _LIBC.fullmatch(path) else None
        if match:
            return int(match[1]), int(match[2])
    return None


def _find_versions(found: dict[str, bytes]) -> dict[str, str]:
    versions = {}
    for path, data in found.items():
        named, told = _HEADERS.fullmatch(path), _VERSION.search(data)
        if named and told:
            versions[named[1]] = told[1].decode()
    return versions


def _parse_os_release(data: bytes) -> dict[str, str]:
    pairs = (line.partition("=") for line in data.decode("utf-8", "replace").splitlines() if "=" in line)
    return {key.strip(): value.strip().strip("\"'") for key, _, value in pairs}
