"""Which file of the base is most like a file of the target: the same bytes, the same path, the same path but for versions
and wheel-repair suffixes, or the same pieces of content. Only reads the candidates' contents; safe for threads.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from heapq import nsmallest
from threading import Lock
from zlib import crc32

from wherry.formats.delta_index import BaseFile
from wherry.model.digest import Digest

# libopenblas-1a2b3c4d.so.0, numpy-2.4.6.dist-info, libssl.so.3.0.15, model_20240131.pkl, x.cpython-311.pyc
_REPAIR = re.compile(r"-[0-9a-f]{8}(?=\.so|\.)|\.cpython-[0-9]+|-?cp[0-9]{2,3}")
_DIGITS = re.compile(r"[0-9]+(?:[._+~-]?[0-9]+)*")
_PIECE = re.compile(rb"[^\n\0]{8,}")
_SKETCH = 96  # piece hashes kept of a file
_ENOUGH = 6  # common pieces that make two files alike
MAX_SKETCHED = 8 << 20  # bytes of a file that is compared by its pieces


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A file of the target."""

    path: str
    size: int
    digest: Digest


class Matcher:
    """Finds base files. `read` gives a base file's bytes, `files` are all that may be named, with their digests."""

    def __init__(self, files: Mapping[str, BaseFile], digests: Mapping[str, Digest], read: Callable[[str], bytes]) -> None:
        self._files, self._digests, self._read = files, digests, read
        self._sketches: dict[str, tuple[int, ...]] = {}
        self._sketching = Lock()
        self._by_digest: dict[Digest, list[str]] = defaultdict(list)
        self._by_plain: dict[str, list[str]] = defaultdict(list)
        for path in sorted(files):
            self._by_digest[digests[path]].append(path)
            self._by_plain[strip_versions(path)].append(path)

    def find_equal(self, wanted: Wanted) -> str | None:
        """A base file of the same bytes, that of the same path if there is one."""
        paths = self._by_digest.get(wanted.digest, [])
        if wanted.path in paths:
            return wanted.path
        return _nearest(wanted.path, paths)

    def find_by_path(self, wanted: Wanted) -> str | None:
        """The base file of the same path, or of the same path without versions."""
        if wanted.path in self._files:
            return wanted.path
        return _nearest(wanted.path, self._by_plain.get(strip_versions(wanted.path), []))

    def find_alike(self, wanted: Iterable[tuple[Wanted, bytes]], kept: frozenset[Digest]) -> dict[str, str]:
        """For each file, the base file with which it shares most pieces; files that the target keeps as they are count less."""
        asked = [(file, data) for file, data in wanted if len(data) <= MAX_SKETCHED]
        if not asked:
            return {}
        suffixes = {suffix_of(file.path) for file, _ in asked}
        index: dict[int, list[str]] = defaultdict(list)
        for path, file in sorted(self._files.items()):
            if suffix_of(path) in suffixes and 0 < file.size <= MAX_SKETCHED and self._digests[path] not in kept:
                for piece in self._sketch_base(path):
                    index[piece].append(path)
        found = {}
        for asked_file, data in asked:
            votes = Counter(path for piece in sketch(data) for path in index.get(piece, ()))
            best = min(votes.items(), key=lambda vote: (-vote[1], vote[0]), default=None)
            if best and best[1] >= _ENOUGH:
                found[asked_file.path] = best[0]
        return found

    def _sketch_base(self, path: str) -> tuple[int, ...]:
        """A base file's sketch: taken once, whatever the number of layers that ask for it."""
        with self._sketching:
            if path not in self._sketches:
                self._sketches[path] = sketch(self._read(path))
            return self._sketches[path]


def strip_versions(path: str) -> str:
    """A path without what a new version changes in it."""
    return _DIGITS.sub("#", _REPAIR.sub("", path))


def suffix_of(path: str) -> str:
    name = path.rpartition("/")[2]
    return ".so" if ".so" in name else name.rpartition(".")[2] if "." in name else ""


def sketch(data: bytes) -> tuple[int, ...]:
    """The smallest hashes of a file's lines or strings: what two versions of it have in common."""
    return tuple(nsmallest(_SKETCH, map(crc32, {*_PIECE.findall(data)})))


def _nearest(path: str, candidates: list[str]) -> str | None:
    """The candidate whose path begins most like this one; of equals the first."""
    if not candidates:
        return None
    return max(candidates, key=lambda other: (_shared(path, other), [-ord(letter) for letter in other[:64]]))


def _shared(left: str, right: str) -> int:
    return next((at for at, pair in enumerate(zip(left, right, strict=False)) if pair[0] != pair[1]), min(len(left), len(right)))
