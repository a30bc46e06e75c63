"""An image's root as one tar, for what knows no layers: SquashFS, SIF.

The layers are read twice: first what is shown, then its content. Folders come first, by name; the rest as it lies in the
layers, the lowest first. What is neither file, link nor folder is left out: whoever runs the image brings devices along.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from wherry.formats.tar import EntryKind, TarEntry
from wherry.formats.untar import TarMember, read_members
from wherry.store.layer_merge import LayerMerge, folders_above

OpenLayer = Callable[[], Iterator[bytes]]


@dataclass(frozen=True, slots=True)
class _Origin:
    """A member: which layer's, and where its content lies there, which is no other member's place."""

    layer: int
    offset: int


def flatten_layers(layers: Sequence[OpenLayer], where: str) -> Iterator[TarEntry]:
    """What the layers show together, the lowest first. Each is opened twice, for its uncompressed tar."""
    shown: LayerMerge[_Origin] = LayerMerge(lambda origin, _path: origin)
    for at, open_layer in enumerate(layers):
        shown.add_layer(read_members(open_layer(), where, others=True), partial(_origin_of, at))
    yield from _list_folders(shown)
    names: dict[_Origin, list[str]] = {}
    for path, origin in shown.names.items():
        names.setdefault(origin, []).append(path)
    for at, open_layer in enumerate(layers):
        for member in read_members(open_layer(), where, others=True):
            if paths := names.get(_Origin(at, member.offset)):
                yield from _list_names(member, paths)


def _origin_of(layer: int, member: TarMember) -> _Origin | None:
    return _Origin(layer, member.offset) if member.kind in (EntryKind.FILE, EntryKind.SYMLINK) else None


def _list_folders(shown: LayerMerge[_Origin]) -> Iterator[TarEntry]:
    """All folders, those too that no layer describes."""
    needed = {above for path in (*shown.names, *shown.folders) for above in folders_above(path)}
    for path in sorted(needed | shown.folders.keys()):
        folder = shown.folders.get(path)
        plain = TarEntry(path=path, kind=EntryKind.DIRECTORY, mode=0o755)
        yield plain if folder is None else replace(plain, mode=folder.mode, owner=folder.owner, mtime=folder.mtime)


def _list_names(member: TarMember, paths: Sequence[str]) -> Iterator[TarEntry]:
    """A file or symbolic link under its first name, and hard links to it for the others."""
    first, *others = sorted(paths)
    entry = TarEntry(
        path=first,
        kind=member.kind,
        mode=member.mode,
        size=member.size,
        link=member.link,
        content=lambda: member.content,
        owner=member.owner,
        mtime=member.mtime,
    )
    yield entry
    for path in others:
        yield replace(entry, path=path, kind=EntryKind.HARDLINK, size=0, link=first, content=b"")
