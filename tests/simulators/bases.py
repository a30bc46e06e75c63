"""Base images that tell all a lock asks of a base, and run nothing: a C library and a Python that are text."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence

from tests.simulators.registry import RegistrySimulator
from wherry.formats.codec import compressor
from wherry.formats.oci_json import render_config, render_index, render_manifest
from wherry.formats.tar import TarEntry, add_parents, file_entry, write_tar
from wherry.model.digest import DiffId, Digest
from wherry.model.oci import (
    CONFIG,
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    INDEX,
    LAYER_GZIP,
    MANIFEST,
    Descriptor,
    History,
)
from wherry.model.platform import Platform

AMD64 = Platform("linux", "amd64")
ARM64 = Platform("linux", "arm64")
LIBC = b"\x7fELF\0GNU C Library (Debian GLIBC 2.36-9+deb12u13) stable release version 2.36.\n\0"
OS_RELEASE = b'PRETTY_NAME="Debian"\nID=debian\nVERSION_CODENAME="bookworm"\n'

Files = Mapping[str, "bytes | TarEntry"]


def tar_of(files: Files) -> bytes:
    """A layer's tar; a TarEntry stands for itself, at the path that it has."""
    entries = [value if isinstance(value, TarEntry) else file_entry(path, value) for path, value in files.items()]
    out = io.BytesIO()
    write_tar(add_parents(entries), out.write)
    return out.getvalue()


def python_files(version: str = "3.11.9", prefix: str = "usr/local") -> dict[str, bytes | TarEntry]:
    minor = version.rpartition(".")[0]
    return {
        f"{prefix}/bin/python{minor}": f"python {version}".encode(),
        f"{prefix}/include/python{minor}/patchlevel.h": f'#define PY_VERSION              "{version}"\n'.encode(),
    }


def base_layers(version: str = "3.11.9") -> tuple[Files, ...]:
    return ({"etc/os-release": OS_RELEASE, "usr/lib/x86_64-linux-gnu/libc.so.6": LIBC}, python_files(version))


def publish_base(
    registry: RegistrySimulator,
    repository: str,
    tag: str,
    layers: Mapping[Platform, Sequence[Files]] | None = None,
    *,
    env: Sequence[str] = ("PATH=/usr/local/bin:/usr/bin:/bin",),
    docker: bool = False,
    empty_history: int = 1,
) -> str:
    """Put a base there, an index of the platforms; gives its reference. `docker` takes docker's media types."""
    manifests = []
    for platform, contents in (layers or {AMD64: base_layers(), ARM64: base_layers()}).items():
        blobs, diff_ids = [], []
        for files in contents:
            tar = tar_of({f"etc/{platform.architecture}": b"", **files})
            packer = compressor("gzip")
            blob = packer.write(tar) + packer.finish()
            registry.add_blob(repository, blob)
            media_type = DOCKER_LAYER if docker else LAYER_GZIP
            blobs.append(Descriptor(media_type=media_type, digest=Digest.of(blob), size=len(blob)))
            diff_ids.append(DiffId(hashlib.sha256(tar).hexdigest()))
        history = [History(created_by=f"COPY layer {number}") for number in range(len(blobs))]
        history += [History(created_by="ENV something", empty_layer=True)] * empty_history
        config = render_config(
            platform=platform,
            created="2020-01-01T00:00:00Z",
            diff_ids=diff_ids,
            history=history,
            env=list(env),
            user="",
            workdir="",
        )
        registry.add_blob(repository, config)
        named = Descriptor(media_type=DOCKER_CONFIG if docker else CONFIG, digest=Digest.of(config), size=len(config))
        raw = render_manifest(config=named, layers=blobs)
        kind = DOCKER_MANIFEST if docker else MANIFEST
        raw = raw.replace(MANIFEST.encode(), kind.encode())
        registry.add_manifest(repository, raw, kind)
        manifests.append(Descriptor(media_type=kind, digest=Digest.of(raw), size=len(raw), platform=platform))
    registry.add_manifest(repository, render_index(manifests), INDEX, tag)
    return f"{registry.host}/{repository}:{tag}"


def publish_layers(registry: RegistrySimulator, repository: str, tag: str, layers: Sequence[tuple[str, bytes]]) -> str:
    """A base of gzip layers that exist, given with their diff_ids, as one manifest for amd64."""
    blobs = [Descriptor(media_type=LAYER_GZIP, digest=Digest.of(blob), size=len(blob)) for _, blob in layers]
    config = render_config(
        platform=AMD64,
        created="2020-01-01T00:00:00Z",
        diff_ids=[DiffId.parse(diff_id) for diff_id, _ in layers],
        env=["PATH=/usr/bin"],
    )
    for data in (config, *(blob for _, blob in layers)):
        registry.add_blob(repository, data)
    named = Descriptor(media_type=CONFIG, digest=Digest.of(config), size=len(config))
    registry.add_manifest(repository, render_manifest(config=named, layers=blobs), MANIFEST, tag)
    return f"{registry.host}/{repository}:{tag}"
