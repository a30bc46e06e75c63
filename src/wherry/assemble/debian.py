"""Turns Debian packages into the entries of the base's or the interpreter's layer, running nothing of them.

Rules: everything lies in the merged /usr, owned by 0:0, without set-user and set-group bits; documentation, manuals,
translations and the like stay out, copyright files stay in; each package leaves its paragraph in
``var/lib/dpkg/status.d``, where scanners look; what maintainer scripts would have made is in `debian_byhand`. Refused:
a path that two packages bring, a member below a link.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from wherry.assemble.debian_byhand import (
    ALTERNATIVES,
    BASE_DIRECTORIES,
    BASE_FILES,
    BASE_LINKS,
    CERTIFICATE_BUNDLE,
    CERTIFICATES,
    MERGED,
    MERGED_ALWAYS,
)
from wherry.assemble.spool import Spool
from wherry.errors import FormatError, StoreError
from wherry.formats.deb import open_deb
from wherry.formats.tar import EntryKind, TarEntry, add_parents, directory_entry, file_entry, symlink_entry
from wherry.formats.untar import TarMember, plain_path
from wherry.model.lock import LayerKind, LockedDeb

PRUNED = (
    "usr/share/bash-completion",
    "usr/share/bug",
    "usr/share/doc-base",
    "usr/share/gtk-doc",
    "usr/share/help",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/menu",
    "usr/share/zoneinfo/posix",  # the default zones once more
    "usr/share/zoneinfo/right",  # with leap seconds: no program asks for them unless told to
    "var/cache/ldconfig",
)
_DOC = "usr/share/doc"
# Folders that base-files brings and that are links here.
_LINKED = (("var/run", "run"), ("var/lock", "run/lock"))


def debian_entries(
    debs: Sequence[tuple[LockedDeb, Path]], part: LayerKind, spool: Spool, *, over_base: bool = False
) -> list[TarEntry]:
    """The sorted entries of one layer. `debs` are all packages of the image, `part` says which layer of them.

    Contents lie in `spool`, which must stay open until the layer is written. With `over_base` the packages go on top
    of a base that has users, links and folders of its own.
    """
    layer = _Layer(spool)
    names = {deb.name for deb, _ in debs}
    for deb, path in sorted(debs, key=lambda pair: pair[0].name):
        if deb.part is part:
            layer.add_package(deb, path)
    layer.add_alternatives()
    layer.add_certificates()
    if part is LayerKind.BASE and not over_base:
        layer.add_base()
    if part is LayerKind.INTERPRETER and "python3-minimal" not in names:
        layer.add_python_links()
    return layer.finish()


class _Layer:
    """The layer so far: path → entry, and which package brought it."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._entries: dict[str, TarEntry] = {}
        self._owners: dict[str, str] = {}
        self._packages: set[str] = set()

    def add_package(self, deb: LockedDeb, path: Path) -> None:
        links: dict[str, list[str]] = {}
        files: dict[str, TarEntry] = {}
        where = f"{deb.name} {deb.version}"
        try:
            with path.open("rb") as stream:
                opened = open_deb(stream, deb.file)
                for member in opened.members:
                    self._take(member, files, links, where)
        except OSError as error:
            raise StoreError(f"cannot read: {error.strerror}", where=str(path)) from error
        for entry in _spread_links(files, links):
            self._put(entry, where)
        self._put(file_entry(f"var/lib/dpkg/status.d/{deb.name}", _status_paragraph(opened.control)), where)
        self._packages.add(deb.name)

    def _take(self, member: TarMember, files: dict[str, TarEntry], links: dict[str, list[str]], where: str) -> None:
        """Sort a member in. Files wait for the hard links to them."""
        path = merged_path(member.path)
        if path in MERGED or any(path == link for link, _ in _LINKED):
            return
        if member.kind is EntryKind.HARDLINK:
            links.setdefault(merged_path(plain_path(member.link, where)), []).append(path)
        elif member.kind is EntryKind.FILE:
            # A pruned file may have a hard link that stays: it is laid down all the same.
            content, size = self._spool.keep(member.content)
            files[path] = TarEntry(path=path, mode=member.mode & 0o777, size=size, content=content)
        elif is_pruned(path, member.kind):
            return
        elif member.kind is EntryKind.SYMLINK:
            self._put(symlink_entry(path, member.link), where)
        else:
            self._put(directory_entry(path, member.mode & 0o1777), where)

    def _put(self, entry: TarEntry, where: str) -> None:
        former = self._entries.get(entry.path)
        if former is None:
            self._entries[entry.path] = entry
            self._owners[entry.path] = where
        elif (
            former.kind is not entry.kind or entry.kind not in (EntryKind.DIRECTORY, EntryKind.SYMLINK) or former.link != entry.link
        ):
            raise FormatError(f"{entry.path} is in two packages, {self._owners[entry.path]} and {where}", where=where)

    def add_alternatives(self) -> None:
        for package, link, target in ALTERNATIVES:
            for path in sorted(self._entries) if package in self._packages else ():
                place = path.removesuffix(target) + link
                if path.startswith(("usr/bin/", "usr/lib/")) and path.endswith(f"/{target}") and place not in self._entries:
                    self._put(symlink_entry(place, target), "update-alternatives")

    def add_certificates(self) -> None:
        """One bundle of all certificates, in the order of their names, as update-ca-certificates makes it."""
        if "ca-certificates" not in self._packages:
            return
        bundle = bytearray()
        for path in sorted(self._entries):
            if path.startswith(CERTIFICATES) and path.endswith(".crt"):
                bundle += _content_of(self._entries[path]).rstrip(b"\n") + b"\n"
        self._put(file_entry(CERTIFICATE_BUNDLE, bytes(bundle)), "update-ca-certificates")

    def add_base(self) -> None:
        for path, mode in BASE_DIRECTORIES.items():
            self._entries[path] = directory_entry(path, mode)
        for path, text in BASE_FILES.items():
            self._entries.setdefault(path, file_entry(path, text.encode()))
        for path, link in BASE_LINKS.items():
            self._entries.setdefault(path, symlink_entry(path, link))
        for name in MERGED:
            if name in MERGED_ALWAYS or any(path.startswith(f"usr/{name}/") for path in self._entries):
                self._entries[name] = symlink_entry(name, f"usr/{name}")
                self._entries.setdefault(f"usr/{name}", directory_entry(f"usr/{name}"))

    def add_python_links(self) -> None:
        """`/usr/bin/python3`, which the package python3-minimal would bring."""
        for path in sorted(self._entries):
            name = path.removeprefix("usr/bin/python3.")
            if name != path and name.isdigit():
                self._put(symlink_entry("usr/bin/python3", f"python3.{name}"), "python3-minimal")

    def finish(self) -> list[TarEntry]:
        for path in self._entries:
            parent = path.rpartition("/")[0]
            while parent:
                above = self._entries.get(parent)
                if above is not None and above.kind is not EntryKind.DIRECTORY:
                    raise FormatError(f"{path} lies below {parent}, which is no folder", where=self._owners.get(path))
                parent = parent.rpartition("/")[0]
        return add_parents(self._entries.values())


