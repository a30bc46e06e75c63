"""What conda put into a prefix, by its own records (``conda-meta/*.json``): names, versions, channels, and whose files are whose.

A record lists the files that it laid down. A distribution is the record's own while its folder is among them, and untouched
while its RECORD has the digest that the record noted. Nothing of a channel's login or token leaves this module.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from wherry.errors import FormatError
from wherry.formats.conda_address import name_channel, split_record_address

_METADATA = re.compile(r"(?:^|/)site-packages/(?P<folder>(?P<name>[^/]+?)-[^/]*\.(?:dist|egg)-info)(?P<inner>/.*)?$")
_SIZE_LIMIT = 64 << 20
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_VERSION = re.compile(r"[A-Za-z0-9_.!+]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaPackage:
    """`channel` is its name or address; empty: installed from a file. `distributions` are the Python ones that it brought.

    They are by normalised name, each with its ``.dist-info`` folder's name; `records` has the sha256 of the RECORD in it,
    where conda noted one.
    """

    name: str
    version: str
    build: str = ""
    channel: str = ""
    subdir: str = ""
    distributions: Mapping[str, str] = field(default_factory=dict)
    records: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaPrefix:
    """Sorted by file name. `damaged` are the names of records that could not be read."""

    packages: tuple[CondaPackage, ...]
    damaged: tuple[str, ...] = ()


def read_conda_packages(prefix: Path) -> CondaPrefix:
    packages, damaged = [], []
    for file in sorted((prefix / "conda-meta").glob("*.json")):
        if (found := _read_record(file)) is not None:
            packages.append(found)
        else:
            damaged.append(file.name)
    return CondaPrefix(packages=tuple(packages), damaged=tuple(damaged))


def read_record(file: Path) -> dict[str, Any] | None:
    """The document of one record; None for what is no plain file, too long or damaged."""
    try:
        document: Any = json.loads(file.read_bytes()) if file.is_file() and file.stat().st_size <= _SIZE_LIMIT else None
    except (OSError, ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _read_record(file: Path) -> CondaPackage | None:
    if (document := read_record(file)) is None:
        return None
    name, version = document.get("name"), document.get("version")
    if not isinstance(name, str) or not isinstance(version, str) or not _NAME.fullmatch(name) or not _VERSION.fullmatch(version):
        return None
    listed = document.get("files")
    found = [_METADATA.search(path) for path in listed if isinstance(path, str)] if isinstance(listed, list) else []
    channel, subdir = _origin(document)
    return CondaPackage(
        name=name,
        version=version,
        build=str(document.get("build", "")),
        channel=channel,
        subdir=subdir,
        distributions={canonicalize_name(match["name"]): match["folder"] for match in found if match},
        records=dict(_noted_records(document)),
    )


def _origin(document: dict[str, Any]) -> tuple[str, str]:
    """Channel and subdir: from the package's address, else from what the record says of them."""
    subdir = document.get("subdir")
    subdir = subdir if isinstance(subdir, str) else ""
    url, channel = document.get("url"), document.get("channel")
    if isinstance(url, str) and url:
        try:
            split = split_record_address(url, "")
        except FormatError:
            return "", subdir
        return split.channel, split.subdir
    if not isinstance(channel, str) or not re.fullmatch(r"[^\s<>]+", channel):
        return "", subdir
    return name_channel(channel.removesuffix(f"/{subdir}")), subdir


def _noted_records(document: dict[str, Any]) -> list[tuple[str, str]]:
    data = document.get("paths_data")
    paths = data.get("paths") if isinstance(data, dict) else None
    noted = []
    for entry in paths if isinstance(paths, list) else ():
        if isinstance(entry, dict) and (found := _METADATA.search(str(entry.get("_path")))) and found["inner"] == "/RECORD":
            digest = entry.get("sha256_in_prefix") or entry.get("sha256")
            if isinstance(digest, str) and len(digest) == 64:
                noted.append((found["folder"], digest.lower()))
    return noted
