"""Objects that were downloaded, kept on this machine by digest and shared by all that need them: one download for all.

    data/SHA256               the bytes, read-only, with a time of last change that says that nobody touched them since
    known/KEY                 which digest an address had, by address, version and size
    parts/KEY.part            what is under way, with its journal; whoever holds locks/KEY goes on with it
    views/NAME.OWN/…          what one attempt sees: second names of the data, so that pruning takes nothing away from it

Rules: a file is made whole, verified, made durable, and then renamed. A second name is given only to what has its mark (its time)
and its size: what a task altered is removed and downloaded again. Least recently used data goes first when room is needed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from wherry.errors import TrustError
from wherry.store.object_download import ObjectSource, Progress, Traffic, download_object
from wherry.store.part_file import ObjectFacts, PartFile
from wherry.store.posix import clone_file, explain_os_errors, hold_lock, sync_folder, write_hint

_MARK = 315532800_000_000_000  # 1980-01-01, in nanoseconds: no file has it by chance
_RESERVE = 256 << 20  # bytes that stay free on the disk, if pruning can do it
_MAKE_ROOM = "free some space there, or WHERRY_CACHE on another disk"
_WAIT = 0.1
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """`version` is None where it was not asked for, because a digest was said; `moved` are bytes of the network."""

    size: int
    sha256: str
    version: str | None = None
    moved: int = 0


class InputCache:
    """The cache at `root`. `cap` is how many bytes of data are kept; None: half as many as the whole disk has."""

    def __init__(self, root: Path, traffic: Traffic, cap: int | None = None) -> None:
        self._root = root
        self._traffic = traffic
        self._data, self._locks, self._views = root / "data", root / "locks", root / "views"
        with explain_os_errors(root):
            for folder in (self._data, self._locks, self._views, root / "parts", root / "known"):
                folder.mkdir(parents=True, exist_ok=True)
            self._cap = cap if cap is not None else shutil.disk_usage(root).total // 2

    def fetch(
        self, source: ObjectSource, target: Path, sha256: str | None = None, progress: Progress = lambda *_: None
    ) -> Fetched | None:
        """Give the object the name `target`, which must lie in a view; None where there is no such object.

        `sha256`: no other bytes will do (`TrustError`), and where they are here already nobody is asked.
        """
        if sha256 and (size := self._link(sha256, target)) is not None:
            return Fetched(size=size, sha256=sha256)
        facts = self._traffic.persist(source.describe)
        if facts is None:
            return None
        with self._turn(_name(source.address)):
            known = sha256 or self._recall(source, facts)
            if known and (size := self._link(known, target)) is not None:
                return Fetched(size=size, sha256=known, version=facts.version)
            return self._download(source, facts, target, sha256, progress)

    @contextmanager
    def open_views(self, name: str) -> Iterator[Path]:
        """A folder for names of data, gone in the end. Those of owners that were killed go now."""
        self._clear_views()
        folder = self._views / f"{name}.{os.urandom(4).hex()}"
        with hold_lock(self._locks / f"{folder.name}.view", exclusive=True):
            with explain_os_errors(folder, _MAKE_ROOM):
                folder.mkdir()
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
                (self._locks / f"{folder.name}.view").unlink(missing_ok=True)

    def prune(self, needed: int) -> None:
        """Remove what was used longest ago and nobody uses now, until there is room for `needed` bytes more."""
        with hold_lock(self._locks / "prune", exclusive=True), explain_os_errors(self._root):
            data = [(path, path.stat()) for path in self._data.iterdir()]
            total = sum(state.st_size for _, state in data)
            unused = [(state.st_atime_ns, state.st_size, path) for path, state in data if state.st_nlink == 1]
            for _, size, path in sorted(unused):
                if self._has_room(needed) and total + needed <= self._cap:
                    return
                path.unlink()
                total -= size
            for path in sorted(self._root.glob("parts/*.part"), key=lambda part: part.stat().st_mtime_ns):
                if self._has_room(needed):
                    return
                with hold_lock(self._locks / path.stem, exclusive=True, wait=False) as alone:
                    if alone:
                        path.unlink()

    def _has_room(self, needed: int) -> bool:
        return shutil.disk_usage(self._root).free >= needed + _RESERVE

    def _download(self, source: ObjectSource, facts: ObjectFacts, target: Path, sha256: str | None, progress: Progress) -> Fetched:
        name = _name(source.address)
        self.prune(facts.size)
        part = PartFile(self._root / "parts" / f"{name}.part", source.address, facts)
        try:
            got = download_object(source, facts, part, self._traffic, progress)
        finally:
            part.close()
        if sha256 not in (None, got.sha256):
            part.discard()
            what = f"it has the digest {got.sha256}, and not {sha256} as was said"
            raise TrustError(what, where=source.address, hint="find out which is right, and whether somebody changed it")
        with hold_lock(self._locks / "prune", exclusive=False), explain_os_errors(self._data, _MAKE_ROOM):
            part.path.chmod(0o444)
            os.utime(part.path, ns=(time.time_ns(), _MARK))
            part.path.replace(self._data / got.sha256)
            sync_folder(self._data)
            _name_again(self._data / got.sha256, target)
        part.discard()
        if facts.version:
            write_hint(self._root / "known" / _key(source, facts), json.dumps({"format": 1, "sha256": got.sha256}).encode())
        return Fetched(size=facts.size, sha256=got.sha256, version=facts.version, moved=got.moved)

    def _recall(self, source: ObjectSource, facts: ObjectFacts) -> str | None:
        """The digest that this version had when it was downloaded."""
        if facts.version is None:
            return None
        try:
            found = str(json.loads((self._root / "known" / _key(source, facts)).read_bytes())["sha256"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found if _DIGEST.fullmatch(found) else None

    def _link(self, sha256: str, target: Path) -> int | None:
        """Give data a second name; its size, or None where it is not here or no longer what it was."""
        path = self._data / sha256
        with hold_lock(self._locks / "prune", exclusive=False), explain_os_errors(path, _MAKE_ROOM):
            try:
                state = path.lstat()
            except FileNotFoundError:
                return None
            if not stat.S_ISREG(state.st_mode) or state.st_mtime_ns != _MARK:
                path.unlink(missing_ok=True)
                return None
            os.utime(path, ns=(time.time_ns(), _MARK))
            _name_again(path, target)
            return state.st_size

    @contextmanager
    def _turn(self, name: str) -> Iterator[None]:
        """Hold a lock, and while somebody else has it look whether to end."""
        with ExitStack() as held:
            while not held.enter_context(hold_lock(self._locks / name, exclusive=True, wait=False)):
                held.close()
                self._traffic.check()
                time.sleep(_WAIT)
            yield

    def _clear_views(self) -> None:
        with suppress(OSError):
            for folder in self._views.iterdir():
                lock = self._locks / f"{folder.name}.view"
                with hold_lock(lock, exclusive=True, wait=False) as alone:
                    if alone:
                        shutil.rmtree(folder, ignore_errors=True)
                        lock.unlink(missing_ok=True)


def _name(address: str) -> str:
    return hashlib.sha256(address.encode("utf-8", "surrogateescape")).hexdigest()


def _key(source: ObjectSource, facts: ObjectFacts) -> str:
    return _name(f"{source.address}\0{facts.version}\0{facts.size}")


def _name_again(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    clone_file(str(path), str(target), link=True)
