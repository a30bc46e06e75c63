"""Records of conda laid out by py-rattler in a folder of their own, and what came out held against what was to be expected.

py-rattler runs in a process of its own (`rattler_program`); what it wrote is not believed: each file must be one that the
record's own list names, a plain file or a link, below no link, and its content must have the digest of that list when it
is read. Modes are read from the files, but only whether they are executable, so that no umask matters.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from wherry.errors import FormatError, StoreError
from wherry.formats.prefix_record import InstalledFile, PrefixRecord, parse_prefix_record, prefix_record_name, render_prefix_record
from wherry.formats.tar import Content, TarEntry, file_entry, symlink_entry
from wherry.model.lock import LockedRecord
from wherry.sources.rattler_program import run_rattler
from wherry.store.posix import explain_os_errors, hold_lock

_CHUNK = 1 << 20
_TIMEOUT = 1800.0  # seconds; hundreds of records on a slow disk
_LARGEST = 64 << 20  # bytes of a record's own list


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedRecord:
    """One record's files, by their paths below the prefix, as they will lie there."""

    record: LockedRecord
    found: PrefixRecord
    files: Mapping[str, TarEntry]

    def entries(self, prefix: str, kept: Collection[str]) -> Iterator[TarEntry]:
        """The entries of the files in `kept`, and of what conda-meta says of them, below `prefix`.

        A record of whose files none is kept is no longer there, and conda-meta says nothing of it.
        """
        if self.files and not kept:
            return
        for path in self.files:
            if path in kept:
                yield self.entry(prefix, path)
        yield file_entry(f"{prefix}/{prefix_record_name(self.record)}", render_prefix_record(self.found, self.record, kept))

    def entry(self, prefix: str, path: str) -> TarEntry:
        """One file, below `prefix`."""
        return replace(self.files[path], path=f"{prefix}/{path}")


@contextmanager
def stage_records(
    archives: Sequence[tuple[LockedRecord, Path]], *, python: str | None, prefix: str, folder: Path
) -> Iterator[dict[str, StagedRecord]]:
    """The records by name, as they lie when they are installed at `prefix` (without a leading slash) with this Python.

    The archives must have been verified. What is laid out lies below `folder` while the block lasts.
    """
    with _open_scratch(folder / "staging") as making:
        request = {"folder": str(making), "prefix": f"/{prefix}", "python": python, "records": [_ask(*pair) for pair in archives]}
        answer = run_rattler("stage", request, timeout=_TIMEOUT)
        pairs = zip(archives, answer["folders"], strict=True)
        yield {record.name: _read_staged(record, making / name) for (record, _), name in pairs}


@contextmanager
def _open_scratch(top: Path) -> Iterator[Path]:
    """A folder for as long as the block lasts. Those that a killed process left behind go: nobody holds their locks."""
    with explain_os_errors(top):
        top.mkdir(parents=True, exist_ok=True)
        for lock in top.glob("*.lock"):
            with hold_lock(lock, exclusive=True, wait=False) as ours:
                if ours:
                    shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                    lock.unlink(missing_ok=True)
    name = os.urandom(8).hex()
    with hold_lock(top / f"{name}.lock", exclusive=True):
        try:
            with explain_os_errors(top):
                (top / name).mkdir(mode=0o700)
            yield top / name
        finally:
            shutil.rmtree(top / name, ignore_errors=True)
            (top / f"{name}.lock").unlink(missing_ok=True)


def _ask(record: LockedRecord, archive: Path) -> dict[str, object]:
    return {
        "archive": str(archive.absolute()),
        "file": record.file,
        "subdir": record.subdir,
        "sha256": record.sha256.hex,
        "size": record.size,
    }


def _read_staged(record: LockedRecord, folder: Path) -> StagedRecord:
    listed = folder / prefix_record_name(record)
    try:
        if listed.stat().st_size > _LARGEST:
            raise FormatError("a list of files that is too long", where=record.file)
        found = parse_prefix_record(listed.read_bytes(), record.file)
    except FileNotFoundError:
        what = f"the archive is not of {record.name} {record.version} {record.build}"
        raise FormatError(what, where=record.file, hint="wherry lock --upgrade") from None
    except OSError as error:
        raise StoreError(f"cannot be read: {error.strerror}", where=str(listed)) from error
    links = {file.path for file in found.files if file.is_link}
    files = {file.path: _read_file(file, folder, links, record) for file in found.files}
    return StagedRecord(record=record, found=found, files=files)


def _read_file(file: InstalledFile, folder: Path, links: Collection[str], record: LockedRecord) -> TarEntry:
    parts = file.path.split("/")
    above = ("/".join(parts[:count]) for count in range(1, len(parts)))
    if not file.path or not {"", ".", ".."}.isdisjoint(parts) or any(path in links for path in above):
        raise FormatError(f"a file that leaves the prefix, or lies below a link: {file.path!r}", where=record.file)
    place = folder / file.path
    try:
        state = place.lstat()
        if file.is_link and stat.S_ISLNK(state.st_mode):
            return symlink_entry(file.path, os.readlink(place))  # noqa: PTH115 - text is wanted
    except OSError as error:
        raise FormatError(f"{file.path!r} was not laid out: {error.strerror}", where=record.file) from error
    if file.is_link or not stat.S_ISREG(state.st_mode):
        raise FormatError(f"{file.path!r} was laid out as something else than its list says", where=record.file)
    content = _open_content(place, file, record)
    return TarEntry(path=file.path, mode=0o755 if state.st_mode & 0o111 else 0o644, size=state.st_size, content=content)


def _open_content(place: Path, file: InstalledFile, record: LockedRecord) -> Content:
    def read() -> Iterator[bytes]:
        digest = hashlib.sha256()
        try:
            with place.open("rb") as stream:
                while chunk := stream.read(_CHUNK):
                    digest.update(chunk)
                    yield chunk
        except OSError as error:
            raise StoreError(f"cannot be read: {error.strerror}", where=str(place)) from error
        if file.sha256 is not None and digest.hexdigest() != file.sha256:
            raise FormatError(f"the content of {file.path!r} differs from the record's own list", where=record.file)

    return read
