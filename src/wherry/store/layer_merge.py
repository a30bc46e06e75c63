"""What an image's root shows of its layers: which name comes from where, by the rules of OCI image-spec, layer.md.

What a higher layer replaces or whites out no longer counts. A layer's whiteouts act on what lies below it, wherever in its
tar they stand. What a name stands for is the caller's: a value for each member, None for what shall not be shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from wherry.formats.tar import EntryKind
from wherry.formats.untar import TarMember

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
T = TypeVar("T")


class LayerMerge(Generic[T]):
    """The layers so far: `names` has all that is no folder, `folders` those that a layer describes itself.

    `rename` gives a value its further name, where a hard link leads to it.
    """

    def __init__(self, rename: Callable[[T, str], T]) -> None:
        self.names: dict[str, T] = {}
        self.folders: dict[str, TarMember] = {}
        self._rename = rename

    def add_layer(self, members: Iterable[TarMember], read: Callable[[TarMember], T | None]) -> None:
        """Lay one layer over what is here. `read` is called with each member in its turn, as only then its content is there."""
        layer = _Layer(self.names, self._rename)
        for member in members:
            if member.path:
                layer.add(member, read)
        self.names = {path: value for path, value in self.names.items() if not layer.hides(path)} | layer.names
        kept = {path: folder for path, folder in self.folders.items() if not layer.hides_folder(path)}
        self.folders = kept | layer.folders


class _Layer(Generic[T]):
    """What one layer brings, and what it hides."""

    def __init__(self, lower: dict[str, T], rename: Callable[[T, str], T]) -> None:
        self.names: dict[str, T] = {}
        self.folders: dict[str, TarMember] = {}
        self._lower, self._rename = lower, rename
        self._passed: set[str] = set()  # folders that are here because something lies in them
        self._gone: set[str] = set()  # what lies here or below is hidden
        self._opaque: set[str] = set()  # what lies below is hidden

    def add(self, member: TarMember, read: Callable[[TarMember], T | None]) -> None:
        if f"/{member.path}".find(f"/{_WHITEOUT}") >= 0:
            self._hide(member.path)
        elif member.kind is EntryKind.DIRECTORY:
            self._add_folders(member.path)
            self.folders[member.path] = member
        else:
            self._add_folders(member.path.rpartition("/")[0])
            self._place(member, read)

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
        """Whether what a lower layer shows there is no longer seen."""
        return path in self.names or path in self._passed or self.hides_folder(path)

    def hides_folder(self, path: str) -> bool:
        if path in self._gone or "" in self._opaque:
            return True
        return any(above in self._gone or above in self._opaque for above in folders_above(path))

    def _place(self, member: TarMember, read: Callable[[TarMember], T | None]) -> None:
        path = member.path
        if path in self._passed:
            below = f"{path}/"
            self._passed = {known for known in self._passed if known != path and not known.startswith(below)}
            self.names = {known: value for known, value in self.names.items() if not known.startswith(below)}
            self.folders = {known: one for known, one in self.folders.items() if known != path and not known.startswith(below)}
        self._gone.add(path)
        self.names.pop(path, None)
        if member.kind is EntryKind.HARDLINK:
            link = "/".join(part for part in member.link.split("/") if part not in ("", "."))
            meant = self.names.get(link) or self._lower.get(link)
            value = self._rename(meant, path) if meant is not None else None
        else:
            value = read(member)
        if value is not None:
            self.names[path] = value

    def _add_folders(self, path: str) -> None:
        for folder in (path, *folders_above(path)) if path else ():
            if folder in self._passed:
                return
            self.names.pop(folder, None)
            self._passed.add(folder)


def folders_above(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path
