"""What conda put into a prefix, by its own records (``conda-meta/*.json``): enough to name it; reading it fully comes later."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

_DISTRIBUTION = re.compile(r"(?:^|/)site-packages/([^/]+?)-[^/]*\.(?:dist|egg)-info(?:/(?:METADATA|PKG-INFO))?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaPackage:
    """`distributions` are the normalised names of the Python distributions that it brought."""

    name: str
    version: str
    distributions: frozenset[str]


def read_conda_packages(prefix: Path) -> tuple[CondaPackage, ...]:
    """Sorted by file name; a record that is not JSON is passed over."""
    return tuple(found for file in sorted((prefix / "conda-meta").glob("*.json")) if (found := _read_record(file)) is not None)


def _read_record(file: Path) -> CondaPackage | None:
    try:
        document: Any = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or not isinstance(document.get("name"), str):
        return None
    files = document.get("files")
    matches = [_DISTRIBUTION.search(str(path)) for path in files] if isinstance(files, list) else []
    return CondaPackage(
        name=document["name"],
        version=str(document.get("version", "")),
        distributions=frozenset(canonicalize_name(found.group(1)) for found in matches if found),
    )
