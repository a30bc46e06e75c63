"""Writes one layer: entries to a tar, the tar to its diff_id, the compressed tar to a blob. Everything streams.

Compression is most of a build's time, so a written layer is remembered by what it was made of (docs/spec/layers.md,
"The layer cache"): the digests of its inputs, the layout's version, the codec, its version and its level.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from wherry.errors import FormatError, TrustError
from wherry.formats.codec import DEFAULT_LEVEL, codec_version, compressor
from wherry.formats.tar import TarEntry, write_tar
from wherry.model.declaration import Compression
from wherry.model.digest import DiffId, Digest
from wherry.model.oci import LAYER_GZIP, LAYER_ZSTD, Descriptor
from wherry.store.disk import DiskStore
from wherry.store.posix import write_atomically

LAYOUT_VERSION = 1  # rises when equal inputs would give another tar
_MEDIA_TYPE = {Compression.GZIP: LAYER_GZIP, Compression.ZSTD: LAYER_ZSTD}
_FLUSH = 1 << 18
EMPTY_LAYER = DiffId(hashlib.sha256(bytes(1024)).hexdigest())  # a tar without entries: two blocks of zeros


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerBlob:
    """A layer as it lies in the store; `size` is the blob's, in bytes."""

    diff_id: DiffId
    digest: Digest
    size: int
    media_type: str


def write_layer(entries: Iterable[TarEntry], store: DiskStore, compression: Compression) -> LayerBlob:
    """Write the entries, in the order given, as one layer. On an error nothing of it is kept."""
    hasher = hashlib.sha256()
    packer = compressor(compression.value)
    pending = bytearray()
    with store.begin() as writer:

        def flush() -> None:
            data = bytes(pending)
            pending.clear()
            hasher.update(data)
            writer.write(packer.write(data))

        def sink(data: bytes) -> None:
            # Headers are small: gathered, so that hashing and compressing release the interpreter's lock for long.
            pending.extend(data)
            if len(pending) >= _FLUSH:
                flush()

        write_tar(entries, sink)
        flush()
        writer.write(packer.finish())
        digest = writer.commit()
        return LayerBlob(diff_id=DiffId(hasher.hexdigest()), digest=digest, size=writer.size, media_type=_MEDIA_TYPE[compression])


def keep_layer(
    chunks: Iterable[bytes], diff_id: DiffId, store: DiskStore, compression: Compression, stored: Descriptor | None
) -> LayerBlob:
    """A layer that was found as a tar. `stored` is a blob of it that is compressed as wanted; else one is written.

    A tar that is not `diff_id` is a `TrustError`, and nothing of it is kept.
    """
    hasher = hashlib.sha256()
    media_type = _MEDIA_TYPE[compression]
    if stored is not None:
        for chunk in chunks:
            hasher.update(chunk)
        _check_diff_id(hasher.hexdigest(), diff_id)
        return LayerBlob(diff_id=diff_id, digest=stored.digest, size=stored.size, media_type=media_type)
    packer = compressor(compression.value)
    with store.begin() as writer:
        for chunk in chunks:
            hasher.update(chunk)
            writer.write(packer.write(chunk))
        writer.write(packer.finish())
        _check_diff_id(hasher.hexdigest(), diff_id)
        return LayerBlob(diff_id=diff_id, digest=writer.commit(), size=writer.size, media_type=media_type)


def _check_diff_id(found: str, wanted: DiffId) -> None:
    if found != wanted.hex:
        raise TrustError(f"a layer unpacks to sha256:{found}, not to {wanted}")


class LayerCache:
    """Remembers which blob a set of inputs gave. What it says is believed only while the store has the blob."""

    def __init__(self, folder: Path, store: DiskStore, compression: Compression) -> None:
        self.folder = folder
        self._folder = folder / "layers"
        self._store = store
        codec = compression.value
        self._salt = f"{LAYOUT_VERSION}\n{codec}\n{codec_version(codec)}\n{DEFAULT_LEVEL[codec]}\n"
        self._media_type = _MEDIA_TYPE[compression]

    def key(self, inputs: Iterable[str]) -> str:
        """The cache's name for a layer made of these inputs, in this order."""
        return hashlib.sha256((self._salt + "\n".join(inputs)).encode()).hexdigest()

    def find(self, key: str) -> LayerBlob | None:
        try:
            value = json.loads((self._folder / f"{key}.json").read_bytes())
            blob = LayerBlob(
                diff_id=DiffId.parse(value["diff_id"]),
                digest=Digest.parse(value["digest"]),
                size=value["size"],
                media_type=self._media_type,
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, FormatError):
            return None  # absent or damaged: made again
        return blob if self._store.has(blob.digest) else None

    def remember(self, key: str, blob: LayerBlob) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        value = {"diff_id": str(blob.diff_id), "digest": str(blob.digest), "size": blob.size}
        write_atomically(self._folder / f"{key}.json", json.dumps(value).encode(), self._folder)

    def by_diff_id(self, diff_id: DiffId) -> str:
        """The key under which a layer is found by its content alone."""
        return self.key(("diff_id", str(diff_id)))
