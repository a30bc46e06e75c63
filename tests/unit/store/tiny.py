"""Tiny images, made by hand with the public interfaces, for the tests of the store."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence

from wherry.formats.codec import compressor
from wherry.formats.oci_json import render_config, render_index, render_manifest
from wherry.formats.tar import TarEntry, add_parents, file_entry, write_tar
from wherry.model.digest import DiffId
from wherry.model.oci import CONFIG, INDEX, LAYER_GZIP, LAYER_KIND, LAYER_NAME, LAYER_TAR, LAYER_ZSTD, MANIFEST, Descriptor, History
from wherry.model.platform import Platform
from wherry.store.disk import DiskStore

AMD64 = Platform("linux", "amd64")
ARM64 = Platform("linux", "arm64")
MEDIA_TYPES = {"gzip": LAYER_GZIP, "zstd": LAYER_ZSTD, "identity": LAYER_TAR}


def make_tar(files: dict[str, bytes]) -> bytes:
    return render_entries(file_entry(path, data) for path, data in files.items())


def render_entries(entries: object) -> bytes:
    out = io.BytesIO()
    write_tar(add_parents(entries), out.write)  # type: ignore[arg-type]
    return out.getvalue()


def raw_tar(entries: Sequence[TarEntry]) -> bytes:
    """In the order given, without parents."""
    out = io.BytesIO()
    write_tar(entries, out.write)
    return out.getvalue()


def pack(data: bytes, codec: str) -> bytes:
    engine = compressor(codec)
    return engine.write(data) + engine.finish()


def layers_for(platform: Platform) -> list[tuple[str, str, str, dict[str, bytes]]]:
    """Kind, name, members, files."""
    return [
        ("base", "base", "libc6 2.36, zlib1g 1.2", {"etc/hello": b"hello\n", "bin/true": b"\x7fELF"}),
        ("wheel", "numpy", "numpy 2.4.6", {"opt/env/numpy.py": b"x = 1\n" * 2000}),
        ("code", "code", "", {"app/main.py": str(platform).encode()}),
    ]


def put_image(store: DiskStore, platform: Platform = AMD64, codec: str = "gzip") -> Descriptor:
    layers, diff_ids, history = [], [], []
    for kind, name, members, files in layers_for(platform):
        tar = make_tar(files)
        blob = pack(tar, codec)
        layers.append(
            Descriptor(
                media_type=MEDIA_TYPES[codec],
                digest=store.put_bytes(blob),
                size=len(blob),
                annotations={LAYER_KIND: kind, LAYER_NAME: name},
            )
        )
        diff_ids.append(DiffId(hashlib.sha256(tar).hexdigest()))
        history.append(History(created_by=f"wherry layer {kind} {name}", comment=members))
    config = render_config(
        platform=platform,
        created="1980-01-01T00:00:00Z",
        diff_ids=diff_ids,
        history=history,
        entrypoint=("/bin/true",),
        env=("PATH=/bin",),
        labels={"a": "b"},
        volumes=("/data",),
        ports=("80/tcp",),
    )
    manifest = render_manifest(
        config=Descriptor(media_type=CONFIG, digest=store.put_bytes(config), size=len(config)),
        layers=layers,
        annotations={"org.opencontainers.image.title": "tiny"},
    )
    return Descriptor(media_type=MANIFEST, digest=store.put_bytes(manifest), size=len(manifest), platform=platform)


def put_index(store: DiskStore, name: str = "tiny:latest", codec: str = "gzip") -> Descriptor:
    """An image for two platforms, named."""
    raw = render_index([put_image(store, AMD64, codec), put_image(store, ARM64, codec)])
    descriptor = Descriptor(media_type=INDEX, digest=store.put_bytes(raw), size=len(raw))
    store.tag(name, descriptor)
    return descriptor


def blob_names(store: DiskStore) -> set[str]:
    folder = store.root / "blobs" / "sha256"
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def assert_valid(store: DiskStore) -> None:
    """Every blob is what its name says, and every named image is there as a whole."""
    from wherry.store.images import reach_blobs

    for name in blob_names(store):
        assert hashlib.sha256((store.root / "blobs" / "sha256" / name).read_bytes()).hexdigest() == name
    for descriptor in store.names().values():
        for digest, size in reach_blobs(store, descriptor).items():
            assert store.size(digest) == size
    assert json.loads((store.root / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
