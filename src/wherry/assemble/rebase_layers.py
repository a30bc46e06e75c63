"""Takes paths out of an image's layers, or out of a folder, and makes a layer of what another image has not.

An image's files keep their modes, owners and times; those of a folder get wherry's own. A layer holds what differs, a whiteout for
what is gone, and the folders above as the image below has them. Hard links become files. Refused: devices, sockets and pipes, and
a hard link to a file that is not taken along.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wherry.assemble.spool import Spool
from wherry.errors import FormatError, StoreError, UsageError
from wherry.formats.tar import EntryKind, TarEntry, directory_entry, file_entry, symlink_entry
from wherry.formats.untar import TarMember, read_members

WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"
_BLOCK = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenEntry:
    """One name. `sha256` is that of a file's content, in hex; else it is empty."""

    entry: TarEntry
    sha256: str = ""

    def is_same(self, other: TakenEntry | None) -> bool:
        """Whether the other would do; times do not count."""
        if other is None:
            return False
        one, two = self.entry, other.entry
        return (one.kind, one.mode, one.owner, one.link, self.sha256) == (two.kind, two.mode, two.owner, two.link, other.sha256)


Taken = Mapping[str, TakenEntry]
OpenLayer = Callable[[], Iterable[bytes]]


def is_below(path: str, taken: str) -> bool:
    return path == taken or path.startswith(f"{taken}/")


def concerns(path: str, taken: Sequence[str]) -> bool:
    """Whether a member of this path says something about what is taken: it lies there or above, or hides what does."""
    folder, _, name = path.rpartition("/")
    if name == OPAQUE:
        path = folder
    elif name.startswith(WHITEOUT):
        path = f"{folder}/{name.removeprefix(WHITEOUT)}".lstrip("/")
    return any(is_below(path, one) or is_below(one, path) or not path for one in taken)


def take_from_layers(layers: Iterable[OpenLayer], taken: Sequence[str], spool: Spool | None, where: str) -> Taken:
    """What lies at and below the paths `taken`, and the folders above them; `layers` open uncompressed tars, the lowest first.

    Contents are kept in `spool`; without one, only their digests are told.
    """
    found: dict[str, TakenEntry] = {}
    for number, layer in enumerate(layers):
        fresh: dict[str, TakenEntry] = {}
        for member in read_members(layer(), f"{where}: layer {number}", others=True):
            if not member.path or not concerns(member.path, taken):
                continue
            folder, _, name = member.path.rpartition("/")
            if name == OPAQUE:
                _hide(found, folder)
            elif name.startswith(WHITEOUT):
                hidden = f"{folder}/{name.removeprefix(WHITEOUT)}".lstrip("/")
                found.pop(hidden, None)
                _hide(found, hidden)
            else:
                if member.kind is not EntryKind.DIRECTORY:
                    _hide(found, member.path)
                fresh[member.path] = _take(member, fresh, found, spool, where)
        found |= fresh
    return found


def _hide(found: dict[str, TakenEntry], folder: str) -> None:
    """Forget what lies below a folder."""
    for path in [path for path in found if not folder or path.startswith(f"{folder}/")]:
        del found[path]


def _take(member: TarMember, fresh: Taken, found: Taken, spool: Spool | None, where: str) -> TakenEntry:
    if member.kind is EntryKind.OTHER:
        raise FormatError(f"/{member.path} is neither file, link nor folder", where=where, hint="take what lies beside it")
    if member.kind is EntryKind.HARDLINK:
        target = member.link.removeprefix("./").strip("/")
        same = fresh.get(target) or found.get(target)
        if same is None:
            raise FormatError(
                f"/{member.path} is a hard link to /{target}, which is not taken", where=where, hint=f"--take /{target}"
            )
        return replace(same, entry=replace(same.entry, path=member.path))
    entry = TarEntry(path=member.path, kind=member.kind, mode=member.mode, link=member.link, owner=member.owner, mtime=member.mtime)
    if member.kind is not EntryKind.FILE:
        return TakenEntry(entry=entry)
    return _keep(entry, member.content, spool)


def _keep(entry: TarEntry, chunks: Iterable[bytes], spool: Spool | None) -> TakenEntry:
    hasher = hashlib.sha256()

    def hashed() -> Iterator[bytes]:
        for chunk in chunks:
            hasher.update(chunk)
            yield chunk

    if spool is None:
        for _ in hashed():
            pass
        return TakenEntry(entry=entry, sha256=hasher.hexdigest())
    content, size = spool.keep(hashed())
    return TakenEntry(entry=replace(entry, content=content, size=size), sha256=hasher.hexdigest())


def take_from_folder(root: Path, taken: Mapping[str, str], spool: Spool, leaves_out: Callable[[str], bool]) -> Taken:
    """What lies below `root`: of each path in the image, the path in the folder that it comes from, but for what is left out."""
    found: dict[str, TakenEntry] = {}
    for path, inner in taken.items():
        place = root / inner
        if not os.path.lexists(place):
            raise UsageError(f"there is no {inner}", where=str(root), hint="--take names what lies in it")
        inside = sorted(place.rglob("*")) if place.is_dir() and not place.is_symlink() else ()
        for file in [place, *(each for each in inside if not leaves_out(each.relative_to(root).as_posix()))]:
            name = f"{path}/{file.relative_to(place).as_posix()}".removesuffix("/.")
            try:
                found[name] = _take_local(file, name, spool)
            except OSError as error:
                raise StoreError(f"cannot be read: {error.strerror}", where=str(file)) from error
    return found


def _take_local(file: Path, name: str, spool: Spool) -> TakenEntry:
    state = file.lstat()
    if stat.S_ISLNK(state.st_mode):
        return TakenEntry(entry=symlink_entry(name, str(file.readlink())))
    if stat.S_ISDIR(state.st_mode):
        return TakenEntry(entry=directory_entry(name))
    if not stat.S_ISREG(state.st_mode):
        raise FormatError("is neither file, link nor folder", where=str(file))
    entry = TarEntry(path=name, mode=0o755 if state.st_mode & 0o100 else 0o644)
    with file.open("rb") as content:
        return _keep(entry, iter(lambda: content.read(_BLOCK), b""), spool)


def list_difference(new: Taken, former: Taken, path: str) -> tuple[TarEntry, ...]:
    """The entries of a layer after which what is at and below `path` in `former` is as in `new`; none where it is already."""
    changed = {name: one.entry for name, one in new.items() if is_below(name, path) and not one.is_same(former.get(name))}
    gone = [name for name in sorted(former) if is_below(name, path) and name not in new]
    for name in gone:
        folder, _, last = name.rpartition("/")
        above = new.get(folder)
        if above is not None and above.entry.kind is EntryKind.DIRECTORY:  # else it goes with what is above it
            changed[f"{folder}/{WHITEOUT}{last}"] = file_entry(f"{folder}/{WHITEOUT}{last}", b"")
    for name in list(changed):
        while "/" in name:
            name = name.rpartition("/")[0]
            if name not in changed:
                known = former.get(name) or new.get(name)
                is_folder = known is not None and known.entry.kind is EntryKind.DIRECTORY
                changed[name] = known.entry if known is not None and is_folder else directory_entry(name)
    return tuple(changed[name] for name in sorted(changed, key=lambda one: one.split("/")))
