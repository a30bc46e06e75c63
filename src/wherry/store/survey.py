"""Looks through a base image's layers for what decides which wheels run on it. Reads, never unpacks or runs anything.

Layers are read from the bottom; what a higher one replaces or whites out no longer counts (OCI image-spec, layer.md).
Links are read, not followed: a Python that is a link is known by the path it lies on and by the one it leads to.
Refused: more than `MAX_KEPT` bytes of files that have to be kept, so that no image fills the memory.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from wherry.errors import FormatError
from wherry.formats.tar import EntryKind
from wherry.formats.untar import TarMember, read_members

STATUS = "var/lib/dpkg/status"
STATUS_FOLDER = "var/lib/dpkg/status.d/"  # one paragraph a file, as in images that were made without dpkg
MAX_KEPT = 64 << 20
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_OS_RELEASE = ("etc/os-release", "usr/lib/os-release")
_PYTHON = re.compile(r"(usr/local/bin|usr/bin|opt/(?:[^/]+/){1,2}bin)/python3\.\d+")
_HEADERS = re.compile(r"(?:(.+)/)?include/python(3\.\d+)/patchlevel\.h")
_VERSION = re.compile(rb'#define\s+PY_VERSION\s+"(3\.\d+\.\d+)')
_GLIBC = re.compile(rb"GNU C Library [^\n]{0,80}version (\d+)\.(\d+)")
_LIBC = re.compile(r"(?:usr/)?lib(?:64)?/(?:[^/]+/)?(?:libc\.so\.6|libc-2\.\d+\.so)")
_STATUS_LINE = re.compile(rb"^Status:", re.MULTILINE | re.IGNORECASE)
_LONGEST = 256  # bytes that a match of the patterns above has at most


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseSurvey:
    """`glibc` is None without a GNU C library. All paths are absolute.

    `pythons` are programs named ``python3.N``: where each is found, and where it really lies. `versions` are those that
    C headers tell, by prefix and minor version: ``("/usr/local", "3.12")``.
    """

    glibc: tuple[int, int] | None
    pythons: Mapping[str, str]
    versions: Mapping[tuple[str, str], str]
    status: bytes
    os_release: Mapping[str, str]


def survey_base(layers: Iterable[Callable[[], Iterable[bytes]]], where: str) -> BaseSurvey:
    """Each of `layers` opens an uncompressed layer tar, the lowest first."""
    found = _Found(where)
    for number, layer in enumerate(layers):
        found.add_layer(layer(), number)
    return BaseSurvey(
        glibc=_find_glibc(found.files),
        pythons={f"/{path}": f"/{data.decode()}" for path, data in sorted(found.files.items()) if _PYTHON.fullmatch(path)},
        versions=_find_versions(found.files),
        status=found.files.get(STATUS) or _join_paragraphs(found.files),
        os_release=_parse_os_release(next((found.files[path] for path in _OS_RELEASE if path in found.files), b"")),
    )


class _Found:
    """What tells something, by path: a file's content, of libraries and headers what they say, of a Python where it lies."""

    def __init__(self, where: str) -> None:
        self.files: dict[str, bytes] = {}
        self._where = where
        self._kept = 0

    def add_layer(self, chunks: Iterable[bytes], number: int) -> None:
        """Whiteouts act on the layers below, wherever in their own layer they stand."""
        fresh: dict[str, bytes] = {}
        for member in read_members(chunks, f"{self._where}: layer {number}"):
            folder, _, name = member.path.rpartition("/")
            if name == _OPAQUE:
                _hide(self.files, folder, itself=False)
            elif name.startswith(_WHITEOUT):
                _hide(self.files, posixpath.join(folder, name.removeprefix(_WHITEOUT)))
            else:
                if member.kind is not EntryKind.DIRECTORY:
                    _hide(self.files, member.path)
                    _hide(fresh, member.path)
                self._take(member, fresh)
        self.files |= fresh

    def _take(self, member: TarMember, fresh: dict[str, bytes]) -> None:
        path = member.path
        if _PYTHON.fullmatch(path):
            if member.kind is EntryKind.SYMLINK:
                target = posixpath.normpath(posixpath.join("/", posixpath.dirname(path), member.link)).lstrip("/")
                fresh[path] = target.encode("utf-8", "surrogateescape")
            elif member.kind is not EntryKind.DIRECTORY:
                fresh[path] = path.encode("utf-8", "surrogateescape")
        elif member.kind is not EntryKind.FILE:
            return
        elif _LIBC.fullmatch(path):
            fresh[path] = _search(member, _GLIBC)
        elif _HEADERS.fullmatch(path):
            fresh[path] = _search(member, _VERSION)
        elif path == STATUS or path in _OS_RELEASE or _is_paragraph(path):
            fresh[path] = self._read_whole(member)

    def _read_whole(self, member: TarMember) -> bytes:
        self._kept += member.size
        if self._kept > MAX_KEPT:
            raise FormatError(
                f"has more than {MAX_KEPT >> 20} MiB of package lists", where=f"{self._where}: {member.path}", hint="another base"
            )
        return b"".join(member.content)


def _hide(files: dict[str, bytes], path: str, *, itself: bool = True) -> None:
    """Forget what lies below a path, and what lies there."""
    if itself:
        files.pop(path, None)
    below = f"{path}/" if path else ""
    for hidden in [known for known in files if known.startswith(below) and known != path]:
        del files[hidden]


def _search(member: TarMember, pattern: re.Pattern[bytes]) -> bytes:
    """The first match of a pattern in a file of any size; empty where there is none."""
    tail = b""
    for chunk in member.content:
        window = tail + chunk
        match = pattern.search(window)
        if match and match.end() + 4 < len(window):  # digits at the very end may go on in the next chunk
            return match[0]
        tail = window[-2 * _LONGEST :]
    match = pattern.search(tail)
    return match[0] if match else b""


def _is_paragraph(path: str) -> bool:
    return path.startswith(STATUS_FOLDER) and not path.endswith(".md5sums")


def _join_paragraphs(files: Mapping[str, bytes]) -> bytes:
    """The folder's paragraphs as one status file. A package that stands there is installed, whether or not it says so."""
    paragraphs = (files[path].strip() for path in sorted(files) if _is_paragraph(path))
    installed = (one if _STATUS_LINE.search(one) else one + b"\nStatus: install ok installed" for one in paragraphs if one)
    return b"\n".join(paragraph + b"\n" for paragraph in installed)


def _find_glibc(files: Mapping[str, bytes]) -> tuple[int, int] | None:
    for path, data in sorted(files.items()):
        match = _GLIBC.search(data) if _LIBC.fullmatch(path) else None
        if match:
            return int(match[1]), int(match[2])
    return None


def _find_versions(files: Mapping[str, bytes]) -> dict[tuple[str, str], str]:
    versions = {}
    for path, data in files.items():
        named, told = _HEADERS.fullmatch(path), _VERSION.search(data)
        if named and told:
            versions[f"/{named[1] or ''}", named[2]] = told[1].decode()
    return versions


def _parse_os_release(data: bytes) -> dict[str, str]:
    pairs = (line.partition("=") for line in data.decode("utf-8", "replace").splitlines() if "=" in line)
    return {key.strip(): value.strip().strip("\"'") for key, _, value in pairs}
