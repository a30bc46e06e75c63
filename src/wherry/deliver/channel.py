"""A channel's folder: which signed documents it has, and how they are exchanged (docs/spec/channel.md).

    metadata/1.root.json …     every root
    metadata/7.snapshot.json   by number, and so 3.targets.json
    metadata/timestamp.json    names the snapshot, which names the targets
    parcels/, releases/        see `wherry.model.release` and `wherry.deliver.records`

What is read is held against the signatures of its roots, but not against the clock: who signs anew has to read what
expired. What is written gets new names first and the timestamp last, so that a reader sees the former or the new state.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from wherry.errors import StoreError, TrustError
from wherry.formats.tuf_workflow import Document, read_signed, step_root, trust_root
from wherry.model.release import Metadata
from wherry.store.posix import explain_os_errors, hold_lock, write_atomically

METADATA = "metadata"
_ROOT = re.compile(r"([1-9][0-9]{0,8})\.root\.json")
_S = TypeVar("_S", Timestamp, Snapshot, Targets)
_MOST = 1 << 20  # bytes of a document; each kind has its own, lower limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """The documents of a channel. Before the first release it has roots alone."""

    roots: tuple[Document[Root], ...]
    timestamp: Document[Timestamp] | None = None
    snapshot: Document[Snapshot] | None = None
    targets: Document[Targets] | None = None

    @property
    def root(self) -> Root:
        """The newest one."""
        return self.roots[-1].signed

    @property
    def metadata(self) -> Metadata | None:
        """What devices need of it; None before the first release."""
        if self.timestamp is None or self.snapshot is None or self.targets is None:
            return None
        return Metadata(
            roots=tuple(root.raw for root in self.roots),
            timestamp=self.timestamp.raw,
            snapshot=self.snapshot.raw,
            targets=self.targets.raw,
        )


def read_channel(folder: Path, pinned: bytes | None = None) -> Channel:
    """Read what a channel has. `pinned` is a root that is trusted already: the channel's has to come from it."""
    roots = _read_roots(folder, pinned)
    timestamp = _read(folder, "timestamp.json", Timestamp, roots)
    if timestamp is None:
        return Channel(roots=roots)
    snapshot = _read(folder, f"{timestamp.signed.snapshot_meta.version}.snapshot.json", Snapshot, roots)
    if snapshot is None:
        raise TrustError("the snapshot that the timestamp names is not there", where=str(folder / METADATA))
    version = snapshot.signed.meta["targets.json"].version
    targets = _read(folder, f"{version}.targets.json", Targets, roots)
    if targets is None:
        raise TrustError("the targets that the snapshot names are not there", where=str(folder / METADATA))
    if (snapshot.signed.version, targets.signed.version) != (timestamp.signed.snapshot_meta.version, version):
        raise TrustError("documents with others' names", where=str(folder / METADATA))
    return Channel(roots=roots, timestamp=timestamp, snapshot=snapshot, targets=targets)


def write_metadata(folder: Path, metadata: Metadata) -> None:
    """Put a new state into the channel; files that are there already stay. The timestamp comes last."""
    place = folder / METADATA
    roots = [trust_root(raw).root for raw in metadata.roots]
    newest = roots[-1].signed
    snapshot = read_signed(metadata.snapshot, Snapshot, newest)
    targets = read_signed(metadata.targets, Targets, newest)
    with explain_os_errors(place):
        _write_new(place / f"{targets.signed.version}.targets.json", metadata.targets)
        _write_new(place / f"{snapshot.signed.version}.snapshot.json", metadata.snapshot)
        write_roots(folder, metadata.roots)
        write_atomically(place / "timestamp.json", metadata.timestamp)


def write_roots(folder: Path, roots: tuple[bytes, ...]) -> None:
    """Put roots into the channel, the first of them too."""
    place = folder / METADATA
    with explain_os_errors(place):
        place.mkdir(parents=True, exist_ok=True)
        for number, raw in enumerate(roots, 1):
            _write_new(place / f"{number}.root.json", raw)


@contextmanager
def hold_channel(folder: Path) -> Iterator[None]:
    """One writer at a time."""
    with hold_lock(folder / ".lock", exclusive=True, wait=False) as is_held:
        if not is_held:
            raise StoreError("somebody else writes to this channel just now", where=str(folder))
        yield


def list_roots(folder: Path) -> tuple[int, ...]:
    """The numbers of the roots that are there."""
    try:
        names = [entry.name for entry in (folder / METADATA).iterdir()]
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise StoreError(error.strerror or str(error), where=str(folder)) from error
    return tuple(sorted(int(match[1]) for name in names if (match := _ROOT.fullmatch(name))))


def _read_roots(folder: Path, pinned: bytes | None) -> tuple[Document[Root], ...]:
    numbers = list_roots(folder)
    if not numbers:
        raise StoreError("not a channel: it has no root", where=str(folder), hint=f"wherry channel keys init {folder} --keys DIR")
    if numbers != tuple(range(1, len(numbers) + 1)):
        raise TrustError("roots are missing", where=str(folder / METADATA), hint="restore the channel's folder from its copy")
    raws = [_read_file(folder / METADATA / f"{number}.root.json") or b"" for number in numbers]
    if pinned is not None and pinned not in raws:
        raise TrustError(
            "this channel is not the one that these keys were made for: its roots do not have the keys' root.json",
            where=str(folder),
            hint="look whose channel this is; restore it from its copy if it was tampered with",
        )
    trusted = trust_root(raws[0])
    chain = [trusted.root]
    for raw in raws[1:]:
        trusted = step_root(trusted, raw)
        chain.append(trusted.root)
    return tuple(chain)


def _read(folder: Path, name: str, kind: type[_S], roots: tuple[Document[Root], ...]) -> Document[_S] | None:
    """A document that the newest root vouches for, or the one before it: a change of keys may have stopped halfway."""
    raw = _read_file(folder / METADATA / name)
    if raw is None:
        return None
    try:
        return read_signed(raw, kind, roots[-1].signed)
    except TrustError:
        if len(roots) == 1:
            raise
    return read_signed(raw, kind, roots[-2].signed)


def _read_file(path: Path) -> bytes | None:
    with explain_os_errors(path):
        try:
            with path.open("rb") as file:
                return file.read(_MOST)
        except FileNotFoundError:
            return None


def _write_new(path: Path, data: bytes) -> None:
    if _read_file(path) != data:
        write_atomically(path, data)
