"""Lays a wheel out as tar entries, without unpacking or running it.

`installer` decides where each file goes (its `install` is driven with a source and a destination that move no bytes);
contents are streamed later, each checked against the wheel's RECORD while it is read. Follows the binary distribution
format and PEP 376/427/491. Refused: members that leave their scheme, two members of one name, members that
RECORD does not name or names wrongly, sizes that lie, and wheels that unpack to far more than they weigh.
"""

from __future__ import annotations

import base64
import configparser
import csv
import hashlib
import io
import os
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

import installer
from installer.destinations import WheelDestination
from installer.exceptions import InstallerError
from installer.records import Hash, InvalidRecordEntry, RecordEntry, parse_record_file
from installer.scripts import Script
from installer.sources import WheelContentElement, WheelFile
from installer.utils import Scheme, construct_record_file, fix_shebang

from wherry.errors import FormatError
from wherry.formats.tar import TarEntry, file_entry
from wherry.formats.zip_member import ERRORS, stream_member
from wherry.model.layout import EnvironmentLayout

_MAX_SMALL = 1 << 20  # what is read whole: scripts with a shebang, metadata
_MAX_METADATA = 64 << 20  # RECORD of the largest wheels has some 20,000 lines
_MAX_RATIO = 200
_RATIO_FREE = 64 << 20
_UNSOUND = "tell its publisher; lock another version"
_UNRECORDED = ("RECORD", "RECORD.jws", "RECORD.p7s")


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelLayout:
    """A wheel's files as they lie in the image, sorted by path; `python` are those that Python can compile."""

    entries: tuple[TarEntry, ...]
    digests: dict[str, str]  # path → "sha256=…" as RECORD writes it
    python: tuple[str, ...]


def plan_wheel(archive: zipfile.ZipFile, name: str, environment: EnvironmentLayout) -> WheelLayout:
    """Plan where the files of an open wheel go. `name` is for messages."""
    try:
        _check_members(archive, name)
        source = _Source(archive, name)
        destination = _Destination(source, environment)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # shipped __pycache__ is left out: we make our own
            installer.install(source, destination, {"INSTALLER": b"wherry\n"})
    except (InstallerError, InvalidRecordEntry, KeyError, AssertionError, configparser.Error, csv.Error, *ERRORS) as error:
        raise FormatError(f"not a sound wheel: {' '.join(str(error).split())}", where=name, hint=_UNSOUND) from error
    return destination.layout()


def _check_members(archive: zipfile.ZipFile, name: str) -> None:
    seen: set[str] = set()
    total = packed = 0
    for info in archive.infolist():
        path = info.filename
        if path in seen:
            raise FormatError(f"two members of one name: {path!r}", where=name, hint=_UNSOUND)
        seen.add(path)
        # zipfile cuts a name at its first NUL and turns backslashes round: what it was called is in orig_filename.
        parts = info.orig_filename.split("/")
        if path.startswith("/") or ".." in parts or "." in parts or "\\" in info.orig_filename or "\0" in info.orig_filename:
            raise FormatError(f"a member that leaves the wheel: {info.orig_filename!r}", where=name, hint=_UNSOUND)
        total += info.file_size
        packed += info.compress_size
    if total > _RATIO_FREE + _MAX_RATIO * packed:
        raise FormatError(f"unpacks to {total} bytes from {packed}: refused", where=name, hint=_UNSOUND)


class _Member:
    """A member that is opened only when somebody reads it. `installer` passes it from our source to our destination."""

    def __init__(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo, recorded: Hash, name: str) -> None:
        self.archive = archive
        self.info = info
        self.recorded = recorded
        self.name = name

    def chunks(self) -> Iterator[bytes]:
        """Stream the contents; a mismatch with RECORD or the zip's own sums is a `FormatError`."""
        where = f"{self.name}: {self.info.filename}"
        digest = hashlib.new(self.recorded.name)
        try:
            for chunk in stream_member(self.archive, self.info):
                digest.update(chunk)
                yield chunk
        except ERRORS as error:
            raise FormatError(f"damaged: {error}", where=where) from error
        if base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode() != self.recorded.value.rstrip("="):
            raise FormatError("its contents differ from RECORD", where=where, hint=_UNSOUND)

    def read_small(self) -> bytes:
        if self.info.file_size > _MAX_SMALL:
            raise FormatError(f"a script of {self.info.file_size} bytes", where=self.name, hint=_UNSOUND)
        return b"".join(self.chunks())

    def starts_with(self, prefix: bytes) -> bool:
        with self.archive.open(self.info) as stream:
            return stream.read(len(prefix)) == prefix


