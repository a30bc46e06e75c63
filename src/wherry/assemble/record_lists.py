"""Reads from a record's archive which files it says it has, without unpacking it.

The archive was verified and inspected when it was fetched (`sources.conda_channels`); what is laid out later is held against
this list. Of an old package without `paths.json` the plain list of names is read.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wherry.errors import FormatError, StoreError
from wherry.formats.decompress import unpack_chunks
from wherry.formats.untar import read_members
from wherry.formats.zip_member import ERRORS, stream_member
from wherry.model.lock import LockedRecord

_PATHS, _NAMES, _LINK = "info/paths.json", "info/files", "info/link.json"
_LARGEST = 64 << 20  # bytes of one list
_UNPACKED = 1 << 40
_CHUNK = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordList:
    """Paths with their sha256 as the archive has them, and the scripts to be made (``name = module:function``)."""

    files: tuple[tuple[str, str | None], ...]
    entry_points: tuple[str, ...] = ()


def read_record_list(archive: Path, record: LockedRecord) -> RecordList:
    """Read the list out of a `.conda` or `.tar.bz2`."""
    wanted = {_PATHS, _LINK} if record.noarch_python else {_PATHS}
    found: dict[str, bytes] = {}
    try:
        for member in read_members(_unpack(archive), record.file):
            if member.path in (_PATHS, _NAMES, _LINK):
                if member.size > _LARGEST:
                    raise FormatError(f"{member.path} has {member.size} bytes", where=record.file)
                found[member.path] = b"".join(member.content)
                if wanted <= found.keys():
                    break
        return _parse(found)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(f"a list of files that cannot be read: {error!r}", where=record.file) from error


def _unpack(archive: Path) -> Iterator[bytes]:
    try:
        if archive.suffix != ".conda":
            with archive.open("rb") as file:
                yield from unpack_chunks(iter(lambda: file.read(_CHUNK), b""), "bz2", limit=_UNPACKED, where=archive.name)
            return
        with zipfile.ZipFile(archive) as outer:
            info = [entry for entry in outer.infolist() if entry.filename.startswith("info-")]
            if len(info) != 1:
                raise FormatError("no conda package: not one info archive in it", where=archive.name)
            yield from unpack_chunks(stream_member(outer, info[0]), "zst", limit=_UNPACKED, where=archive.name)
    except OSError as error:
        raise StoreError(f"cannot be read: {error.strerror}", where=str(archive)) from error
    except ERRORS as error:
        raise FormatError(f"damaged: {error}", where=archive.name) from error


def _parse(found: dict[str, bytes]) -> RecordList:
    link: Any = json.loads(found.get(_LINK, b"{}"))
    points = tuple(str(point) for point in (link.get("noarch") or {}).get("entry_points") or ())
    if _PATHS not in found:
        return RecordList(files=tuple((name, None) for name in found[_NAMES].decode().split("\n") if name), entry_points=points)
    paths = (entry for entry in json.loads(found[_PATHS])["paths"] if entry["path_type"] != "directory")
    return RecordList(files=tuple((str(entry["_path"]), entry.get("sha256")) for entry in paths), entry_points=points)
