"""A store in memory: for tests, and for the few small documents that never need a disk."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from typing import BinaryIO

from wherry.errors import StoreError, TrustError
from wherry.model.digest import Digest


class MemoryStore:
    """A `BlobStore` that forgets everything with the process."""

    def __init__(self) -> None:
        self._blobs: dict[Digest, bytes] = {}

    def has(self, digest: Digest) -> bool:
        return digest in self._blobs

    def open(self, digest: Digest) -> BinaryIO:
        try:
            return io.BytesIO(self._blobs[digest])
        except KeyError:
            raise StoreError(f"no blob {digest} in memory") from None

    def put(self, chunks: Iterable[bytes], digest: Digest, size: int) -> None:
        parts: list[bytes] = []
        hasher, received = hashlib.sha256(), 0
        for chunk in chunks:
            received += len(chunk)
            if received > size:
                raise TrustError(f"blob {digest} is longer than the {size} bytes announced")
            hasher.update(chunk)
            parts.append(bytes(chunk))
        if received != size or hasher.hexdigest() != digest.hex:
            raise TrustError(f"blob {digest}: got {received} of {size} bytes, sha256:{hasher.hexdigest()}")
        self._blobs[digest] = b"".join(parts)
