"""An image's root, put together from the facts of its layers, or a folder of this machine with the machine around it.

What a higher layer replaces or whites out no longer counts (OCI image-spec, layer.md). Links are followed within the
root, as a process in the container would; a loop or a link to nothing leads nowhere. Paths have no leading slash.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from wherry.check.facts import FILE, FOLDER, HARDLINK, SYMLINK, Entry, Facts
from wherry.check.scan import LINKER_CACHE, Scanner
from wherry.errors import FormatError
from wherry.formats.elf import ElfFile

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_MAX_LINKS = 40
_MAX_FOLDERS = 1 << 28  # characters of all folders' names


class Tree(Protocol):
    """What can be asked of a root."""

    @property
    def entries(self) -> Mapping[str, Entry]:
        """What was read and is to be judged; the questions below also reach what lies around it."""

    def resolve(self, path: str) -> str | None:
        """Where a path leads once links are followed; None where there is nothing."""

    def find_elf(self, path: str) -> ElfFile | None:
        """The ELF file at a path, which is resolved already; None where there is none, or a broken one."""

    def read_text(self, path: str) -> str | None:
        """A small document that `scan` reads."""

    def linker_cache(self) -> Mapping[str, tuple[str, ...]] | None:
        """Of each library's name the paths that ld.so.cache has; None without one."""

    def gather(self) -> Iterator[tuple[str, Facts]]:
        """Every path that is to be judged, with the facts that it stands in."""


class LayeredTree:
    """The root that layers show, the lowest first."""

    def __init__(self, layers: Iterable[Facts]) -> None:
        self._facts: dict[str, Facts] = {}
        self.entries: dict[str, Entry] = {}
        self._folders: set[str] = {""}
        self._spent = 0  # characters of the folders' names
        for layer in layers:
            self._lay_over(layer)
        self._resolved: dict[str, str | None] = {}

    def resolve(self, path: str) -> str | None:
        if path not in self._resolved:
            self._resolved[path] = self._follow(path)
        return self._resolved[path]

    def find_elf(self, path: str) -> ElfFile | None:
        entry = self.entries.get(path)
        if entry is None:
            return None
        if entry.kind == HARDLINK:
            # The file lies in the same layer, or below; a higher layer's file of that name is not it, and is nearly it.
            shown = self._facts.get(entry.link)
            return self._facts[path].elves.get(entry.link) or (shown.elves.get(entry.link) if shown else None)
        return self._facts[path].elves.get(path)

    def read_text(self, path: str) -> str | None:
        found = self.resolve(path)
        return self._facts[found].texts.get(found) if found in self._facts else None

    def linker_cache(self) -> Mapping[str, tuple[str, ...]] | None:
        facts = self._facts.get(LINKER_CACHE)
        return _group(facts.linker_cache) if facts and facts.linker_cache is not None else None

    def gather(self) -> Iterator[tuple[str, Facts]]:
        yield from self._facts.items()

    def _lay_over(self, layer: Facts) -> None:
        brought: dict[str, Entry] = {}
        folders: set[str] = set()
        gone: set[str] = set()
        opaque: set[str] = set()
        for entry in layer.entries:
            folder, _, name = entry.path.rpartition("/")
            if name == _OPAQUE:
                opaque.add(folder)
            elif name.startswith(_WHITEOUT):
                gone.add(f"{folder}/{name[len(_WHITEOUT) :]}".lstrip("/"))
            else:
                brought[entry.path] = entry
                self._add_folders(folder, folders)
        gone |= {path for path, entry in brought.items() if entry.kind != FOLDER and path in self._folders}
        if gone or opaque:
            self._hide(gone, opaque)
        for path in folders:  # where a link or a file of a lower layer stood
            if path in self.entries and self.entries[path].kind != FOLDER:
                del self.entries[path], self._facts[path]
        self._folders |= folders
        self.entries |= brought
        self._facts |= dict.fromkeys(brought, layer)

    def _add_folders(self, folder: str, folders: set[str]) -> None:
        """A folder and those above it. Paths that share nothing, each deep, would take more memory than there is."""
        while folder and folder not in folders:
            folders.add(folder)
            self._spent += len(folder)
            if self._spent > _MAX_FOLDERS:
                raise FormatError("an image with folders without end")
            folder = folder.rpartition("/")[0]

    def _hide(self, gone: set[str], opaque: set[str]) -> None:
        for path in [one for one in self.entries if _is_hidden(one, gone, opaque)]:
            del self.entries[path], self._facts[path]
        self._folders = {above for path in self.entries for above in _above(path)} | {""}

    def _follow(self, path: str) -> str | None:
        parts = [part for part in path.split("/") if part not in ("", ".")][::-1]
        at, links = "", 0
        while parts:
            part = parts.pop()
            if part == "..":
                at = at.rpartition("/")[0]
                continue
            inner = f"{at}/{part}" if at else part
            entry = self.entries.get(inner)
            if entry and entry.kind == SYMLINK:
                links += 1
                if links > _MAX_LINKS:
                    return None
                at = "" if entry.link.startswith("/") else at
                parts += [one for one in entry.link.split("/") if one not in ("", ".")][::-1]
            elif entry or inner in self._folders:
                at = inner
            else:
                return None
        return at


class LocalTree:
    """A folder of this machine as scanned; libraries and programs around it are read when they are asked for."""

    def __init__(self, facts: Facts) -> None:
        self.entries = {entry.path: entry for entry in facts.entries}
        self._own = facts
        self._around: dict[str, Facts] = {}

    def resolve(self, path: str) -> str | None:
        found = os.path.realpath(f"/{path}")
        return found.lstrip("/") if os.path.lexists(found) else None

    def find_elf(self, path: str) -> ElfFile | None:
        return self._facts_of(path).elves.get(path)

    def read_text(self, path: str) -> str | None:
        found = self.resolve(path)
        return self._facts_of(found).texts.get(found) if found is not None else None

    def linker_cache(self) -> Mapping[str, tuple[str, ...]] | None:
        pairs = self._facts_of(LINKER_CACHE).linker_cache
        return None if pairs is None else _group(pairs)

    def gather(self) -> Iterator[tuple[str, Facts]]:
        for path in self.entries:
            yield path, self._own

    def _facts_of(self, path: str) -> Facts:
        if path in self.entries:
            return self._own
        if path not in self._around:
            scanner = Scanner()
            if Path(f"/{path}").is_file():
                try:
                    scanner.add_local(f"/{path}")
                except OSError:
                    scanner = Scanner()  # not for us to read
            self._around[path] = scanner.facts()
        return self._around[path]


def is_file(entry: Entry) -> bool:
    """Whether an entry has content of its own."""
    return entry.kind in (FILE, HARDLINK)


def _group(pairs: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    grouped: dict[str, tuple[str, ...]] = {}
    for name, path in pairs:
        grouped[name] = (*grouped.get(name, ()), path.lstrip("/"))
    return grouped


def _above(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _is_hidden(path: str, gone: set[str], opaque: set[str]) -> bool:
    return path in gone or "" in opaque or any(above in gone or above in opaque for above in _above(path))
