"""Gives disk space back: removes the blobs that no image of the store's index.json reaches.

Rules: never what is younger than the time given, and nothing at all while a build holds the store (`DiskStore.in_use`),
because what a build found or wrote is reachable only when it ends. Temporary files go when their writer is dead.
An image whose documents are damaged stops the pruning: what it needs cannot be known.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass

from wherry.errors import StoreError, WherryError
from wherry.model.digest import Digest
from wherry.store.disk import DiskStore
from wherry.store.images import reach_blobs
from wherry.store.posix import explain_os_errors, hold_lock, sync_folder

_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What was removed, or would be: blobs and bytes."""

    blobs: tuple[Digest, ...]
    size: int


def prune_store(store: DiskStore, *, keep_recent: float = 3600.0, dry_run: bool = False, now: float | None = None) -> Pruned:
    """Remove unreachable blobs that were last written or wanted more than `keep_recent` seconds ago."""
    if not (store.root / "index.json").exists():
        return Pruned(blobs=(), size=0)
    with hold_lock(store.root / "use.lock", exclusive=True, wait=False) as alone:
        if not alone:
            raise StoreError("a build, pull or load is using the store", where=str(store.root), hint="again when it is done")
        with hold_lock(store.root / "index.lock", exclusive=True):
            found = _find_unreachable(store, (time.time() if now is None else now) - keep_recent)
            if dry_run:
                return Pruned(blobs=tuple(sorted(found)), size=sum(found.values()))
            with explain_os_errors(store.root):
                for digest in found:
                    store.path(digest).unlink(missing_ok=True)
                sync_folder(store.root / "blobs" / "sha256")
            left_behind = store.clear_ingest()
    return Pruned(blobs=tuple(sorted(found)), size=sum(found.values()) + left_behind)


def discard_blobs(store: DiskStore, digests: tuple[Digest, ...]) -> None:
    """Take back what a failed load brought, unless somebody else uses the store now: then pruning will."""
    with hold_lock(store.root / "use.lock", exclusive=True, wait=False) as alone:
        if alone:
            with hold_lock(store.root / "index.lock", exclusive=True):
                wanted = _reach_all(store)
                for digest in set(digests) - wanted:
                    store.path(digest).unlink(missing_ok=True)


def _reach_all(store: DiskStore) -> set[Digest]:
    wanted: set[Digest] = set()
    for root in store.roots():
        try:
            wanted |= reach_blobs(store, root).keys()
        except WherryError as error:
            raise StoreError(
                f"the image {root.digest} is damaged, so what it needs is not known: {error.what}",
                where=str(store.root),
                hint="wherry image rm it first, or build or pull it again",
            ) from error
    return wanted


def _find_unreachable(store: DiskStore, before: float) -> dict[Digest, int]:
    wanted = _reach_all(store)
    found = {}
    with explain_os_errors(store.root), os.scandir(store.root / "blobs" / "sha256") as entries:
        for entry in entries:
            if _HEX.fullmatch(entry.name) and Digest(entry.name) not in wanted:
                state = entry.stat(follow_symlinks=False)
                if state.st_mtime < before:
                    found[Digest(entry.name)] = state.st_size
    return found
