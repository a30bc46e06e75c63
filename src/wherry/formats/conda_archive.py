"""Opens a conda package, ``.conda`` (CEP 27: a zip of two zstd tars) or ``.tar.bz2``, as a stream of tar members.

Readers of such archives differ in what they believe: a zip's directory or the headers before its members, a tar's own end or
what follows. So only an archive that all of them read alike is passed on: a zip of the two tars and `metadata.json`
alone, each stored, one after the other without gaps, its headers as in the directory; a tar with one end and nothing
behind it. Refused besides: truncation, archives that unpack to far more than they weigh, another order of things than
``info/…`` in the one tar and all the rest in the other.
"""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Iterator
from typing import BinaryIO

from wherry.errors import FormatError
from wherry.formats.decompress import CHUNK, unpack_chunks
from wherry.formats.untar import TarMember, read_members
from wherry.formats.zip_member import ERRORS

MAX_UNPACKED = 64 << 30
MAX_RATIO = 300
_SMALL = 256 << 20  # below this no ratio is looked at
_UNSOUND = "tell its publisher; lock another build"
_MAX_METADATA = 1 << 16
_LOCAL = struct.Struct("<4s5H3I2H")  # APPNOTE 4.3.7
_ZIP64_SIZES = struct.Struct("<QQ")
_ZIP64 = 0xFFFFFFFF
_END = 22  # bytes of a directory's end without a comment


def read_conda_archive(stream: BinaryIO, file: str) -> Iterator[tuple[bool, TarMember]]:
    """Yield every member once, with whether it belongs to the package's own metadata (``info/…``), those first if they can be.

    `stream` can seek; `file` is the archive's name, by which its form is known, and what errors name. A member's content
    must be read before the next member is asked for. Damage anywhere is a `FormatError`, at the end at the latest.
    """
    if file.endswith(".conda"):
        for info, tar, size in _open_zip(stream, file):
            for member in _read_tar(tar, "zst", size, file):
                _check_place(member, file, info=info)
                yield info, member
    elif file.endswith(".tar.bz2"):
        size = stream.seek(0, 2)
        stream.seek(0)
        for member in _read_tar(iter(lambda: stream.read(CHUNK), b""), "bz2", size, file):
            yield member.path.partition("/")[0] == "info", member
    else:
        raise FormatError("not the name of a conda package", where=file, hint="NAME-VERSION-BUILD.conda or .tar.bz2")


def _read_tar(chunks: Iterator[bytes], suffix: str, size: int, file: str) -> Iterator[TarMember]:
    limit = min(MAX_UNPACKED, max(_SMALL, MAX_RATIO * size))
    yield from read_members(unpack_chunks(chunks, suffix, limit=limit, where=file), file, one_size=True)


def _check_place(member: TarMember, file: str, *, info: bool) -> None:
    if member.path and (member.path.partition("/")[0] == "info") is not info:
        part = "info-" if info else "pkg-"
        raise FormatError(f"a member that has no place in its {part} tar: {member.path!r}", where=file, hint=_UNSOUND)


def _open_zip(stream: BinaryIO, file: str) -> Iterator[tuple[bool, Iterator[bytes], int]]:
    """The two tars, info first: whether it is that, its bytes, and how many they are."""
    stem = file.removesuffix(".conda")
    names = {f"info-{stem}.tar.zst": True, f"pkg-{stem}.tar.zst": False}
    try:
        with zipfile.ZipFile(stream) as archive:
            starts = _check_zip(stream, archive, {*names, "metadata.json"}, file)
            _check_metadata(archive, file)
            for name, info in names.items():
                entry = archive.getinfo(name)
                yield info, _read_range(stream, starts[name], entry.file_size), entry.file_size
    except KeyError as error:
        raise FormatError(f"lacks a part: {error.args[0]}", where=file, hint=_UNSOUND) from None
    except ERRORS as error:
        raise FormatError(f"not a sound zip: {error}", where=file, hint=_UNSOUND) from error


def _check_zip(stream: BinaryIO, archive: zipfile.ZipFile, names: set[str], file: str) -> dict[str, int]:
    """Hold the directory against the headers before the members; gives where each member's bytes begin."""
    entries = sorted(archive.infolist(), key=lambda entry: entry.header_offset)
    starts: dict[str, int] = {}
    position = 0
    for entry in entries:
        name = entry.orig_filename
        if name not in names or name in starts:
            raise FormatError(f"a member that has no place in it: {name!r}", where=file, hint=_UNSOUND)
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & ~0x800 or entry.compress_size != entry.file_size:
            raise FormatError(f"{name} is packed or encrypted", where=file, hint=_UNSOUND)
        start = _check_header(stream, entry, position, file)
        starts[name], position = start, start + entry.file_size
    stream.seek(-_END, 2)
    if position != archive.start_dir or not stream.read(4) == b"PK\5\6":
        raise FormatError("has bytes that belong to no member", where=file, hint=_UNSOUND)
    return starts


def _check_header(stream: BinaryIO, entry: zipfile.ZipInfo, position: int, file: str) -> int:
    stream.seek(position)
    header = stream.read(_LOCAL.size)
    if entry.header_offset != position or len(header) != _LOCAL.size:
        raise FormatError("has bytes that belong to no member", where=file, hint=_UNSOUND)
    magic, _, flags, method, _, _, crc, packed, size, name_length, extra_length = _LOCAL.unpack(header)
    name, extra = stream.read(name_length), stream.read(extra_length)
    if packed == size == _ZIP64 and extra[:4] == b"\1\0\x10\0":  # zip64: both sizes stand in the first extra field
        size, packed = _ZIP64_SIZES.unpack(extra[4:20])
    same = (magic, name, flags & ~0x800, method, crc) == (b"PK\3\4", entry.orig_filename.encode(), 0, 0, entry.CRC)
    if not same or (packed, size) != (entry.file_size, entry.file_size):
        raise FormatError(f"says two things of {entry.orig_filename}", where=file, hint=_UNSOUND)
    return position + _LOCAL.size + len(name) + len(extra)


def _check_metadata(archive: zipfile.ZipFile, file: str) -> None:
    if "metadata.json" not in archive.namelist():  # early ones have none
        return
    if archive.getinfo("metadata.json").file_size > _MAX_METADATA:
        raise FormatError("metadata.json is too large", where=file, hint=_UNSOUND)
    try:
        version = json.loads(archive.read("metadata.json"))["conda_pkg_format_version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise FormatError("metadata.json cannot be read", where=file, hint=_UNSOUND) from None
    if version != 2:
        raise FormatError(f"a package of the format {version!r}, which is not known here", where=file)


def _read_range(stream: BinaryIO, start: int, size: int) -> Iterator[bytes]:
    stream.seek(start)
    left = size
    while left and (chunk := stream.read(min(left, CHUNK))):
        left -= len(chunk)
        yield chunk
