"""Reads a package's source archive, a `.tar.gz`, `.tar` or `.zip` that a stranger made, as a stream; runs nothing in it.

Knows what docs/spec/builds.md, "The source archive", says: one top folder, in it (or in a folder below) maybe a `pyproject.toml`.
Refused: what read_members refuses (devices, names that leave the archive), archives that unpack to more than `MAX_UNPACKED`
bytes or to more than `MAX_RATIO` times their size, truncated ones, several top folders.
"""

from __future__ import annotations

import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO

from wherry.errors import FormatError
from wherry.formats.decompress import CHUNK, unpack_chunks
from wherry.formats.tar import EntryKind, TarEntry, stream_tar
from wherry.formats.untar import plain_path, read_members
from wherry.formats.zip_member import ERRORS, stream_member

MAX_UNPACKED = 2 << 30
MAX_RATIO = 200
MAX_MEMBERS = 100_000
_RATIO_FREE = 64 << 20
_MAX_PYPROJECT = 1 << 20
_DEFAULT_BACKEND = "setuptools.build_meta:__legacy__"
_DEFAULT_REQUIRES = ("setuptools>=40.8.0",)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceTree:
    """What an archive says of itself. `folder` is the source tree in it; the rest is its build system (PEP 518, 517)."""

    folder: str
    requires: tuple[str, ...] = _DEFAULT_REQUIRES
    backend: str = _DEFAULT_BACKEND
    backend_path: tuple[str, ...] = ()


def stream_source(stream: BinaryIO, file: str, size: int) -> Iterator[bytes]:
    """The archive as a plain tar. `file` is its name, `size` its length; `stream` stays open until the last piece."""
    limit = min(MAX_UNPACKED, max(_RATIO_FREE, MAX_RATIO * size))
    if file.endswith(".zip"):
        yield from _stream_zip(stream, file, limit)
        return
    suffix = "gz" if file.endswith(".tar.gz") else ""
    yield from unpack_chunks(iter(lambda: stream.read(CHUNK), b""), suffix, limit=limit, where=file)


def survey_source(chunks: Iterable[bytes], file: str, subfolder: str = "") -> SourceTree:
    """Read the whole tar once: where the source tree is, and how it wants to be built."""
    tops: dict[str, EntryKind] = {}
    texts: dict[str, bytes] = {}
    folders: set[str] = set()
    for number, member in enumerate(read_members(chunks, file)):
        if number >= MAX_MEMBERS:
            raise FormatError(f"has more than {MAX_MEMBERS} members", where=file)
        top, _, rest = member.path.partition("/")
        if not top:
            continue
        tops[top] = EntryKind.DIRECTORY if rest else member.kind
        folders.add(member.path if member.kind is EntryKind.DIRECTORY else member.path.rpartition("/")[0])
        if rest == (f"{subfolder}/pyproject.toml" if subfolder else "pyproject.toml") and member.kind is EntryKind.FILE:
            texts[top] = _read_small(member.content, member.size, f"{file}: {member.path}")
    if len(tops) != 1 or list(tops.values()) != [EntryKind.DIRECTORY]:
        raise FormatError("is no source archive: it has not one folder at its top", where=file)
    (top,) = tops
    folder = f"{top}/{subfolder}" if subfolder else top
    if not any(path == folder or path.startswith(f"{folder}/") for path in folders):
        raise FormatError(f"has no folder {subfolder}", where=file)
    return _read_build_system(texts.get(top), folder, f"{file}: {folder}/pyproject.toml")


def _read_small(content: Iterator[bytes], size: int, where: str) -> bytes:
    if size > _MAX_PYPROJECT:
        raise FormatError(f"has {size} bytes", where=where)
    return b"".join(content)


def _read_build_system(text: bytes | None, folder: str, where: str) -> SourceTree:
    if text is None:
        return SourceTree(folder=folder)
    try:
        document = tomllib.loads(text.decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"is not TOML: {str(error)[:200]}", where=where) from None
    system = document.get("build-system")
    if system is None:
        return SourceTree(folder=folder)
    if not isinstance(system, dict):
        raise FormatError("build-system is no table", where=where)
    requires = _texts(system, "requires", where)
    backend = system.get("build-backend", _DEFAULT_BACKEND)
    if not isinstance(backend, str) or not backend.replace(":", ".").replace(".", "_").replace("_", "a").isalnum():
        raise FormatError("build-backend names no module", where=where)
    paths = tuple(plain_path(path, where) for path in _texts(system, "backend-path", where))
    return SourceTree(folder=folder, requires=requires, backend=backend, backend_path=paths)


def _texts(table: dict[str, Any], key: str, where: str) -> tuple[str, ...]:
    values = table.get(key, [])
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise FormatError(f"build-system.{key} is no list of texts", where=where)
    return tuple(values)


def _stream_zip(stream: BinaryIO, file: str, limit: int) -> Iterator[bytes]:
    try:
        with zipfile.ZipFile(stream) as archive:
            yield from stream_tar(_zip_entries(archive, file, limit))
    except ERRORS as error:
        raise FormatError(f"damaged zip data: {' '.join(str(error).split())}", where=file) from error


def _zip_entries(archive: zipfile.ZipFile, file: str, limit: int) -> Iterator[TarEntry]:
    total = 0
    for info in archive.infolist():
        if "\\" in info.orig_filename or "\0" in info.orig_filename:
            raise FormatError(f"a member whose name leaves the root: {info.orig_filename!r}", where=file)
        path = plain_path(info.filename, file)
        total += info.file_size
        if total > limit:
            raise FormatError(f"zip data that holds more than the {limit} bytes allowed", where=file)
        if info.is_dir():
            if path:
                yield TarEntry(path=path, kind=EntryKind.DIRECTORY, mode=0o755)
            continue
        mode = 0o755 if info.external_attr >> 16 & 0o100 else 0o644
        yield TarEntry(path=path, mode=mode, size=info.file_size, content=partial(stream_member, archive, info))
