"""The files that an image's root shows of its layers, out of the layers' tars: a base for deltas (`Base` of `delta_decoder`).

Files whose names are not UTF-8 are passed over, as everywhere where a delta's base is listed; devices, links and the like are no
files.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import BinaryIO, cast

from wherry.errors import TrustError
from wherry.formats.delta_index import BaseFile, sort_key
from wherry.formats.tar import EntryKind
from wherry.formats.untar import TarMember, read_members
from wherry.model.digest import Digest
from wherry.store.layer_merge import LayerMerge
from wherry.store.spooled import SliceReader, SpooledFile


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
    merged = LayerMerge[TreeFile](lambda file, path: replace(file, path=path))
    try:
        for tar in tars:
            kept.append(tar)
            merged.add_layer(read_members(tar.chunks(0, tar.size), where, others=True), partial(_read_file, tar))
    except BaseException:
        for tar in kept:
            tar.close()
        raise
    return Tree(merged.names.values(), tuple(kept))


def _read_file(tar: SpooledFile, member: TarMember) -> TreeFile | None:
    if member.kind is not EntryKind.FILE:
        return None
    hasher = hashlib.sha256()
    for chunk in member.content:
        hasher.update(chunk)
    offset, size = member.offset, member.size
    return TreeFile(
        path=member.path,
        size=size,
        mode=member.mode,
        mtime=member.mtime,
        digest=Digest(hasher.hexdigest()),
        open=lambda: cast(BinaryIO, SliceReader(tar, offset, size)),
    )
