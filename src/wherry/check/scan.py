"""Reads a layer, a folder or a wheel once, as a stream, into `Facts`. It runs nothing and keeps no contents but small documents.

ELF files are read by `formats.elf`; while they stream by they lie in a temporary file. What claims to be ELF and is not
sound is noted, not refused: a broken file in an image is a finding.
"""

from __future__ import annotations

import os
import re
import stat
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import msgspec

from wherry.check.facts import FILE, FOLDER, HARDLINK, OTHER, SYMLINK, Entry, Facts
from wherry.check.model_scan import is_model, scan_model
from wherry.check.places import is_own
from wherry.errors import FormatError
from wherry.formats.elf import MAGIC, Read, parse_elf
from wherry.formats.linker_cache import MAX_CACHE, parse_linker_cache
from wherry.formats.secrets import READ_LIMIT, content_of, find_secrets
from wherry.formats.tar import EntryKind
from wherry.formats.untar import read_members
from wherry.formats.zip_member import ERRORS, stream_member
from wherry.store.spooled import SpooledFile

LINKER_CACHE = "etc/ld.so.cache"
_KINDS = {
    EntryKind.FILE: FILE,
    EntryKind.DIRECTORY: FOLDER,
    EntryKind.SYMLINK: SYMLINK,
    EntryKind.HARDLINK: HARDLINK,
    EntryKind.OTHER: OTHER,
}
_TEXT = re.compile(
    r"(?:.*/)?[^/]+\.dist-info/WHEEL|(?:.*/)?pyvenv\.cfg|(?:.*/)?(?:site|dist)-packages/[^/]+\.pth"
    r"|etc/ld\.so\.conf(?:\.d/[^/]+)?|etc/ld-musl-[^/]+\.path|(?:etc|usr/lib)/os-release"
)
_LIST = re.compile(r"var/lib/dpkg/(?:info|status\.d)/[^/]+\.md5sums|(?:.*/)?conda-meta/[^/]+\.json")
_MAX_PATH = 4096  # as long as a path may be on Linux: what is longer is nothing that a container could open
_MAX_RATIO, _RATIO_FREE = 200, 64 << 20
_MAX_TEXT = 256 << 10
_MAX_RECORD = 64 << 20
_MAX_SOURCE = 4 << 20
_METADATA_FIELDS = re.compile(rb"^(?:Name|Version):[^\r\n]*", re.MULTILINE)
# Import statements with their indentation: what is indented stands in a function or behind a `try`.
_IMPORT = re.compile(rb"\n([ \t]*)(?:from|import) ([^\n]*)")
_WORD = re.compile(rb"\w+")
# Tests that are imported whenever a module is: `from .tests.runner import …`, as astropy's are, or `from . import tests`.
_OWN_TESTS = re.compile(rb"\n(?:from|import) (?:(\.*)((?:\w+\.)*tests?)\b|(\.+) import [^\n]*\b(tests?)\b)")
_TEST = re.compile(r".*/(?:tests?|testing)/.*|.*/(?:conftest|test_[^/]*|[^/]*_test)\.py")
_PACKAGE = re.compile(r".*?(?:site|dist)-packages/[^/]+/")
_LOADED = re.compile(rb"(?:CDLL|PyDLL|LoadLibrary|find_library|dlopen)\(\s*[\"']([\w.+-]{2,80})[\"']")


class _PrefixFiles(msgspec.Struct, frozen=True):
    """What counts here of a record of conda-meta."""

    files: tuple[str, ...] = ()


def scan_layer(chunks: Iterable[bytes], where: str) -> Facts:
    """Read a layer's tar. What cannot be told of a stranger's tar (a device, a name that leaves the root) is passed over."""
    scanner = Scanner()
    for member in read_members(chunks, where, others=True, lenient=True):
        if 0 < len(member.path) <= _MAX_PATH:
            link = member.link if member.kind is EntryKind.SYMLINK else _plain(member.link)
            entry = Entry(path=member.path, kind=_KINDS[member.kind], mode=member.mode, size=member.size, link=link)
            scanner.add(entry, member.content)
    return scanner.facts()


def scan_folder(root: Path, *, as_root: bool = False) -> Facts:
    """Read all below a folder of this machine. Paths are absolute, without the first slash; `as_root` counts them from `root`."""
    scanner = Scanner(f"{root}/" if as_root else "/")
    for folder, names, files in os.walk(root):
        for name in sorted((*names, *files)):
            path = os.path.join(folder, name)  # noqa: PTH118 - there may be a hundred thousand of them
            try:
                scanner.add_local(path)
            except OSError:
                continue  # gone meanwhile, or not for us to read
    return scanner.facts()


