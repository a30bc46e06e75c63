"""Tiny images for tests of engines: busybox, a few files, a config; written straight into a store."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.conftest import require_tool
from wherry.formats.oci_json import render_config, render_manifest
from wherry.formats.tar import TarEntry, add_parents, directory_entry, file_entry, symlink_entry, write_tar
from wherry.model.digest import DiffId, Digest
from wherry.model.oci import CONFIG, LAYER_TAR, MANIFEST, Descriptor
from wherry.model.platform import Platform
from wherry.store.disk import DiskStore
from wherry.store.host import read_host_platform

_APPLETS = ("cat", "echo", "env", "id", "ls", "pwd", "sh", "sleep", "test", "touch")


def busybox_entries() -> list[TarEntry]:
    """A root with a shell, users and the folders an engine wants."""
    require_tool("busybox")
    program = Path(str(shutil.which("busybox"))).read_bytes()
    return [
        file_entry("bin/busybox", program, 0o755),
        *(symlink_entry(f"bin/{applet}", "busybox") for applet in _APPLETS),
        file_entry("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\napp:x:10001:10001::/home/app:/bin/sh\n"),
        file_entry("etc/group", b"root:x:0:\napp:x:10001:\nstaff:x:50:\n"),
        directory_entry("home/app"),
        directory_entry("root"),
        TarEntry(path="tmp", kind=directory_entry("tmp").kind, mode=0o1777),
        *(directory_entry(folder) for folder in ("proc", "dev", "sys", "run")),
    ]


def layer_bytes(entries: Sequence[TarEntry]) -> bytes:
    parts: list[bytes] = []
    write_tar(add_parents(entries), parts.append)
    return b"".join(parts)


def put_image(
    store: DiskStore,
    name: str,
    layers: Sequence[bytes],
    *,
    entrypoint: Sequence[str] = (),
    cmd: Sequence[str] = (),
    env: Sequence[str] = ("PATH=/bin", "GREETING=hello"),
    user: str = "10001:10001",
    workdir: str = "/home/app",
    volumes: Sequence[str] = (),
    platform: Platform | None = None,
) -> Descriptor:
    """Store an image of uncompressed layers and name it."""
    described = []
    for layer in layers:
        digest = store.put_bytes(layer)
        described.append(Descriptor(media_type=LAYER_TAR, digest=digest, size=len(layer)))
    config = render_config(
        platform=platform or read_host_platform(),
        created="1980-01-01T00:00:00Z",
        diff_ids=[DiffId(hashlib.sha256(layer).hexdigest()) for layer in layers],
        entrypoint=entrypoint,
        cmd=cmd,
        env=env,
        user=user,
        workdir=workdir,
        volumes=volumes,
    )
    store.put_bytes(config)
    manifest = render_manifest(config=Descriptor(media_type=CONFIG, digest=Digest.of(config), size=len(config)), layers=described)
    store.put_bytes(manifest)
    descriptor = Descriptor(media_type=MANIFEST, digest=Digest.of(manifest), size=len(manifest))
    store.tag(name, descriptor)
    return descriptor


def can_run_as_nobody() -> bool:
    """Whether an unprivileged user may make user namespaces here."""
    argv = [
        "setpriv",
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
        "bwrap",
        "--unshare-all",
        "--ro-bind",
        "/",
        "/",
        "true",
    ]
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0
