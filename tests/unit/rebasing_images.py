"""Images for tests of rebasing: bases with a Python that is just enough of one, and what somebody built on them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.simulators.bases import AMD64, Files, tar_of
from tests.unit.check.trees import LIB, distribution, link, module
from tests.unit.formats.elves import make_elf
from wherry.formats.codec import compressor
from wherry.formats.oci_json import render_json, render_manifest
from wherry.model.oci import CONFIG, LAYER_GZIP, MANIFEST, Descriptor
from wherry.model.platform import Platform
from wherry.store.disk import DiskStore
from wherry.store.images import StoredImage, pick_image

LINKER = "/lib64/ld-linux-x86-64.so.2"
BASE_ENV = ("PATH=/usr/local/bin:/usr/bin", "LANG=C.UTF-8", "BASE=1")
OWN_ENV = ("PATH=/opt/env/bin:/usr/local/bin:/usr/bin", "LANG=C.UTF-8", "BASE=1", "OWN=yes")


def base_files(glibc: str = "2.36", python: str = "3.11", *, libraries: Sequence[str] = ("libgomp.so.1",)) -> Files:
    """A merged /usr with a C library, a Python, and some libraries."""
    versions = [f"GLIBC_2.{minor}" for minor in range(17, int(glibc.partition(".")[2]) + 1)]
    return {
        "lib": link("lib", "usr/lib"),
        "lib64": link("lib64", "usr/lib64"),
        "usr/lib64/ld-linux-x86-64.so.2": make_elf(soname="ld-linux-x86-64.so.2"),
        f"{LIB}/libc.so.6": make_elf(soname="libc.so.6", defines=versions),
        f"usr/bin/python{python}": make_elf(["libc.so.6"], interpreter=LINKER),
        "usr/bin/python3": link("usr/bin/python3", f"python{python}"),
        "etc/version": f"{glibc} {python}".encode(),
        **{f"{LIB}/{name}": make_elf(soname=name) for name in libraries},
    }


def environment_files(python: str = "3.11", *, needs: str = "GLIBC_2.34", version: str = "1.7.0") -> Files:
    """An environment with a compiled module that wants libgomp and a symbol version of the C library."""
    compiled = module("_tree", "libgomp.so.1", needs={"libc.so.6": [needs]})
    return {
        "opt/env/bin/python": link("opt/env/bin/python", f"/usr/bin/python{python}"),
        "opt/env/pyvenv.cfg": b"home = /usr/bin\n",
        **distribution("scikit-learn", version, {"sklearn/__init__.py": b"", "sklearn/_tree.so": compiled}),
    }


def put_image(
    store: DiskStore,
    name: str,
    layers: Sequence[Files],
    *,
    env: Sequence[str] = BASE_ENV,
    platform: Platform = AMD64,
    annotations: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
    steps: Sequence[str] = (),
    comments: Sequence[str] = (),
) -> StoredImage:
    """An image as another tool would write it; each layer has a step in its history, and ENV another at the end."""
    blobs, diff_ids = [], []
    for files in layers:
        tar = tar_of(files)
        packer = compressor("gzip")
        blob = packer.write(tar) + packer.finish()
        blobs.append(Descriptor(media_type=LAYER_GZIP, digest=store.put_bytes(blob), size=len(blob)))
        diff_ids.append(f"sha256:{hashlib.sha256(tar).hexdigest()}")
    history: list[dict[str, Any]] = [
        {"created": "2024-01-01T00:00:00Z", "created_by": step} for step in steps or [f"{name} {each}" for each in diff_ids]
    ]
    for entry, comment in zip(history, comments, strict=False):
        entry["comment"] = comment
    history.append({"created": "2024-01-01T00:00:00Z", "created_by": "ENV", "empty_layer": True})
    document = {
        "architecture": platform.architecture,
        "os": platform.os,
        "created": "2024-01-01T00:00:00Z",
        "config": {"Env": list(env), **(settings or {})},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": history,
        "author": "somebody",
    }
    raw = render_json(document)
    config = Descriptor(media_type=CONFIG, digest=store.put_bytes(raw), size=len(raw))
    manifest = render_manifest(config=config, layers=blobs, annotations=annotations)
    descriptor = Descriptor(media_type=MANIFEST, digest=store.put_bytes(manifest), size=len(manifest))
    store.tag(name, descriptor)
    return pick_image(store, descriptor)


def put_family(store: DiskStore, own: Files | None = None, **new_base: Any) -> tuple[StoredImage, StoredImage]:
    """``old:1``, ``new:1`` and ``app:1``, which was built on ``old:1``. Gives the image and the new base."""
    put_image(store, "old:1", [base_files()])
    settings = {"Cmd": ["python", "/app/main.py"], "WorkingDir": "/app", "Labels": {"own": "1"}, "Healthcheck": {"Test": ["NONE"]}}
    top = {"app/main.py": b"print()\n", "app/models/a.bin": b"one"}
    layers = [base_files(), own if own is not None else environment_files(), top]
    app = put_image(store, "app:1", layers, env=OWN_ENV, settings=settings)
    return app, put_image(store, "new:1", [{**base_files(**new_base), "etc/new": b"1"}], env=(*BASE_ENV[:2], "BASE=2"))


def open_store() -> tuple[DiskStore, Path]:
    return DiskStore(Path(os.environ["WHERRY_STORE"])), Path(os.environ["WHERRY_CACHE"])
