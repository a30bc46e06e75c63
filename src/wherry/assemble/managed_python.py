"""Lays a managed CPython out: the archive that uv installs, as a layer at /opt/python, and in the cache to compile with.

Knows the form of python-build-standalone's ``install_only`` archives: one folder ``python`` with ``bin``, ``lib`` …, which
finds its own library wherever it lies. Left out is what runs nothing in an image: tests, headers, manuals, static
libraries, the pip that comes along, `.pyc` files (wherry makes its own). Nothing is run but the host's own, to compile.
Refused: a member outside of the folder, a link that leaves it, a path that comes twice, more than 2 GiB.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from wherry.assemble.bytecode import HostInterpreter, check_interpreter
from wherry.assemble.spool import Spool
from wherry.engines.unpack import unpack_layer
from wherry.errors import FormatError, StoreError
from wherry.formats.decompress import unpack_layer_chunks
from wherry.formats.tar import EntryKind, TarEntry, add_parents, stream_tar, symlink_entry
from wherry.formats.untar import TarMember, read_members
from wherry.model.layout import MANAGED
from wherry.model.lock import LockedInterpreter
from wherry.store.folders import make_folder

_TOP = "python/"
_LARGEST = 2 << 30
_CHUNK = 1 << 20
_LEFT_OUT = re.compile(
    r"include/.*|share/(?:man|doc)/.*|.*\.a|lib/pkgconfig/.*|(?:.*/)?__pycache__/.*"
    r"|lib/python3\.[0-9]+/(?:test|idlelib|turtledemo|site-packages|config-[^/]*|lib2to3/tests|ensurepip/_bundled)/.*"
    r"|bin/(?:pip|idle|pydoc|2to3|python3?[0-9.]*-config)[^/]*"
)


def managed_entries(archive: Path, interpreter: LockedInterpreter, spool: Spool) -> list[TarEntry]:
    """The sorted entries of the interpreter's layer. Contents lie in `spool`, which must stay open until they are read."""
    found: dict[str, TarEntry] = {}
    hard: list[tuple[str, str]] = []
    for member in read_members(unpack_layer_chunks(_read_file(archive), _LARGEST), archive.name):
        path = _place(member, archive.name)
        if path is None:
            continue
        if path in found:
            raise FormatError(f"two members for /{path}", where=archive.name)
        if member.kind is EntryKind.SYMLINK:
            found[path] = symlink_entry(path, _inner_link(member, path, archive.name))
        elif member.kind is EntryKind.HARDLINK:
            hard.append((path, f"{MANAGED}/{member.link.removeprefix(_TOP)}"))
        elif member.kind is EntryKind.FILE:
            content, size = spool.keep(member.content)
            found[path] = TarEntry(path=path, mode=0o755 if member.mode & 0o111 else 0o644, size=size, content=content)
    for path, target in hard:
        if target not in found or path in found:
            raise FormatError(f"a link to what is not there: {path}", where=archive.name)
        same = found[target]
        found[path] = TarEntry(path=path, kind=same.kind, mode=same.mode, size=same.size, link=same.link, content=same.content)
    if interpreter.path.lstrip("/") not in found:
        raise FormatError(f"holds no {interpreter.path.rpartition('/')[2]}", where=archive.name)
    return add_parents(found.values())


def unpack_managed(archive: Path, interpreter: LockedInterpreter, cache: Path) -> HostInterpreter:
    """A managed Python for this host, ready to compile with."""
    assert interpreter.archive is not None  # noqa: S101 - tells the type checker
    root = cache / "interpreters" / interpreter.archive.sha256.hex
    if not root.is_dir():
        with make_folder(root) as making, Spool(making.parent) as spool:
            unpack_layer(stream_tar(managed_entries(archive, interpreter, spool)), making, archive.name)
    return check_interpreter(root, (str(root / interpreter.path.lstrip("/")),), interpreter.path, interpreter.version)


def _place(member: TarMember, where: str) -> str | None:
    """Where a member lies in the image; None for what is left out."""
    if member.kind is EntryKind.DIRECTORY:
        return None
    if not member.path.startswith(_TOP):
        raise FormatError(f"not an archive of a managed Python: it holds {member.path!r}", where=where)
    below = member.path.removeprefix(_TOP)
    return None if _LEFT_OUT.fullmatch(below) else f"{MANAGED}/{below}"


def _inner_link(member: TarMember, path: str, where: str) -> str:
    target = posixpath.normpath(posixpath.join(posixpath.dirname(path), member.link))
    if member.link.startswith("/") or not target.startswith(f"{MANAGED}/"):
        raise FormatError(f"a link that leaves its folder: {member.path!r}", where=where)
    return member.link


def _read_file(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk
    except OSError as error:
        raise StoreError(f"cannot be read: {error.strerror}", where=str(path)) from error
