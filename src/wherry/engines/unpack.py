"""Turns layer tars into trees of files, and such trees into an image's root.

A layer is unpacked once, into a folder of its own, and its files are hard-linked into the roots of all images that have
it. Owners become the current user, set-user-ID bits are dropped, folders stay passable for the owner. Whiteouts
(``.wh.NAME``, ``.wh..wh..opq``) act on the layers below (OCI image-spec, layer.md).
Refused: a member or hard link that leaves the layer or passes through something that is no folder. Symbolic links are
made, never followed.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from wherry.errors import FormatError
from wherry.formats.tar import EntryKind
from wherry.formats.untar import TarMember, plain_path, read_members

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"


def unpack_layer(
    chunks: Iterable[bytes],
    folder: Path,
    where: str,
    wanted: Callable[[str], bool] = lambda _path: True,
    *,
    others: bool = False,
) -> None:
    """Write a layer's files into the empty `folder`, which nobody else touches meanwhile.

    Of files, and hard links, only the `wanted`; of folders and symbolic links all. With `others`, devices and the like are
    passed over instead of refused.
    """
    tree = _Tree(folder, where)
    for member in read_members(chunks, where, others=others):
        if member.kind is EntryKind.OTHER:
            continue
        if member.kind in (EntryKind.DIRECTORY, EntryKind.SYMLINK) or wanted(member.path):
            tree.add(member)


class _Tree:
    """A layer being unpacked. Knows what kind each path got, so that no path is ever resolved by the file system."""

    def __init__(self, folder: Path, where: str) -> None:
        self._folder = str(folder)
        self._where = where
        self._folders = {""}
        self._others: set[str] = set()

    def add(self, member: TarMember) -> None:
        path = member.path
        if not path:
            return
        self._make_parents(path)
        if member.kind is EntryKind.DIRECTORY:
            self._add_folder(path, member.mode)
            return
        if path in self._folders:
            raise FormatError(f"{path!r} is a folder and something else", where=self._where)
        if path in self._others:
            os.unlink(self._place(path))  # noqa: PTH108 - the later member counts
        self._others.add(path)
        if member.kind is EntryKind.FILE:
            self._write_file(path, member)
        elif member.kind is EntryKind.SYMLINK:
            os.symlink(member.link, self._place(path))  # noqa: PTH211
        else:
            self._link_file(path, member.link)

    def _place(self, path: str) -> str:
        return f"{self._folder}/{path}"

    def _make_parents(self, path: str) -> None:
        parent = path.rpartition("/")[0]
        if parent not in self._folders:
            self._make_parents(parent)
            self._add_folder(parent, 0o755)

    def _add_folder(self, path: str, mode: int) -> None:
        if path in self._others:
            raise FormatError(f"{path!r} is used as a folder, but is a file or a link", where=self._where)
        if path not in self._folders:
            os.mkdir(self._place(path))  # noqa: PTH102
            self._folders.add(path)
        os.chmod(self._place(path), (mode & 0o777) | 0o700)  # noqa: PTH101

    def _write_file(self, path: str, member: TarMember) -> None:
        handle = os.open(self._place(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            for piece in member.content:
                file.write(piece)
            file.flush()
            os.fchmod(file.fileno(), (member.mode & 0o777) | 0o400)
            os.utime(file.fileno(), (member.mtime, member.mtime))  # by it Python judges a module's bytecode

    def _link_file(self, path: str, link: str) -> None:
        target = plain_path(link.lstrip("/"), self._where)
        if target not in self._others or target == path:
            raise FormatError(f"{path!r} is a hard link to {link!r}, which the layer does not have", where=self._where)
        os.link(self._place(target), self._place(path), follow_symlinks=False)


def lay_over(layer: Path, root: Path) -> None:
    """Put an unpacked layer over what `root` has already."""
    _lay_folder(str(layer), str(root))


def _lay_folder(layer: str, root: str) -> None:
    with os.scandir(layer) as scan:
        entries = list(scan)
    hidden = [entry.name for entry in entries if entry.name.startswith(WHITEOUT)]
    if OPAQUE in hidden:
        for name in os.listdir(root):  # noqa: PTH208
            _remove(f"{root}/{name}")
    for name in hidden:
        # `.wh..` and `.wh...` would name the folder itself and the one above it.
        if name != OPAQUE and name[len(WHITEOUT) :] not in ("", ".", ".."):
            _remove(f"{root}/{name[len(WHITEOUT) :]}")
    for entry in entries:
        if entry.name.startswith(WHITEOUT):
            continue
        target = f"{root}/{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            _take_folder(entry, target)
            _lay_folder(entry.path, target)
        else:
            _take_file(entry.path, target)


def _take_folder(entry: os.DirEntry[str], target: str) -> None:
    mode = entry.stat(follow_symlinks=False).st_mode & 0o777
    try:
        os.mkdir(target)  # noqa: PTH102
    except FileExistsError:
        if os.path.islink(target) or not os.path.isdir(target):  # noqa: PTH114, PTH112
            os.unlink(target)  # noqa: PTH108
            os.mkdir(target)  # noqa: PTH102
    os.chmod(target, mode)  # noqa: PTH101


def _take_file(source: str, target: str) -> None:
    try:
        _link_or_copy(source, target)
    except FileExistsError:
        _remove(target)
        _link_or_copy(source, target)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EMLINK, errno.EPERM, errno.EXDEV):
            raise
        shutil.copy2(source, target, follow_symlinks=False)


def _remove(path: str) -> None:
    """Remove whatever lies at `path`; nothing there is fine."""
    try:
        os.unlink(path)  # noqa: PTH108
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        shutil.rmtree(path)
