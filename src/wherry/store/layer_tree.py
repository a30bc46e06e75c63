"""The files that an image's root shows of its layers, out of the layers' tars: a base for deltas (`Base` of `delta_decoder`).

What a higher layer replaces or whites out no longer counts (OCI image-spec, layer.md). Files whose names are not UTF-8 are
passed over, as everywhere where a delta's base is listed; devices, links and the like are no files.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import BinaryIO, cast

from wherry.errors import TrustError
from wherry.formats.delta_index import BaseFile, sort_key
from wherry.formats.tar import EntryKind
from wherry.formats.untar import TarMember, read_members
from wherry.model.digest import Digest
from wherry.store.spooled import SliceReader, SpooledFile

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeFile(BaseFile):
    """A file of a base, with its digest and how to open it."""

    digest: Digest
    open: Callable[[], BinaryIO]


class Tree:
    """A base: its regular files by path. The decoder's `Base` port."""

    def __init__(self, files: Iterable[TreeFile], tars: tuple[SpooledFile, ...] = ()) -> None:
        self.files = {file.path: file for file in files}
        self._sorted = sorted(self.files, key=sort_key)
        self._tars = tars

    def list_files(self, scope: str, limit: int) -> Iterable[BaseFile]:
        below = f"{scope}/" if scope else ""
        if scope in self.files:
            yield self.files[scope]
        start = bisect_left(self._sorted, sort_key(below), key=sort_key)
        for path in self._sorted[start : start + limit]:
            if not path.startswith(below):
                return
            yield self.files[path]

    def open_file(self, path: str) -> BinaryIO:
        if path not in self.files:
            raise TrustError("the base has no such file", where=path)
        return self.files[path].open()

    def read_file(self, path: str) -> bytes:
        """A whole file; the encoder's, on a machine that has the memory."""
        with closing(self.open_file(path)) as reader:
            return reader.read()

    def close(self) -> None:
        for tar in self._tars:
            tar.close()

    def __enter__(self) -> Tree:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def layered_tree(tars: Iterable[SpooledFile], where: str) -> Tree:
    """What an image's root shows of its layers, the lowest first. The tree closes the tars."""
    kept: list[SpooledFile] = []
    merged = _Merged()
    try:
        for tar in tars:
            kept.append(tar)
            merged.add_layer(tar, where)
    except BaseException:
        for tar in kept:
            tar.close()
        raise
    return Tree(merged.files.values(), tuple(kept))


class _Merged:
    """The layers so far. A layer's whiteouts act on what lies below it, wherever in its tar they stand."""

    def __init__(self) -> None:
        self.files: dict[str, TreeFile] = {}

    def add_layer(self, tar: SpooledFile, where: str) -> None:
        layer = _Layer(self.files, tar)
        for member in read_members(tar.chunks(0, tar.size), where, others=True):
            if member.path:
                layer.add(member)
        self.files = {path: file for path, file in self.files.items() if not layer.hides(path)} | layer.files


class _Layer:
    """What one layer brings, and what it hides."""

    def __init__(self, lower: dict[str, TreeFile], tar: SpooledFile) -> None:
        self.files: dict[str, TreeFile] = {}
        self._lower, self._tar = lower, tar
        self._folders: set[str] = set()
        self._gone: set[str] = set()  # what lies here or below is hidden
        self._opaque: set[str] = set()  # what lies below is hidden

    def add(self, member: TarMember) -> None:
        folder = member.path.rpartition("/")[0]
        if f"/{member.path}".find(f"/{_WHITEOUT}") >= 0:
            self._hide(member.path)
        else:
            self._add_folders(member.path if member.kind is EntryKind.DIRECTORY else folder)
            if member.kind is not EntryKind.DIRECTORY:
                self._place(member)

    def _hide(self, path: str) -> None:
        """A whiteout; what lies below one is nothing."""
        at = f"/{path}".index(f"/{_WHITEOUT}")
        folder, name = path[:at].rstrip("/"), path[at:].split("/")[0]
        self._add_folders(folder)
        if name == _OPAQUE:
            self._opaque.add(folder)
        else:
            self._gone.add(f"{folder}/{name[len(_WHITEOUT) :]}".lstrip("/"))

    def hides(self, path: str) -> bool:
        """Whether a lower layer's file is no longer seen."""
        if path in self.files or path in self._gone or path in self._folders or "" in self._opaque:
            return True
        return any(above in self._gone or above in self._opaque for above in _folders_above(path))

    def _place(self, member: TarMember) -> None:
        path = member.path
        if path in self._folders:
            below = f"{path}/"
            self._folders = {known for known in self._folders if known != path and not known.startswith(below)}
            self.files = {known: file for known, file in self.files.items() if not known.startswith(below)}
        self._gone.add(path)
        self.files.pop(path, None)
        if member.kind is EntryKind.FILE:
            hasher = hashlib.sha256()
            for chunk in member.content:
                hasher.update(chunk)
            self.files[path] = _slice_file(member, self._tar, Digest(hasher.hexdigest()))
        elif member.kind is EntryKind.HARDLINK:
            meant = self.files.get(_plain(member.link)) or self._lower.get(_plain(member.link))
            if meant:
                self.files[path] = replace(meant, path=path)

    def _add_folders(self, path: str) -> None:
        for folder in (path, *_folders_above(path)) if path else ():
            if folder in self._folders:
                return
            self.files.pop(folder, None)
            self._folders.add(folder)


def _folders_above(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _plain(link: str) -> str:
    return "/".join(part for part in link.split("/") if part not in ("", "."))


def _slice_file(member: TarMember, tar: SpooledFile, digest: Digest) -> TreeFile:
    offset, size = member.offset, member.size
    return TreeFile(
        path=member.path,
        size=size,
        mode=member.mode,
        mtime=member.mtime,
        digest=digest,
        open=lambda: cast(BinaryIO, SliceReader(tar, offset, size)),
    )
