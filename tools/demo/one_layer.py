"""The same files as an image of one gzip layer, which is what most Dockerfiles for such a project come to when packages move.

Written with wherry's own codec, so that the difference is the layers alone, into an OCI layout from which skopeo can push it.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from wherry.formats.codec import compressor
from wherry.formats.decompress import unpack_layer_chunks
from wherry.model.digest import Digest
from wherry.store.disk import DiskStore

_PIECE = 1 << 20
_MOST = 1 << 40


@dataclass(frozen=True, kw_only=True)
class OneLayer:
    """`tag` is its name in the layout; `seconds` are those of writing the layer, `size` is its compressed one."""

    layout: Path
    tag: str
    seconds: float
    size: int


def write_one_layer(store: DiskStore, image: dict[str, Any], layout: Path) -> OneLayer:
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    with (blobs / "making").open("wb") as file:
        sink = _Gzip(file)
        # tarfile asks of a stream's file object only that it can write.
        with tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_PIECE) as single:  # type: ignore[call-overload]
            written: set[str] = set()
            for layer in image["layers"]:
                _copy_members(store, Digest.parse(layer["digest"]), single, written)
        sink.finish()
    seconds = time.perf_counter() - start
    digest = sink.blob.hexdigest()
    (blobs / "making").rename(blobs / digest)
    layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": f"sha256:{digest}", "size": sink.size}
    _write_documents(store, image, layout, layer, sink.tar.hexdigest())
    return OneLayer(layout=layout, tag=digest[:12], seconds=seconds, size=sink.size)


def _copy_members(store: DiskStore, digest: Digest, single: tarfile.TarFile, written: set[str]) -> None:
    """Layers of wherry share no file, only the folders that they lie in."""
    with store.open(digest) as blob:
        tar = _Readable(unpack_layer_chunks(_read_pieces(blob), _MOST))
        with tarfile.open(fileobj=tar, mode="r|", bufsize=_PIECE) as members:  # type: ignore[call-overload]
            for member in members:
                if member.name in written:
                    continue
                written.add(member.name)
                single.addfile(member, members.extractfile(member) if member.isfile() else None)


def _write_documents(store: DiskStore, image: dict[str, Any], layout: Path, layer: dict[str, Any], diff_id: str) -> None:
    """wherry's own config, with one layer."""
    config = _read_json(store, _read_json(store, image["manifest"])["config"]["digest"])
    config = config | {"rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff_id}"]}, "history": [{"created_by": "one layer"}]}
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": _put(layout, config, "application/vnd.oci.image.config.v1+json"),
        "layers": [layer],
    }
    described = _put(layout, manifest, manifest["mediaType"])
    described["annotations"] = {"org.opencontainers.image.ref.name": layer["digest"].removeprefix("sha256:")[:12]}
    index = layout / "index.json"
    others = json.loads(index.read_text())["manifests"] if index.exists() else []
    index.write_text(json.dumps({"schemaVersion": 2, "manifests": [*others, described]}))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def _put(layout: Path, document: dict[str, Any], media_type: Any) -> dict[str, Any]:
    raw = json.dumps(document, separators=(",", ":")).encode()
    digest = hashlib.sha256(raw).hexdigest()
    (layout / "blobs" / "sha256" / digest).write_bytes(raw)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(raw)}


def _read_json(store: DiskStore, digest: str) -> dict[str, Any]:
    with store.open(Digest.parse(digest)) as file:
        document: dict[str, Any] = json.loads(file.read())
    return document


def _read_pieces(file: IO[bytes]) -> Iterator[bytes]:
    return iter(lambda: file.read(_PIECE), b"")


class _Gzip:
    """Compresses what is written; knows the digests of both sides."""

    def __init__(self, file: IO[bytes]) -> None:
        self._gzip, self._file = compressor("gzip"), file
        self.size, self.tar, self.blob = 0, hashlib.sha256(), hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.tar.update(data)
        self._put(self._gzip.write(data))
        return len(data)

    def finish(self) -> None:
        self._put(self._gzip.finish())

    def _put(self, data: bytes) -> None:
        self.size += self._file.write(data)
        self.blob.update(data)


class _Readable:
    """Lets tarfile read from chunks."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = bytearray()

    def read(self, size: int) -> bytes:
        while len(self._rest) < size:
            chunk = next(self._chunks, b"")
            if not chunk:
                break
            self._rest += chunk
        taken = bytes(self._rest[:size])
        del self._rest[:size]
        return taken