def merged_path(path: str) -> str:
    """Where a path lies after usrmerge: ``lib/x`` is ``usr/lib/x``; ``var/run/x`` is ``run/x``."""
    first, slash, _ = path.partition("/")
    if first in MERGED and slash:
        return f"usr/{path}"
    for link, target in _LINKED:
        if path.startswith(link + "/"):
            return target + path[len(link) :]
    return path


def is_pruned(path: str, kind: EntryKind) -> bool:
    """Whether a path stays out of the layer."""
    if path == _DOC or path.startswith(_DOC + "/"):
        below = path.count("/") - _DOC.count("/")
        if below == 1 and kind is EntryKind.SYMLINK:
            return False  # the copyright file lies in another package's folder
        return not (below == 2 and path.endswith("/copyright"))
    return any(path == prefix or path.startswith(prefix + "/") for prefix in PRUNED)


def _spread_links(files: dict[str, TarEntry], links: dict[str, list[str]]) -> Iterable[TarEntry]:
    """Of paths that share one content, the first in order is the file and the others are links to it."""
    origin = {link: target for target, names in links.items() for link in names}
    groups: dict[str, list[str]] = {path: [path] for path in files}
    for link in origin:
        target = origin[link]
        while target in origin:
            target = origin[target]
        groups[target].append(link)
    for target, paths in groups.items():
        kept = sorted(path for path in paths if not is_pruned(path, EntryKind.FILE))
        source = files[target]
        for number, path in enumerate(kept):
            if number == 0:
                yield TarEntry(path=path, mode=source.mode, size=source.size, content=source.content)
            else:
                yield TarEntry(path=path, kind=EntryKind.HARDLINK, mode=source.mode, link=kept[0])


def _status_paragraph(control: bytes) -> bytes:
    """The control paragraph as dpkg would list it: installed."""
    lines = control.strip(b"\n").split(b"\n")
    at = next((number for number, line in enumerate(lines) if line.lower().startswith(b"package:")), 0) + 1
    return b"\n".join((*lines[:at], b"Status: install ok installed", *lines[at:])) + b"\n"


def _content_of(entry: TarEntry) -> bytes:
    return entry.content if isinstance(entry.content, bytes) else b"".join(entry.content())
