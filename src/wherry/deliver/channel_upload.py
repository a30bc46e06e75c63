"""Brings a channel's folder into an object store, whose web address devices then read.

The order is the one in which a device may look on: parcels first, then away with those that nobody shall have any longer, so that
who asks for one takes the full one; then the numbered documents, and last the timestamp, which names them. What the store has by
digest, as the list that the last upload left there says, is not sent again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from wherry.deliver.channel import hold_channel, list_roots
from wherry.errors import FormatError, StoreError
from wherry.store.objects import ObjectStore, is_key

_RECORD = "uploaded.json"
_LAST = "metadata/timestamp.json"
_PARCELS = "parcels/"
_SHOWN = (_PARCELS, "metadata/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """What an upload does: paths below the channel to send, with their sizes in bytes, and keys to remove."""

    sent: tuple[tuple[str, int], ...]
    removed: tuple[str, ...]
    kept: int

    @property
    def size(self) -> int:
        return sum(size for _, size in self.sent)


def upload_channel(channel: Path, store: ObjectStore, *, dry_run: bool = False) -> Upload:
    """Make the store hold what the channel's folder shows to devices. Safe to break off, and to do again."""
    if not list_roots(channel):
        raise StoreError("not a channel: it has no root", where=str(channel), hint="wherry channel keys init DIR --keys KEYS")
    with hold_channel(channel):
        digests = dict(_list_files(channel))
        known = _read_record(store)
        sizes = {found.key: found.size for page in store.list("") for found in page}
        stale = [path for path, digest in digests.items() if known.get(path) != digest or sizes.get(path) != _size(channel, path)]
        gone = tuple(key for key in sizes if key.startswith(_PARCELS) and key not in digests)
        plan = Upload(
            sent=tuple((path, _size(channel, path)) for path in sorted(stale, key=_order)),
            removed=gone,
            kept=len(digests) - len(stale),
        )
        if not dry_run:
            _carry_out(channel, store, plan, digests)
        return plan


def _carry_out(channel: Path, store: ObjectStore, plan: Upload, digests: Mapping[str, str]) -> None:
    # What is about to be replaced counts as unknown from here on, should this be broken off.
    sure = {path: digest for path, digest in digests.items() if path not in dict(plan.sent)}
    if plan.sent or plan.removed:
        store.put(_RECORD, json.dumps(sure, sort_keys=True).encode())
    parcels = [path for path, _ in plan.sent if path.startswith(_PARCELS)]
    documents = [path for path, _ in plan.sent if not path.startswith(_PARCELS)]
    for path in parcels:
        store.put(path, channel / path)
    for key in plan.removed:
        store.delete(key)
    for path in documents:
        store.put(path, channel / path)
    if plan.sent:
        store.put(_RECORD, json.dumps(digests, sort_keys=True).encode())


def _list_files(channel: Path) -> Iterator[tuple[str, str]]:
    """Paths and sha256 of what devices read. Unfinished files begin with a dot, and are none."""
    for top in _SHOWN:
        for path in sorted((channel / top).rglob("*")):
            name = path.relative_to(channel).as_posix()
            if path.is_file() and not path.name.startswith("."):
                if not is_key(name):
                    raise FormatError("a file that is none of a channel's", where=str(path), hint="wherry channel check")
                with path.open("rb") as file:
                    yield name, hashlib.file_digest(file, "sha256").hexdigest()


def _read_record(store: ObjectStore) -> dict[str, str]:
    """What the last upload left there; nothing, if it cannot be read."""
    held = store.get(_RECORD)
    try:
        found = json.loads(held.data) if held is not None else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _size(channel: Path, path: str) -> int:
    return (channel / path).stat().st_size


def _order(path: str) -> tuple[bool, str]:
    return path == _LAST, path
