"""How long each chosen wheel is: from the former lock, the cache, what was seen, the index, or the server itself.

Each wheel's place is remembered beside the cache, so that it is found there again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from urllib.parse import urlsplit

from wherry.errors import LockError, TransferError
from wherry.lock.candidates import Candidate
from wherry.model.lock import LockedWheel
from wherry.sources.package_sources import PackageSources


def complete_candidates(
    candidates: Sequence[Candidate], kept: Mapping[str, LockedWheel], sources: PackageSources
) -> tuple[Candidate, ...]:
    """Every candidate with its size; one that nobody can tell is an error, never a guess."""
    with ThreadPoolExecutor(8, thread_name_prefix="size") as pool:
        sizes = list(pool.map(lambda candidate: _find_size(candidate, kept.get(candidate.name), sources), candidates))
    for candidate, size in zip(candidates, sizes, strict=True):
        if urlsplit(candidate.url).scheme in ("http", "https", "file"):
            sources.seen.remember(candidate.sha256, candidate.url, size)
    return tuple(replace(candidate, size=size) for candidate, size in zip(candidates, sizes, strict=True))


def _find_size(candidate: Candidate, former: LockedWheel | None, sources: PackageSources) -> int:
    if candidate.size:
        return candidate.size
    if former is not None and former.sha256 == candidate.sha256:
        return former.size
    cached = sources.finder().path_of(candidate.file, candidate.sha256)
    if cached.is_file():
        return cached.stat().st_size
    seen = sources.seen.find(candidate.sha256)
    if seen is not None:
        return seen.size
    size = sources.transport.size_of(candidate.url) or _size_in_index(candidate, sources)
    if not size:
        raise LockError(
            f"nobody says how long {candidate.file} is",
            hint=f"an index that answers HEAD or names sizes, or a folder with the file in find-links ({candidate.name})",
        )
    return size


def _size_in_index(candidate: Candidate, sources: PackageSources) -> int | None:
    try:
        files = sources.list_files(candidate.name)
    except TransferError:
        return None
    return next((file.size for file in files if file.sha256 == candidate.sha256 and file.size), None)
