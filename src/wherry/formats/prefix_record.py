"""What ``conda-meta/NAME-VERSION-BUILD.json`` says: read as py-rattler writes it, written so that every host writes the same.

Written: what the package says of itself, and exactly the files that the record has in the prefix. Left out: whatever tells
of the machine that laid them out (cache, links, times). Where the file came from is told by the channel's name alone;
an address stands there for channels whose address everybody knows (docs/spec/layers.md, "Conda").
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from wherry.errors import FormatError
from wherry.model.lock import LockedRecord

_KEYS = (
    "arch",
    "build_number",
    "constrains",
    "depends",
    "features",
    "license",
    "license_family",
    "noarch",
    "platform",
    "python_site_packages_path",
    "timestamp",
    "track_features",
)
_PATH_KEYS = ("_path", "file_mode", "no_link", "path_type", "prefix_placeholder", "sha256", "sha256_in_prefix", "size_in_bytes")
_LINK, _FOLDER = "softlink", "directory"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NOWHERE = "https://channel.invalid"  # RFC 2606: it never resolves
_PUBLIC = {
    "conda-forge": "https://conda.anaconda.org/conda-forge",
    "bioconda": "https://conda.anaconda.org/bioconda",
    "nvidia": "https://conda.anaconda.org/nvidia",
    "pytorch": "https://conda.anaconda.org/pytorch",
    "pkgs/main": "https://repo.anaconda.com/pkgs/main",
    "pkgs/r": "https://repo.anaconda.com/pkgs/r",
    "pkgs/msys2": "https://repo.anaconda.com/pkgs/msys2",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledFile:
    """One file of a record. `path` is below the prefix; `sha256` is of its content there, None for links."""

    path: str
    is_link: bool
    sha256: str | None
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixRecord:
    """What a record says of itself, and its files without folders, sorted by path."""

    document: Mapping[str, Any]
    files: tuple[InstalledFile, ...]


def parse_prefix_record(raw: bytes, where: str) -> PrefixRecord:
    """Read one; a `FormatError` for what is none."""
    try:
        document = json.loads(raw)
        entries = document["paths_data"]["paths"]
        files = [_parse_file(entry) for entry in entries if entry["path_type"] != _FOLDER]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(f"no record of conda-meta: {error!r}", where=where) from error
    if len({file.path for file in files}) != len(files):
        raise FormatError("a record of conda-meta that names a file twice", where=where)
    return PrefixRecord(document=document, files=tuple(sorted(files, key=lambda file: file.path)))


def render_prefix_record(found: PrefixRecord, record: LockedRecord, kept: Collection[str]) -> bytes:
    """The file's bytes for a record of which only the files in `kept` are in the prefix."""
    entries = [file.document for file in found.files if file.path in kept]
    document = {
        **{key: found.document[key] for key in _KEYS if found.document.get(key) is not None},
        "name": record.name,
        "version": record.version,
        "build": record.build,
        "subdir": record.subdir,
        "channel": record.channel,
        "fn": record.file,
        "url": _address(record),
        "size": record.size,
        "sha256": record.sha256.hex,
        "requested_spec": record.name if record.requested else "None",  # the word that conda writes there
        "files": [entry["_path"] for entry in entries],
        "paths_data": {"paths_version": 1, "paths": entries},
    }
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def prefix_record_name(record: LockedRecord) -> str:
    """Where it lies below the prefix."""
    return f"conda-meta/{record.name}-{record.version}-{record.build}.json"


def _parse_file(entry: Mapping[str, Any]) -> InstalledFile:
    path = entry["_path"]
    is_link = entry["path_type"] == _LINK
    digest = entry.get("sha256_in_prefix") or entry.get("sha256")
    if not isinstance(path, str) or not (digest is None or _DIGEST.fullmatch(digest)):
        raise ValueError(path)
    document = {key: entry[key] for key in _PATH_KEYS if entry.get(key) is not None}
    return InstalledFile(path=path, is_link=is_link, sha256=None if is_link else digest, document=document)


def _address(record: LockedRecord) -> str:
    """py-rattler refuses a record without one, and conda one that is no http address; an unknown channel's leads nowhere."""
    base = _PUBLIC.get(record.channel, f"{_NOWHERE}/{record.channel}")
    return f"{base}/{record.subdir}/{record.file}"
