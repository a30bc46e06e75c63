"""The port behind which object stores live: a folder, memory, S3, Azure Blob, Google's. Keys to bytes, and two conditional puts.

What sweeps build on, and every store proves in one suite (tests/unit/store/objects_contract.py): a put is seen whole or not at all;
what was put is seen by whoever asks after; of any number of `put_if_absent` of one key exactly one is True, and of
`put_if_match` of one version likewise. A version stands for the bytes: it may be equal again when the bytes are.

Keys are of parts with ``/`` between, each of letters, digits and ``_ = - .``, no ``-`` or ``.`` first, 255 letters at most and 1000
in all; no key is another one's folder (``a`` and ``a/b``), because no folder could hold both. Trouble that may pass is a
`TransferError`, all else a `StoreError`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from wherry.errors import UsageError

PAGE = 1000
_LONGEST, _LONGEST_PART = 1000, 255
_KEY = re.compile(r"[A-Za-z0-9_=][A-Za-z0-9_.=-]*(?:/[A-Za-z0-9_=][A-Za-z0-9_.=-]*)*")


@dataclass(frozen=True, slots=True)
class Held:
    """An object's bytes, and the version that `put_if_match` asks for."""

    data: bytes
    version: str


@dataclass(frozen=True, slots=True)
class Listed:
    """An object in a list."""

    key: str
    size: int


class ObjectStore(Protocol):
    """Objects by key. `url` opens the same store again, anywhere that it can be reached from; there is no credential in it."""

    @property
    def url(self) -> str: ...

    def get(self, key: str) -> Held | None:
        """A small object, whole; None where there is none."""
        ...

    def size(self, key: str) -> int | None:
        """How large an object is; None where there is none."""
        ...

    def read(self, key: str, offset: int, length: int) -> bytes:
        """A range of an object, shorter at its end. One that is missing is a `StoreError`."""
        ...

    def put(self, key: str, source: bytes | Path) -> None:
        """Put an object, whatever was there."""
        ...

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Put an object where there is none; False where there is one."""
        ...

    def put_if_match(self, key: str, data: bytes, version: str) -> bool:
        """Put an object in place of this version; False where it is another or none."""
        ...

    def list(self, prefix: str) -> Iterator[tuple[Listed, ...]]:
        """Pages of objects below `prefix`, which is empty or ends in ``/``, in the order of their keys' bytes."""
        ...

    def folders(self, prefix: str) -> tuple[str, ...]:
        """What stands between `prefix` and the next ``/`` of keys, each once."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object; one that is gone is fine."""
        ...


def check_key(key: str) -> str:
    """The key, if it is one."""
    if not is_key(key):
        raise UsageError(f"not a key: {key[:100]!r}")
    return key


def is_key(text: str) -> bool:
    """Whether every store can have an object of this name."""
    return bool(_KEY.fullmatch(text)) and len(text) <= _LONGEST and all(len(part) <= _LONGEST_PART for part in text.split("/"))
