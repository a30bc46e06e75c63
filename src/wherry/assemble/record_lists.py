"""Reads from a record's archive which files it says it has, without unpacking it: as far as its own metadata go.

The archive was verified and inspected when it was fetched (`sources.conda_channels`); what is laid out later is held against
this list.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wherry.errors import FormatError, StoreError
from wherry.formats.conda_archive import read_conda_archive
from wherry.formats.conda_metadata import DOCUMENTS, MAX_DOCUMENT, parse_link, parse_paths
from wherry.model.lock import LockedRecord

_PATHS, _LINK = "info/paths.json", "info/link.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordList:
    """Paths with their sha256 as the archive has them, and the scripts to be made (``name = module:function``).

    `placed` are those that are laid out as something else than the archive has: the prefix's name is put in, or they are links.
    """

    files: tuple[tuple[str, str | None], ...]
    entry_points: tuple[str, ...] = ()
    placed: frozenset[str] = frozenset()


def read_record_list(archive: Path, record: LockedRecord) -> RecordList:
    """Read the list out of a `.conda` or `.tar.bz2`."""
    documents = _read_documents(archive, record)
    listed = parse_paths(documents, record.file)
    points = parse_link(documents[_LINK], record.file)[1] if _LINK in documents else ()
    return RecordList(
        files=tuple((path, entry.sha256) for path, entry in listed.items() if entry.kind != "directory"),
        entry_points=points,
        placed=frozenset(path for path, entry in listed.items() if entry.placeholder or entry.kind == "softlink"),
    )


def _read_documents(archive: Path, record: LockedRecord) -> dict[str, bytes]:
    enough = {_PATHS, _LINK} if record.noarch_python else {_PATHS}
    found: dict[str, bytes] = {}
    try:
        with archive.open("rb") as stream:
            for info, member in read_conda_archive(stream, record.file):
                if enough <= found.keys() or (not info and record.file.endswith(".conda")):
                    break
                if info and member.path in DOCUMENTS:
                    if member.size > MAX_DOCUMENT:
                        raise FormatError(f"{member.path} has {member.size} bytes", where=record.file)
                    found[member.path] = b"".join(member.content)
    except OSError as error:
        raise StoreError(f"cannot be read: {error.strerror}", where=str(archive)) from error
    return found
