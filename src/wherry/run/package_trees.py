"""Packages unpacked once, in the cache, and linked into every environment that has them.

A tree lies at ``trees/<sha256>/<minor>/``: `files/`, laid out as below an environment's prefix, and `stamps.json`. It
appears whole or not at all; each file was checked against its package's own list while it was written. Whoever edits a file
of an environment edits the tree's, for they are one: so a tree is looked over before it is used again (size, time and mode
of each file), and unpacked anew when it is not as it was written.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from wherry.errors import StoreError
from wherry.formats.tar import EntryKind, TarEntry
from wherry.model.digest import Digest
from wherry.store.folders import make_folder
from wherry.store.posix import clone_file, explain_os_errors, hold_lock

_STAMPS = "stamps.json"
# Per path: size, time in ns, mode.
_Stamps = Mapping[str, Sequence[int]]
_MAKE_ROOM = "free some space, or WHERRY_CACHE on another disk"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPackage:
    """A package's files with paths below the prefix: its `own`, which are those of its list and the same everywhere (None:
    those that its tree has), and the `generated`, which name this environment. Those in `dropped` another package brings."""

    sha256: Digest
    own: tuple[TarEntry, ...] | None
    generated: tuple[TarEntry, ...]
    dropped: frozenset[str] = frozenset()


class MissingTreeError(StoreError):
    """A tree is not there as it was written, and only its package can tell what was in it."""


class PackageTrees:
    """The trees of one cache, held by `open_trees`. `copy` gives environments files of their own instead of links."""

    def __init__(self, folder: Path, minor: str, *, copy: bool) -> None:
        self._folder = folder
        self._minor = minor
        self._copy = copy
        self._made: set[str] = set()  # folders

    def lay_out(self, planned: PlannedPackage, prefix: Path) -> None:
        """Put a package's files below `prefix`; folders are made."""
        tree, stamps = self._tree_of(planned)
        linked = [path for path in stamps if path not in planned.dropped]
        written = [entry for entry in planned.generated if entry.path not in planned.dropped]
        with explain_os_errors(prefix, _MAKE_ROOM):
            paths = (*linked, *(entry.path for entry in written))
            self._make_folders(prefix, {path.rpartition("/")[0] for path in paths})
            for path in linked:
                clone_file(f"{tree}/{path}", f"{prefix}/{path}", link=not self._copy)
            for entry in written:
                write_entry(entry, prefix / entry.path)

    def _make_folders(self, prefix: Path, folders: set[str]) -> None:
        """Each is asked for once: there are hundreds, and packages share many."""
        for folder in sorted(folders):
            parts = folder.split("/")
            for depth in range(1, len(parts) + 1):
                place = f"{prefix}/{'/'.join(parts[:depth])}"
                if place not in self._made:
                    self._made.add(place)
                    with suppress(FileExistsError):
                        os.mkdir(place)  # noqa: PTH102 - text is quicker

    def _tree_of(self, planned: PlannedPackage) -> tuple[Path, _Stamps]:
        final = self._folder / planned.sha256.hex / self._minor
        stamps = _read_sound(final)
        if planned.own is None:
            if stamps is None:
                raise MissingTreeError("is not as it was written", where=str(final))
        elif stamps is None or not _has_all(stamps, planned.own):
            shutil.rmtree(final, ignore_errors=True)
            with explain_os_errors(self._folder, _MAKE_ROOM), make_folder(final) as making:
                stamps = _unpack(planned.own, making)
        return final / "files", stamps


@contextmanager
def open_trees(cache: Path, minor: str, *, copy: bool = False) -> Iterator[PackageTrees]:
    """The trees of the cache, for one process at a time."""
    folder = cache / "trees"
    with explain_os_errors(folder, _MAKE_ROOM):
        folder.mkdir(parents=True, exist_ok=True)
    with hold_lock(folder / "use.lock", exclusive=True):
        yield PackageTrees(folder, minor, copy=copy)


def _unpack(files: Sequence[TarEntry], folder: Path) -> _Stamps:
    stamps: dict[str, tuple[int, int, int]] = {}
    for entry in files:
        target = folder / "files" / entry.path
        target.parent.mkdir(parents=True, exist_ok=True)
        write_entry(entry, target)
        state = target.stat()
        stamps[entry.path] = (state.st_size, state.st_mtime_ns, state.st_mode & 0o777)
    (folder / _STAMPS).write_text(json.dumps(stamps), encoding="utf-8")
    return stamps


def write_entry(entry: TarEntry, target: Path) -> None:
    """Write one file or link that must not be there yet."""
    if entry.kind is EntryKind.SYMLINK:
        target.symlink_to(entry.link)
        return
    written = 0
    with target.open("xb") as file:
        for chunk in (entry.content,) if isinstance(entry.content, bytes) else entry.content():
            written += file.write(chunk)
    if written != entry.size:
        raise StoreError(f"{written} bytes instead of {entry.size}", where=str(target))
    target.chmod(entry.mode)


def _read_sound(tree: Path) -> _Stamps | None:
    """What a tree was written with, if all of it is still so."""
    try:
        stamps: _Stamps = json.loads((tree / _STAMPS).read_text(encoding="utf-8"))
        for path, (size, time, mode) in stamps.items():
            state = os.lstat(f"{tree}/files/{path}")
            if state.st_size != size or state.st_mtime_ns != time or state.st_mode & 0o777 != mode:
                return None
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    return stamps


def _has_all(stamps: _Stamps, files: Sequence[TarEntry]) -> bool:
    return len(stamps) == len(files) and all(
        (stamp := stamps.get(entry.path)) is not None and (stamp[0], stamp[2]) == (entry.size, entry.mode) for entry in files
    )