def scan_wheel(archive: zipfile.ZipFile, root: str, name: str) -> Facts:
    """Read a wheel as if it were laid out in the folder `root`; its ``.data`` folders lie there as they are."""
    scanner = Scanner()
    total, packed = (sum(getattr(info, size) for info in archive.infolist()) for size in ("file_size", "compress_size"))
    if total > _RATIO_FREE + _MAX_RATIO * packed:
        raise FormatError(f"unpacks to {total} bytes from {packed}: refused", where=name)
    for info in archive.infolist():
        if not info.is_dir() and len(info.filename) <= _MAX_PATH:
            entry = Entry(path=f"{root}/{info.filename}", mode=info.external_attr >> 16 & 0o7777 or 0o644, size=info.file_size)
            try:
                scanner.add(entry, stream_member(archive, info))
            except ERRORS as error:
                raise FormatError(f"damaged: {error}", where=f"{name}: {info.filename}") from error
    return scanner.facts()


class Scanner:
    """Gathers facts, one file after the other."""

    def __init__(self, start: str = "/") -> None:
        self._start = start  # of this machine's paths: what is not part of an entry's
        self._entries: list[Entry] = []
        self._facts = Facts()  # its mappings are filled here
        self._linker_cache: tuple[tuple[str, str], ...] | None = None
        self._firm: dict[str, set[bytes]] = {}  # by package: the words of its unindented import statements
        self._loose: dict[str, set[bytes]] = {}
        self._own_tests: set[str] = set()

    def facts(self) -> Facts:
        optional = tuple(path for path, elf in self._facts.elves.items() if elf.exports and self._is_optional(path))
        return replace(
            self._facts,
            entries=tuple(self._entries),
            linker_cache=self._linker_cache,
            optional=optional,
            own_tests=tuple(sorted(self._own_tests)),
        )

    def _is_optional(self, path: str) -> bool:
        """Whether its package imports a module only where it could also do without, or only when a function is called."""
        package = _PACKAGE.match(path)
        stem = path.rpartition("/")[2].partition(".")[0].encode()
        if package is None:
            return False
        return stem in self._loose.get(package[0], ()) and stem not in self._firm.get(package[0], ())

    def add(self, entry: Entry, content: Iterator[bytes]) -> None:
        """Take a member of an archive; as much of `content` is read as is needed."""
        self._entries.append(entry)
        if entry.kind != FILE or self._add_document(entry, content):
            return
        if is_model(entry.path):
            self._add_model(entry, content)
            return
        first = next(content, b"")
        if first[:4] == MAGIC:
            with SpooledFile(chain((first,), content)) as spooled:
                self._add_elf(entry.path, spooled.read, spooled.size)
        elif entry.size <= READ_LIMIT and b"\0" not in first[:1024] and is_own(entry.path):
            self._add_secrets(entry.path, b"".join((first, *content)))

    def add_local(self, location: str) -> None:
        """Take a file of this machine."""
        state = os.lstat(location)
        path, mode = location.removeprefix(self._start), stat.S_IMODE(state.st_mode)
        if stat.S_ISLNK(state.st_mode):
            self._entries.append(Entry(path=path, kind=SYMLINK, mode=mode, link=os.readlink(location)))  # noqa: PTH115
        elif stat.S_ISDIR(state.st_mode):
            self._entries.append(Entry(path=path, kind=FOLDER, mode=mode))
        elif stat.S_ISREG(state.st_mode):
            entry = Entry(path=path, mode=mode, size=state.st_size)
            self._entries.append(entry)
            with open(location, "rb") as file:  # noqa: PTH123
                if is_model(path):
                    self._add_model(entry, iter(lambda: file.read(1 << 18), b""))
                elif not self._add_document(entry, iter(lambda: file.read(1 << 18), b"")):
                    self._add_local_content(entry, file)

    def _add_local_content(self, entry: Entry, file: BinaryIO) -> None:
        first = file.read(1024)
        if first[:4] == MAGIC:
            handle = file.fileno()
            self._add_elf(entry.path, lambda offset, length: os.pread(handle, length, offset), entry.size)
        elif entry.size <= READ_LIMIT and b"\0" not in first and is_own(entry.path):
            self._add_secrets(entry.path, first + file.read(READ_LIMIT))

    def _add_document(self, entry: Entry, content: Iterator[bytes]) -> bool:
        """Take what is told by its name; False for any other file, of which nothing has been read then."""
        for suits, limit, take in (
            (entry.path.endswith(".py"), _MAX_SOURCE, self._add_source),
            (entry.path.endswith(".dist-info/METADATA"), _MAX_SOURCE, self._add_metadata),
            (entry.path.endswith(".dist-info/RECORD"), _MAX_RECORD, self._add_record),
            (_TEXT.fullmatch(entry.path) is not None, _MAX_TEXT, self._add_text),
            (_LIST.fullmatch(entry.path) is not None, _MAX_RECORD, self._add_list),
            (entry.path == LINKER_CACHE, MAX_CACHE, self._add_linker_cache),
        ):
            if suits:
                if entry.size <= limit:
                    data = b"".join(content)
                    take(entry.path, data)
                    if is_own(entry.path):
                        self._add_secrets(entry.path, data)
                return True
        return False

    def _add_model(self, entry: Entry, content: Iterator[bytes]) -> None:
        found = scan_model(entry.path, entry.size, content)
        if found:
            self._facts.models[entry.path] = found

    def _add_secrets(self, path: str, data: bytes) -> None:
        kinds = find_secrets(data)
        inside = content_of(path.rpartition("/")[2])
        if not kinds and inside and inside.search(data):
            kinds = ("a key, a token or a login",)
        if kinds:
            self._facts.secrets[path] = kinds

    def _add_elf(self, path: str, read: Read, size: int) -> None:
        module = f"PyInit_{path.rpartition('/')[2].partition('.')[0]}"
        try:
            self._facts.elves[path] = parse_elf(read, size, path, (module,))
        except FormatError as error:
            self._facts.broken[path] = error.what

    def _add_source(self, path: str, data: bytes) -> None:
        package = _PACKAGE.match(path)
        if package:
            firm, loose = self._firm.setdefault(package[0], set()), self._loose.setdefault(package[0], set())
            for indented, statement in _IMPORT.findall(b"\n" + data):
                (loose if indented else firm).update(_WORD.findall(statement))
            if b"test" in data and not _TEST.fullmatch(path):
                self._own_tests.update(_find_own_tests(path, package[0], data))
        if b"ctypes" in data or b"cffi" in data:
            self._facts.loads[path] = tuple(sorted({name.decode() for name in _LOADED.findall(data)}))

    def _add_metadata(self, path: str, data: bytes) -> None:
        header = data.replace(b"\r\n", b"\n").partition(b"\n\n")[0]
        self._facts.texts[path] = b"\n".join(_METADATA_FIELDS.findall(header)).decode("utf-8", "replace")

    def _add_record(self, path: str, data: bytes) -> None:
        lines = data.decode("utf-8", "replace").splitlines()
        self._facts.tops[path] = tuple(sorted({"/".join(line.strip('"').split(",")[0].split("/")[:2]) for line in lines if line}))

    def _add_text(self, path: str, data: bytes) -> None:
        self._facts.texts[path] = data.decode("utf-8", "replace")

    def _add_list(self, path: str, data: bytes) -> None:
        """Paths as the list names them: of dpkg's from the root, of conda's from the prefix."""
        try:
            if path.endswith(".json"):
                found = msgspec.json.decode(data, type=_PrefixFiles).files
            else:
                found = tuple(line.partition("  ")[2] for line in data.decode("utf-8", "replace").splitlines())
        except msgspec.MsgspecError:
            return  # `check --files` says what is wrong with it
        self._facts.lists[path] = found

    def _add_linker_cache(self, path: str, data: bytes) -> None:
        try:
            self._linker_cache = parse_linker_cache(data, path)
        except FormatError as error:
            self._facts.broken[path] = error.what


def _find_own_tests(path: str, package: str, data: bytes) -> Iterator[str]:
    """The folders of tests that a module imports."""
    for dots, dotted, alone, name in _OWN_TESTS.findall(b"\n" + data):
        folder = path if dots or alone else package.rstrip("/")
        for _ in dots or alone or b".":
            folder = folder.rpartition("/")[0]
        yield f"{folder}/{(dotted or name).decode().replace('.', '/')}/"


def _plain(link: str) -> str:
    return "/".join(part for part in link.split("/") if part not in ("", "."))
