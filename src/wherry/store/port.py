"""The port behind which blobs live: memory, disk, a registry. Small, so that wrappers (caching, metered) stay small too."""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO, Protocol

from wherry.model.digest import Digest


class BlobStore(Protocol):
    """Content-addressed bytes. `has` is cheap; `open` streams and verifies nothing; `put` verifies everything."""

    def has(self, digest: Digest) -> bool: ...

    def open(self, digest: Digest) -> BinaryIO:
        """Open a blob for reading from its start; one that is missing is a `StoreError`."""
        ...

    def put(self, chunks: Iterable[bytes], digest: Digest, size: int) -> None:
        """Store a blob. Bytes that do not match `digest` and `size` are a `TrustError`, and nothing is kept of them."""
        ...
