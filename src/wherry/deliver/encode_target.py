"""A layer's tar as the encoder sees it: which contents lie where, and whether its headers follow from its entries.

A tar that cannot be read (docs: `untar` says what it refuses) has no contents here; it is sent as a whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from wherry.deliver.matching import Wanted
from wherry.errors import FormatError
from wherry.formats.delta import ReadAt
from wherry.formats.delta_bytes import subtract_bytes
from wherry.formats.delta_headers import MOST, HeaderModel, name_piece
from wherry.formats.delta_index import BaseFile, Piece, sort_key
from wherry.formats.tar import BLOCK, EntryKind, TarEntry, add_parents, stream_tar
from wherry.formats.untar import read_members
from wherry.model.digest import Digest
from wherry.store.spooled import SpooledFile

_IMPLIED_MODE = 0o755  # of a folder that stands only because something lies below it


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetFile(Wanted):
    """A regular file of the target; `offset` is where its content lies in the tar."""

    offset: int


class Target:
    """One layer. `pieces` have no source yet; `files` are their regular files in the same order."""

    def __init__(self, tar: SpooledFile, name: str = "") -> None:
        self.tar, self.name = tar, name
        self.readable, self.derived = True, False
        self.files: tuple[TargetFile, ...] = ()
        self.pieces: tuple[Piece, ...] = ()
        try:
            self._scan()
        except FormatError:
            self.readable = False

    def read(self, file: TargetFile) -> bytes:
        return self.tar.read(file.offset, file.size)

    def reader(self, file: TargetFile) -> ReadAt:
        """Reads a part of a file."""
        return lambda offset, size: self.tar.read(file.offset + offset, size)

    def skeleton(self, bases: Iterable[BaseFile | None]) -> Iterator[bytes]:
        """All bytes between the files, less what is guessed of them. `bases` are the files' own, in their order."""
        model, at, padding = HeaderModel(), 0, 0
        for file, base in zip(self.files, bases, strict=True):
            told = max(0, file.offset - at - MOST)
            yield from self.tar.chunks(at, told)
            gap, named = self.tar.read(at + told, file.offset - at - told), name_piece(file.size, base)
            yield subtract_bytes(gap, model.guess(len(gap), 0 if told else padding, named))
            model.learn(gap, named)
            at, padding = file.offset + file.size, -file.size % BLOCK
        yield from self.tar.chunks(at)

    def _scan(self) -> None:
        files, entries = [], []
        for member in read_members(self.tar.chunks(0, self.tar.size), self.name or "layer", others=True):
            entry = TarEntry(path=member.path, kind=member.kind, mode=member.mode, size=member.size, link=member.link)
            if member.kind is EntryKind.FILE:
                hasher = hashlib.sha256()
                for chunk in member.content:
                    hasher.update(chunk)
                digest = Digest(hasher.hexdigest())
                files.append(TargetFile(path=member.path, size=member.size, digest=digest, offset=member.offset))
            entries.append(entry)
        if self._derive(entries, files):
            return
        self.files = tuple(files)
        ends = [0, *(file.offset + file.size for file in files)]
        self.pieces = tuple(
            Piece(size=file.size, source=None, gap=file.offset - end) for file, end in zip(files, ends, strict=False)
        )

    def _derive(self, entries: list[TarEntry], files: list[TargetFile]) -> bool:
        """Whether writing the entries anew gives this very tar; if so, they are what is told."""
        by_path = {file.path: file for file in files}
        parents = {parent for entry in entries for parent in _parents(entry.path)}
        told = [
            entry
            for entry in entries
            if entry.kind is not EntryKind.DIRECTORY or entry.mode != _IMPLIED_MODE or entry.path not in parents
        ]
        if not all(entry.path and entry.kind is not EntryKind.OTHER for entry in told):
            return False
        whole = [replace(entry, content=self._open(by_path.get(entry.path))) for entry in told]
        hasher = hashlib.sha256()
        try:
            for chunk in stream_tar(add_parents(whole)):
                hasher.update(chunk)
        except FormatError:
            return False
        if hasher.hexdigest() != self.tar.diff_id.hex:
            return False
        ordered = sorted(told, key=lambda entry: sort_key(entry.path))
        self.derived = True
        self.files = tuple(by_path[entry.path] for entry in ordered if entry.kind is EntryKind.FILE)
        self.pieces = tuple(
            Piece(size=entry.size, source=None, path=entry.path, kind=entry.kind, mode=entry.mode, link=entry.link)
            for entry in ordered
        )
        return True

    def _open(self, file: TargetFile | None) -> bytes | Callable[[], Iterator[bytes]]:
        if file is None:
            return b""
        offset, size = file.offset, file.size
        return lambda: self.tar.chunks(offset, size)


def _parents(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path
