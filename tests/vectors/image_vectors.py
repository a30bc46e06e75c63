"""What a build writes, frozen: a lockfile, a layer's tar, a config, a manifest and an index (docs/spec/lock.md, layers.md).

`python -m tests.vectors.image_vectors` writes `image/` beside this file.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

from wherry.formats.lockfile import render_lock
from wherry.formats.oci_json import render_config, render_index, render_manifest
from wherry.formats.tar import TarEntry, add_parents, directory_entry, file_entry, symlink_entry, write_tar
from wherry.model.digest import DiffId, Digest
from wherry.model.lock import (
    LayerKind,
    Lock,
    LockedBase,
    LockedDeb,
    LockedInterpreter,
    LockedLayer,
    LockedWheel,
    PlatformLock,
)
from wherry.model.oci import CONFIG, LAYER_TAR, MANIFEST, Descriptor, History
from wherry.model.platform import Platform

FOLDER = Path(__file__).parent / "image"
AMD64 = Platform("linux", "amd64")


def make_vectors() -> dict[str, bytes]:
    """File name → bytes."""
    tar = _make_tar()
    diff_id = DiffId(hashlib.sha256(tar).hexdigest())
    config = _make_config(diff_id)
    layer = Descriptor(
        media_type=LAYER_TAR,
        digest=Digest(diff_id.hex),
        size=len(tar),
        annotations={"dev.wherry.layer.kind": "code", "dev.wherry.layer.name": "code"},
    )
    manifest = render_manifest(
        config=Descriptor(media_type=CONFIG, digest=Digest.of(config), size=len(config)),
        layers=[layer],
        annotations={"org.opencontainers.image.title": "anomaly", "org.opencontainers.image.base.name": "debian:bookworm"},
    )
    index = render_index([Descriptor(media_type=MANIFEST, digest=Digest.of(manifest), size=len(manifest), platform=AMD64)])
    lock = render_lock(_make_lock(diff_id)).encode()
    return {"wherry.lock": lock, "layer.tar": tar, "config.json": config, "manifest.json": manifest, "index.json": index}


def _make_tar() -> bytes:
    """One entry for each rule of the tar: plain, executable, long, too long, not ASCII, links, an empty folder with a mode."""
    entries = [
        file_entry("app/main.py", b"print('hello')\n"),
        file_entry("app/run.sh", b"#!/bin/sh\nexec python main.py\n", mode=0o755),
        file_entry("app/" + "/".join(["deep"] * 25) + "/name.txt", b"fits into prefix and name\n"),
        file_entry("app/" + "n" * 120, b"needs a pax header\n"),
        file_entry("app/größe.txt", "größe\n".encode()),
        file_entry("app/full-block", bytes(range(256)) * 2),
        symlink_entry("app/link", "main.py"),
        symlink_entry("app/far-link", "../" * 40 + "etc/hostname"),
        directory_entry("app/empty", 0o700),
    ]
    out = io.BytesIO()
    write_tar(_sorted(entries), out.write)
    return out.getvalue()


def _sorted(entries: list[TarEntry]) -> list[TarEntry]:
    return add_parents(sorted(entries, key=lambda entry: entry.path.split("/")))


def _make_config(diff_id: DiffId) -> bytes:
    return render_config(
        platform=AMD64,
        created="1980-01-01T00:00:00Z",
        diff_ids=[diff_id],
        history=[History(created_by="wherry layer code code")],
        env=["PATH=/opt/env/bin:/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8", "PYTHONNOUSERSITE=1"],
        user="10001:10001",
        workdir="/app",
        entrypoint=["python", "main.py"],
    )


def _make_lock(diff_id: DiffId) -> Lock:
    wheel = LockedWheel(
        name="numpy",
        version="2.4.6",
        file="numpy-2.4.6-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
        size=16918164,
        sha256=Digest.of(b"numpy"),
        requires=(),
        requested=True,
    )
    deb = LockedDeb(
        name="libstdc++6",
        version="1:12.2.0-14+deb12u1",
        architecture="amd64",
        file="libstdc++6_12.2.0-14+deb12u1_amd64.deb",
        size=612000,
        sha256=Digest.of(b"libstdc++6"),
    )
    layers = (
        LockedLayer(name="base", kind=LayerKind.BASE, members=("libstdc++6 1:12.2.0-14+deb12u1",), diff_id=diff_id),
        LockedLayer(name="numpy", kind=LayerKind.WHEEL, members=("numpy 2.4.6",)),
    )
    over_debian = PlatformLock(
        platform=AMD64,
        base=None,
        interpreter=LockedInterpreter(source="debian", version="3.11.2", path="/usr/bin/python3.11"),
        debs=(deb,),
        wheels=(wheel,),
        layers=layers,
    )
    base = LockedBase(
        name="library/python:3.11-slim", manifest=Digest.of(b"manifest"), config=Digest.of(b"config"), diff_ids=(diff_id,)
    )
    over_reference = PlatformLock(
        platform=Platform("linux", "arm", "v7"),
        base=base,
        interpreter=LockedInterpreter(source="base", version="3.11.9", path="/usr/local/bin/python3.11"),
        debs=(),
        wheels=(),
        layers=(),
    )
    return Lock(declaration=Digest.of(b"declaration"), platforms=(over_debian, over_reference))


def write_vectors() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, data in make_vectors().items():
        (FOLDER / name).write_bytes(data)


if __name__ == "__main__":
    write_vectors()