class _Source(WheelFile):
    """A wheel whose contents are named, not read."""

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        super().__init__(archive)
        self.archive = archive
        self.name = name

    def read_dist_info(self, filename: str) -> str:
        info = self.archive.getinfo(f"{self.dist_info_dir}/{filename}")
        if info.file_size > _MAX_METADATA:
            raise FormatError(f"{filename} has {info.file_size} bytes", where=self.name, hint=_UNSOUND)
        return self.archive.read(info).decode()

    def get_contents(self) -> Iterator[WheelContentElement]:
        records = {row[0]: row for row in parse_record_file(self.read_dist_info("RECORD").splitlines())}
        unrecorded = {f"{self.dist_info_dir}/{file}" for file in _UNRECORDED}
        for info in self.archive.infolist():
            if info.filename.endswith("/") or info.filename in unrecorded:
                continue
            row = records.pop(info.filename, None)
            if row is None:
                raise FormatError(f"RECORD does not name {info.filename!r}", where=self.name, hint=_UNSOUND)
            record = RecordEntry.from_elements(*row)
            if record.hash_ is None or record.hash_.name not in ("sha256", "sha384", "sha512"):
                raise FormatError(f"RECORD has no safe digest of {info.filename!r}", where=self.name, hint=_UNSOUND)
            if record.size is not None and record.size != info.file_size:
                raise FormatError(
                    f"RECORD says {record.size} bytes of {info.filename!r}, there are {info.file_size}",
                    where=self.name,
                    hint=_UNSOUND,
                )
            executable = bool(info.external_attr >> 16 & 0o111)
            yield row, cast("BinaryIO", _Member(self.archive, info, record.hash_, self.name)), executable
        missing = [path for path in records if path not in unrecorded]
        if missing:
            raise FormatError(f"RECORD names {missing[0]!r}, which is not there", where=self.name, hint=_UNSOUND)


class _Destination(WheelDestination):
    """Gathers entries where `installer` would write files."""

    def __init__(self, source: _Source, environment: EnvironmentLayout) -> None:
        library = environment.site_packages
        self._name = source.name
        self._prefix = environment.prefix
        self._folders: dict[str, str] = {
            "purelib": library,
            "platlib": library,
            "scripts": environment.scripts,
            "headers": f"{environment.headers}/{source.distribution}",
            "data": environment.prefix,
        }
        self._interpreter = f"/{environment.interpreter_names[0]}"
        self._taken = frozenset((*environment.interpreter_names, environment.configuration))
        self._entries: dict[str, TarEntry] = {}
        self._digests: dict[str, str] = {}

    def write_script(self, name: str, module: str, attr: str, section: str) -> RecordEntry:
        script = Script(name, module, attr, section)  # type: ignore[arg-type]
        file, data = script.generate(self._interpreter, "posix")
        return self._add_bytes("scripts", file, data, executable=True)

    def write_file(self, scheme: Scheme, path: str | os.PathLike[str], stream: BinaryIO, is_executable: bool) -> RecordEntry:
        path = os.fspath(path)
        member: object = stream
        if not isinstance(member, _Member):  # metadata that installer adds
            return self._add_bytes(scheme, path, stream.read(), executable=False)
        if scheme == "scripts" and member.starts_with(b"#!python"):
            with fix_shebang(io.BytesIO(member.read_small()), self._interpreter) as fixed:
                return self._add_bytes(scheme, path, fixed.read(), executable=True)
        mode = 0o755 if is_executable or scheme == "scripts" else 0o644
        entry = TarEntry(path=self._place(scheme, path), mode=mode, size=member.info.file_size, content=member.chunks)
        return self._add(entry, path, str(member.recorded))

    def finalize_installation(self, scheme: Scheme, record_file_path: str, records: object) -> None:
        def prefix(given: str) -> str | None:
            if given == scheme or self._folders[given] == self._folders[scheme]:
                return None
            up = "../" * (self._folders[scheme].count("/") - self._prefix.count("/"))
            return up + self._folders[given][len(self._prefix) + 1 :] + "/" if self._folders[given] != self._prefix else up

        ordered = [(given, record) for given, record in records]  # type: ignore[attr-defined]
        ordered.append((scheme, RecordEntry(record_file_path, None, None)))
        data = construct_record_file(ordered, prefix_for_scheme=prefix).read()
        self._add_bytes(scheme, record_file_path, data, executable=False)

    def layout(self) -> WheelLayout:
        library = self._folders["purelib"] + "/"
        paths = sorted(self._entries)
        return WheelLayout(
            entries=tuple(self._entries[path] for path in paths),
            digests=self._digests,
            python=tuple(path for path in paths if path.endswith(".py") and path.startswith(library)),
        )

    def _add_bytes(self, scheme: str, path: str, data: bytes, *, executable: bool) -> RecordEntry:
        value = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        entry = file_entry(self._place(scheme, path), data, 0o755 if executable else 0o644)
        return self._add(entry, path, f"sha256={value}")

    def _add(self, entry: TarEntry, path: str, digest: str) -> RecordEntry:
        if entry.path in self._taken or entry.path.startswith(f"{self._prefix}/conda-meta/"):
            raise FormatError(f"would replace the environment's own /{entry.path}", where=self._name, hint=_UNSOUND)
        if entry.path in self._entries:
            raise FormatError(f"two files for /{entry.path}", where=self._name, hint=_UNSOUND)
        self._entries[entry.path] = entry
        self._digests[entry.path] = digest
        return RecordEntry(path, Hash.parse(digest), entry.size)

    def _place(self, scheme: str, path: str) -> str:
        if path.startswith("/") or ".." in path.split("/") or "" in path.split("/"):
            raise FormatError(f"a file that leaves its folder: {path!r}", where=self._name, hint=_UNSOUND)
        return f"{self._folders[scheme]}/{path}"
