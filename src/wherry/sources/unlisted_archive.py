"""Fetches a conda archive of which nobody says the sha256 or the size, and tells them: old lists have an MD5 or nothing.

What came is kept in the cache under the digest that it was found to have; from then on it is locked like any other. An MD5 that
is given must be the archive's. It tells damage, not fraud: whoever locks such an archive trusts the channel at that moment.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from wherry.errors import FormatError, StoreError, TransferError, TrustError
from wherry.formats.urls import strip_channel_credentials
from wherry.model.digest import Digest
from wherry.model.progress import Progress
from wherry.sources.transport import Freshness, Transport

_LARGEST = 8 << 30  # bytes; conda's greatest packages have less than 4 GiB


def measure_archive(
    urls: Sequence[str], file: str, md5: str | None, transport: Transport, cache: Path, progress: Progress
) -> tuple[int, Digest, Path]:
    """Size, sha256 and place of the archive, which lay at the first of `urls` that has it. Raises what the last one said."""
    if file != Path(file).name or not file.endswith((".conda", ".tar.bz2")):
        raise FormatError(f"no name of a conda package: {file[:120]!r}")
    problem = TransferError("there is no address to fetch it from", where=file)
    for url in urls:
        try:
            return _measure(url, file, md5, transport, cache / "artefacts" / "sha256", progress)
        except TransferError as error:
            problem = error
    raise problem


def _measure(
    url: str, file: str, md5: str | None, transport: Transport, folder: Path, progress: Progress
) -> tuple[int, Digest, Path]:
    beside = folder / f".{file[:100]}.{os.urandom(8).hex()}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with beside.open("x+b") as sink:
            transport.fetch_if_changed(url, sink, Freshness(), limit=_LARGEST, progress=progress)
            size = sink.tell()
            sink.seek(0)
            found = hashlib.file_digest(sink, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
            sink.seek(0)
            digest = Digest(hashlib.file_digest(sink, "sha256").hexdigest())
            os.fsync(sink.fileno())
        if md5 is not None and found != md5:
            what = f"{file} has the MD5 {found} instead of {md5}"
            raise TrustError(what, where=strip_channel_credentials(url), hint="find out who changed it")
        if size == 0:
            raise FormatError(f"{file} is empty", where=strip_channel_credentials(url))
        target = folder / digest.hex / file
        target.parent.mkdir(parents=True, exist_ok=True)
        beside.replace(target)
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error.strerror}", hint="WHERRY_CACHE=another folder") from error
    finally:
        with suppress(OSError):
            beside.unlink()
    return size, digest, target
