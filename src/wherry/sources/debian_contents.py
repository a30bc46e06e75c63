"""Which Debian package brings a shared library: from the archive's Contents index, reduced and kept in the cache.

The index (some 12 MB) hangs from the suite's signed InRelease like all else, is fetched once for each of its versions, and
is removed when what matters of it, a few hundred kilobytes, is written. Only a suite's own index counts: updates and security
move versions of packages, hardly ever libraries from one package to another.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from wherry.formats.debian_contents import parse_library_packages
from wherry.model.platform import Platform
from wherry.sources.debian import DebianArchive, read_verified
from wherry.store.posix import write_atomically


def find_library_packages(archive: DebianArchive, suite: str, platform: Platform, cache: Path) -> Mapping[str, tuple[str, ...]]:
    """Names of libraries with the packages that bring them, the likeliest first; empty where the archive has no index."""
    found: dict[str, tuple[str, ...]] = {}
    for component in archive.distribution.components:
        named = archive.name_file(suite, platform, f"{component}/Contents-{platform.debian}.gz", f"Contents-{platform.debian}.gz")
        if named is None:
            continue
        kept = cache / "debian" / "libraries" / f"{named.sha256.hex}.json"
        known = _read(kept)
        if known is None:
            index = archive.fetch_file(suite, platform, named)
            known = parse_library_packages(read_verified(index, named, "gz", f"{suite} {named.path}"))
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(kept, json.dumps(known, separators=(",", ":")).encode())
            index.unlink(missing_ok=True)
        for name, packages in known.items():
            found.setdefault(name, packages)
    return found


def _read(path: Path) -> dict[str, tuple[str, ...]] | None:
    try:
        document = json.loads(path.read_bytes())
        return {str(name): tuple(map(str, packages)) for name, packages in document.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return None
