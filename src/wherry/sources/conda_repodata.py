"""Keeps the indexes of conda's channels (`repodata.json`) in the cache, unpacked, one a channel's address and subdir.

Each is asked for once per command, with the conditions that the server's last answer allows; `repodata.json.zst` is preferred
where there is one. Without network what is in the cache counts. An index is a stranger's claim: what comes of it is verified
by digest, and it is read by a process that may end. Kept under the address without credentials; no file here holds one.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

from wherry.errors import FormatError, StoreError, TransferError
from wherry.formats.decompress import unpack_chunks
from wherry.formats.urls import strip_channel_credentials
from wherry.model.progress import Progress, be_silent
from wherry.sources.transport import CHUNK, Freshness, MissingError, Transport

_VARIANTS = ("repodata.json.zst", "repodata.json")
_LARGEST_PACKED = 1 << 29
_LARGEST = 1 << 31
_LARGEST_STATE = 1 << 16


class RepodataCache:
    """Thread-safe."""

    def __init__(self, cache: Path, transport: Transport, *, offline: bool = False, progress: Progress = be_silent) -> None:
        self._folder = cache / "conda"
        self._transport = transport
        self._offline = offline
        self._progress = progress
        self._guard = threading.Lock()
        self._turns: dict[tuple[str, str], threading.Lock] = {}
        self._known: dict[tuple[str, str], Path | None] = {}

    def fetch(self, addresses: Sequence[str], subdir: str) -> Path | None:
        """The index of `subdir` at the first of the addresses that has one; None where each says that it has none."""
        problems: list[TransferError] = []
        for address in addresses:
            try:
                found = self._fetch_from(address, subdir)
            except TransferError as error:
                problems.append(error)
                continue
            if found is not None:
                return found
        if problems:
            raise problems[0]
        return None

    def _fetch_from(self, address: str, subdir: str) -> Path | None:
        key = (strip_channel_credentials(address), subdir)
        with self._guard:
            turn = self._turns.setdefault(key, threading.Lock())
        with turn:
            if key not in self._known:
                self._known[key] = self._refresh(address, subdir)
            return self._known[key]

    def _refresh(self, address: str, subdir: str) -> Path | None:
        place = hashlib.sha256(strip_channel_credentials(address).encode()).hexdigest()[:24]
        target = self._folder / place / subdir / "repodata.json"
        variant, former = _read_state(target)
        if self._offline and not address.startswith("file:") and variant:
            return target
        for name in dict.fromkeys((variant, *_VARIANTS) if variant else _VARIANTS):
            try:
                self._fetch_variant(f"{address}/{subdir}/{name}", target, former if name == variant else Freshness())
            except MissingError as error:
                if not error.gone:
                    raise TransferError(error.what, where=error.where, hint="a login or token in conda's configuration") from None
                continue
            return target
        return None

    def _fetch_variant(self, url: str, target: Path, former: Freshness) -> None:
        shown, name = strip_channel_credentials(url), url.rpartition("/")[2]
        beside = target.with_name(f".repodata.{os.urandom(8).hex()}.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=target.parent) as packed:
                state = self._transport.fetch_if_changed(url, packed, former, limit=_LARGEST_PACKED, progress=self._progress)
                if state is None:
                    return
                packed.seek(0)
                with beside.open("xb") as sink:
                    _unpack(packed, name, sink, shown)
                    os.fsync(sink.fileno())
            target.with_suffix(".state").unlink(missing_ok=True)
            beside.replace(target)
            _write_state(target, name, state)
        except OSError as error:
            raise StoreError(
                f"cannot write: {error.strerror}", where=str(target.parent), hint="WHERRY_CACHE=another folder"
            ) from error
        finally:
            with suppress(OSError):
                beside.unlink()


def _unpack(packed: BinaryIO, name: str, sink: BinaryIO, where: str) -> None:
    chunks: Iterator[bytes] = iter(lambda: packed.read(CHUNK), b"")
    head, tail = b"", b""
    for chunk in unpack_chunks(chunks, "zst" if name.endswith(".zst") else "", limit=_LARGEST, where=where):
        sink.write(chunk)
        head = head or chunk.lstrip()[:1]
        tail = chunk.rstrip()[-1:] or tail
    sink.flush()
    if (head, tail) != (b"{", b"}"):
        raise FormatError("is no index of a channel: no JSON object", where=where, hint="look at what the address serves")


def _read_state(target: Path) -> tuple[str, Freshness]:
    """Which variant is in the cache, and how fresh it was; nothing where that cannot be told."""
    try:
        with target.with_suffix(".state").open("rb") as source:
            state = json.loads(source.read(_LARGEST_STATE))
        variant, size = state["variant"], state["size"]
        freshness = Freshness(etag=str(state["etag"]), modified=str(state["modified"]))
        if variant in _VARIANTS and target.stat().st_size == size:
            return str(variant), freshness
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    return "", Freshness()


def _write_state(target: Path, variant: str, state: Freshness) -> None:
    text = json.dumps({"variant": variant, "size": target.stat().st_size, **asdict(state)})
    target.with_suffix(".state").write_text(text, encoding="utf-8")
