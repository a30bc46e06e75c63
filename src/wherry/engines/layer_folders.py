"""An image's files out of its layers' folders, as the overlay file system would show them: a base for deltas, with no mount.

Engines that keep layers as folders (overlay2, containerd's overlayfs, our own roots) are read in place. Knows the kernel's
whiteouts (a character device 0:0) and opaque folders (an extended attribute), and those that layers are carried with
(``.wh.NAME``, ``.wh..wh..opq``). What only the kernel can put together (redirected folders, files without their data) is
refused. Links are never followed; nothing is written.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from wherry.errors import EngineError, TrustError
from wherry.formats.delta_index import BaseFile
from wherry.store.folder_tree import FolderBase

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_PREFIXES = ("trusted.overlay.", "user.overlay.")
_MAX_DEPTH = 256

Entry = os.DirEntry[str]


class LayersBase:
    """The regular files of layers that lie over each other, the topmost first (`Base` of `delta_decoder`)."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._layers = tuple(map(FolderBase, folders))
        self._found: dict[str, int] = {}  # path → number of the layer that shows it

    def list_files(self, scope: str, limit: int) -> Iterator[BaseFile]:
        """Regular files at or below `scope` (the empty one: all), at most `limit`, in any order."""
        for number, (layer, file) in enumerate(self._walk_scope(scope)):
            if number == limit:
                return
            self._found[file.path] = layer
            yield file

    def open_file(self, path: str) -> BinaryIO:
        """A seekable reader of a file; one that is not there, or no regular file, is a `TrustError`."""
        if path not in self._found:
            for _ in self.list_files(path, 1):
                pass
        if path not in self._found:
            raise TrustError("no regular file of the base", where=path, hint="take the full image")
        file = self._layers[self._found[path]].open_file(path)
        try:
            if _has_attribute(file.fileno(), "metacopy"):
                raise EngineError("a file whose data lies in another layer", where=path)
        except BaseException:
            file.close()
            raise
        return file

    def _walk_scope(self, scope: str) -> Iterator[tuple[int, BaseFile]]:
        """Go down to `scope` one name at a time, so that what hides it on the way is seen."""
        places: list[tuple[int, str]] = [(number, str(layer.root)) for number, layer in enumerate(self._layers)]
        parts = scope.split("/") if scope else []
        for depth, part in enumerate(parts):
            shown = dict(_merge_folders(places)).get(part)
            if shown is None or part in (".", ".."):
                return
            layer, top = shown[0]
            if not top.is_dir(follow_symlinks=False):
                if depth == len(parts) - 1 and top.is_file(follow_symlinks=False):
                    yield layer, _describe(top, scope)
                return
            places = [(number, entry.path) for number, entry in shown]
        yield from _walk(places, scope, 0)


def _walk(places: list[tuple[int, str]], path: str, depth: int) -> Iterator[tuple[int, BaseFile]]:
    if depth > _MAX_DEPTH:
        return
    for name, shown in _merge_folders(places):
        inner = f"{path}/{name}" if path else name
        layer, top = shown[0]
        if top.is_dir(follow_symlinks=False):
            yield from _walk([(number, entry.path) for number, entry in shown], inner, depth + 1)
        elif top.is_file(follow_symlinks=False):
            yield layer, _describe(top, inner)


def _merge_folders(places: list[tuple[int, str]]) -> Iterator[tuple[str, list[tuple[int, Entry]]]]:
    """What the folders, the topmost first, show together: each name with the entries that make it up."""
    shown: dict[str, list[tuple[int, Entry]]] = {}
    closed: set[str] = set()  # names of which no lower layer shows anything more
    for number, place in places:
        entries = _scan(place)
        hidden = {entry.name[len(_WHITEOUT) :] for entry in entries if entry.name.startswith(_WHITEOUT)}
        opaque = _OPAQUE in {entry.name for entry in entries} or _is_opaque(place)
        for entry in entries:
            if entry.name in closed or entry.name.startswith(_WHITEOUT) or not _is_unicode(entry.name):
                continue
            is_folder = entry.is_dir(follow_symlinks=False)
            if not _is_whiteout(entry) and (is_folder or entry.name not in shown):
                shown.setdefault(entry.name, []).append((number, entry))
            if not is_folder:
                closed.add(entry.name)
        closed |= hidden
        if opaque:
            break
    yield from sorted(shown.items())


def _scan(place: str) -> list[Entry]:
    try:
        with os.scandir(place) as scan:
            return list(scan)
    except OSError as error:
        raise EngineError(f"cannot read the engine's files: {error.strerror}", where=place) from error


def _is_whiteout(entry: Entry) -> bool:
    if entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False) or entry.is_symlink():
        return False
    state = entry.stat(follow_symlinks=False)
    return stat.S_ISCHR(state.st_mode) and state.st_rdev == 0


def _is_opaque(place: str) -> bool:
    if _has_attribute(place, "redirect"):
        raise EngineError("a folder whose files lie under another name", where=place)
    return _has_attribute(place, "opaque", b"y")


def _has_attribute(place: str | int, name: str, value: bytes | None = None) -> bool:
    for prefix in _PREFIXES:
        try:
            found = os.getxattr(place, prefix + name)
        except OSError:
            continue
        if value is None or found == value:
            return True
    return False


def _describe(entry: Entry, path: str) -> BaseFile:
    state = entry.stat(follow_symlinks=False)
    return BaseFile(path=path, size=state.st_size, mode=state.st_mode & 0o7777, mtime=state.st_mtime_ns // 10**9)


def _is_unicode(name: str) -> bool:
    return not any("\udc80" <= letter <= "\udcff" for letter in name)
