"""Content addresses: `Digest` names stored bytes, `DiffId` names an uncompressed layer tar (OCI image-spec, config)."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from wherry.errors import FormatError

_HEX = re.compile(r"[0-9a-f]{64}")


def _parse_sha256(text: str) -> str:
    algorithm, _, value = text.partition(":")
    if algorithm != "sha256" or not _HEX.fullmatch(value):
        raise FormatError(f"not a sha256 digest: {text[:80]!r}")
    return value


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """sha256 of stored bytes. ``str()`` gives ``sha256:<64 hex>``."""

    hex: str

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read ``sha256:<64 hex>``; anything else is a `FormatError`."""
        return cls(_parse_sha256(text))

    @classmethod
    def of(cls, data: bytes) -> Digest:
        return cls(hashlib.sha256(data).hexdigest())

    def __str__(self) -> str:
        return f"sha256:{self.hex}"


@dataclass(frozen=True, slots=True, order=True)
class DiffId:
    """sha256 of a layer's uncompressed tar. A class of its own, so that it is never taken for a blob's digest."""

    hex: str

    @classmethod
    def parse(cls, text: str) -> DiffId:
        """Read ``sha256:<64 hex>``; anything else is a `FormatError`."""
        return cls(_parse_sha256(text))

    def __str__(self) -> str:
        return f"sha256:{self.hex}"
