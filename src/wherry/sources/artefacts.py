"""Finds a locked file again by its sha256 (docs/spec/lock.md, "Finding a file again").

Looked for in this order: the cache; the folders given by `--find`; where it was when it was locked; the indexes that
this machine's uv and pip configuration names. What comes is believed only when its sha256 and size are the locked ones,
is synced, and renamed to its place. A file in the cache was verified when it came in. What is nowhere may be built again,
if it was built.

Thread-safe; `fetch_all` fetches several at once.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from wherry.errors import FormatError, LockError, StoreError, TransferError, WherryError
from wherry.formats.simple_index import IndexFile
from wherry.model.digest import Digest
from wherry.model.lock import LockedWheel
from wherry.model.progress import Progress, be_silent
from wherry.sources.python_index import list_files
from wherry.sources.seen_urls import SeenUrls
from wherry.sources.transport import MissingError, Transport
from wherry.sources.uv_program import Indexes
from wherry.store.parallel import run_jobs

AT_ONCE = 8

# Builds a file of this name and digest again and gives its place in the cache; None for what was never built.
Rebuild = Callable[[str, Digest], Path | None]


def rebuild_nothing(_file: str, _sha256: Digest) -> Path | None:
    """For who builds nothing."""
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    file: str
    sha256: Digest
    size: int
    name: str
    version: str

    @classmethod
    def of(cls, wheel: LockedWheel) -> _Wanted:
        return cls(file=wheel.file, sha256=wheel.sha256, size=wheel.size, name=wheel.name, version=wheel.version)

    def may_be(self, found: IndexFile) -> bool:
        """A file that claims the digest, whatever its name; or one of the name that claims none."""
        return found.sha256 == self.sha256 or (found.sha256 is None and found.file == self.file)


class ArtefactFinder:
    """`ask_indexes` is called at most once, and only when a file is in none of the earlier places."""

    def __init__(
        self,
        cache: Path,
        transport: Transport,
        ask_indexes: Callable[[], Indexes],
        *,
        find: Sequence[Path] = (),
        progress: Progress = be_silent,
        rebuild: Rebuild = rebuild_nothing,
    ) -> None:
        self._cache = cache
        self._rebuild = rebuild
        self._transport = transport
        self._ask_indexes = ask_indexes
        self._find = tuple(find)
        self._progress = progress
        self._seen = SeenUrls(cache)
        self._guard = threading.Lock()
        self._indexes: Indexes | None = None

    def fetch_all(self, wheels: Sequence[LockedWheel]) -> list[Path]:
        """Fetch in parallel; the result has the order of `wheels`. The first error, or Ctrl-C, ends all of them."""
        missing = [wheel for wheel in wheels if not self._is_cached(self.path_of(wheel.file, wheel.sha256), wheel.size)]
        stopped = threading.Event()

        def tell(file: str, done: int, total: int) -> None:
            if stopped.is_set():
                raise TransferError("stopped", where=file)
            self._progress(file, done, total)

        greatest_first = sorted(missing, key=lambda wheel: -wheel.size)
        run_jobs((partial(self._fetch, _Wanted.of(wheel), tell) for wheel in greatest_first), AT_ONCE, stopped)
        return [self.path_of(wheel.file, wheel.sha256) for wheel in wheels]

    def fetch_wheel(self, wheel: LockedWheel) -> Path:
        """The path of a wheel in the cache, fetched when it is not there yet."""
        return self._fetch(_Wanted.of(wheel), self._progress)

    def fetch(self, file: str, sha256: Digest, size: int, name: str, version: str) -> Path:
        """The same for any file of a Python package."""
        return self._fetch(_Wanted(file=file, sha256=sha256, size=size, name=name, version=version), self._progress)

    def _fetch(self, wanted: _Wanted, progress: Progress) -> Path:
        target = self.path_of(wanted.file, wanted.sha256)
        if self._is_cached(target, wanted.size):
            return target
        problems: list[WherryError] = []
        for url in self._places(wanted, problems):
            try:
                self._transport.download(url, target, wanted.sha256, wanted.size, progress)
            except TransferError as error:
                problems.append(error)
                continue
            return target
        rebuilt = self._rebuild(wanted.file, wanted.sha256)
        if rebuilt is None:
            raise _not_found(wanted, problems)
        return rebuilt

    def drop_damaged(self, wheels: Sequence[LockedWheel]) -> tuple[str, ...]:
        """Remove what in the cache is no longer what was put there; gives the files' names.

        Files are verified when they come in, and found by size later: this is for when one of them cannot be read.
        """
        damaged = []
        for wheel in wheels:
            path = self.path_of(wheel.file, wheel.sha256)
            try:
                with path.open("rb") as file:
                    sound = hashlib.file_digest(file, "sha256").hexdigest() == wheel.sha256.hex
            except FileNotFoundError:
                continue
            except OSError as error:
                raise StoreError(f"cannot be read: {error.strerror}", where=str(path)) from error
            if not sound:
                path.unlink(missing_ok=True)
                damaged.append(wheel.file)
        return tuple(damaged)

    def path_of(self, file: str, sha256: Digest) -> Path:
        return self._cache / "artefacts" / "sha256" / sha256.hex / file

    def _places(self, wanted: _Wanted, problems: list[WherryError]) -> Iterator[str]:
        for folder in self._find:
            for path in (folder / wanted.file, folder / wanted.sha256.hex / wanted.file):
                if path.is_file():
                    yield path.resolve().as_uri()
        seen = self._seen.find(wanted.sha256)
        if seen is not None:
            yield seen.url
        for place in self._known_indexes().one_by_one():
            try:
                files = list(list_files(place, self._transport, wanted.name))
            except (TransferError, FormatError) as error:
                problems.append(error)
                continue
            yield from (found.url for found in files if wanted.may_be(found))

    def _known_indexes(self) -> Indexes:
        with self._guard:
            if self._indexes is None:
                self._indexes = self._ask_indexes()
            return self._indexes

    @staticmethod
    def _is_cached(path: Path, size: int) -> bool:
        try:
            return path.stat().st_size == size
        except OSError:
            return False


def _not_found(wanted: _Wanted, problems: Sequence[WherryError]) -> WherryError:
    """The network's fault when a server failed; the lock's when each one answered that it has it not."""
    for problem in problems:
        if not isinstance(problem, MissingError):
            return problem
    return LockError(
        f"{wanted.name} {wanted.version} is nowhere to be found: {wanted.file}",
        where="wherry.lock",
        hint=f"wherry lock --upgrade-package {wanted.name}, or --find DIR with a folder that has the file",
    )
