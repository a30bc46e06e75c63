"""Reads of a wheel for Windows what its DLLs ask for, and in which folders its Python code has them looked for.

lief holds a file whole (`formats.pe`), so that one is read at a time, and none beyond `MAX_PE`. The members were streamed
before by `scan.scan_wheel`, which refuses bombs.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field

from wherry.errors import FormatError
from wherry.formats.pe import MAX_PE, PeFile, parse_pe
from wherry.formats.zip_member import stream_member

_BINARY = re.compile(r".*\.(?:pyd|dll|exe)", re.IGNORECASE)
_PYTHONS_FOLDER = re.compile(r"[^/]+\.data/(?:data(?:/Scripts)?|scripts)/[^/]+")
_MAX_SOURCE = 4 << 20
# Code that has Windows look into a folder, or loads from there what others then find loaded.
_LOOKS = re.compile(rb"add_dll_directory|WinDLL|CDLL|LoadLibrary")
_WORD = re.compile(rb"[\w.+-]{1,200}")
_REQUIRES = re.compile(rb"^Requires-Dist: *([A-Za-z0-9._-]+)([^\r\n]*)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelDlls:
    """`files` are libraries and programs by path; `modules` those that are imported, with their dotted names.

    `broken` says why a file cannot be read, `unread` how large one is that is not. `folders` are where Windows is made to look
    beside a module's own folder; `requires` are the distributions that the wheel asks for unconditionally.
    """

    files: Mapping[str, PeFile] = field(default_factory=dict)
    modules: Mapping[str, str] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)
    unread: Mapping[str, int] = field(default_factory=dict)
    folders: frozenset[str] = frozenset()
    requires: frozenset[str] = frozenset()
    by_name: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # in lower case: the files of a name, wherever they lie

    def find(self, name: str, home: str, architecture: str) -> str | None:
        """The file that serves a name for a module in the folder `home`."""
        for path in self.by_name.get(name, ()):
            folder = path.rpartition("/")[0]
            if self.files[path].architecture != architecture:
                continue
            if folder == home or folder in self.folders or _PYTHONS_FOLDER.fullmatch(path):
                return path
        return None


def read_dlls(archive: zipfile.ZipFile) -> WheelDlls:
    """Read all that a wheel holds of them."""
    reader = _Reader()
    for info in archive.infolist():
        if _BINARY.fullmatch(info.filename):
            reader.take_binary(archive, info)
        elif info.filename.endswith((".py", ".dist-info/METADATA")) and info.file_size <= _MAX_SOURCE:
            reader.take_text(info.filename, b"".join(stream_member(archive, info)))
    return reader.finish()


class _Reader:
    def __init__(self) -> None:
        self._files: dict[str, PeFile] = {}
        self._broken: dict[str, str] = {}
        self._unread: dict[str, int] = {}
        self._words: dict[str, set[str]] = {}  # by folder of the sources that have Windows look for DLLs: the words in them
        self._requires: frozenset[str] = frozenset()

    def take_binary(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
        if info.file_size > MAX_PE:
            self._unread[info.filename] = info.file_size
            return
        try:
            self._files[info.filename] = parse_pe(b"".join(stream_member(archive, info)), info.filename)
        except FormatError as error:
            self._broken[info.filename] = error.what

    def take_text(self, path: str, data: bytes) -> None:
        if path.endswith("/METADATA"):
            self._requires = _list_requirements(data)
        elif _LOOKS.search(data):
            self._words.setdefault(path.rpartition("/")[0], set()).update(_list_words(data))

    def finish(self) -> WheelDlls:
        by_name: dict[str, tuple[str, ...]] = {}
        for path in self._files:
            name = _last(path).lower()
            by_name[name] = (*by_name.get(name, ()), path)
        words = set().union(*self._words.values())
        folders = {path.rpartition("/")[0] for path in self._files}
        return WheelDlls(
            files=self._files,
            modules={path: _name_module(path) for path in self._files if path.lower().endswith(".pyd")},
            broken=self._broken,
            unread=self._unread,
            folders=frozenset(folder for folder in folders if folder in self._words or _last(folder) in words),
            requires=self._requires,
            by_name=by_name,
        )


def _name_module(path: str) -> str:
    """Dotted, as it is imported: ``x/_c.cp311-win_amd64.pyd`` is x._c."""
    folder, _, name = path.rpartition("/")
    return ".".join(part for part in (*folder.split("/"), name.partition(".")[0]) if part)


def _list_words(source: bytes) -> set[str]:
    return {word.decode("utf-8", "replace") for word in _WORD.findall(source)}


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def _list_requirements(metadata: bytes) -> frozenset[str]:
    header = metadata.replace(b"\r\n", b"\n").partition(b"\n\n")[0]
    return frozenset(
        re.sub(r"[-_.]+", "-", name.decode()).lower() for name, rest in _REQUIRES.findall(header) if b"extra" not in rest
    )
