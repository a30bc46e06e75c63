"""An image as one file, for clusters that run containers from a shared file system: SquashFS (enroot, pyxis), SIF (Apptainer).

The file is made by squashfs-tools-ng's `tar2sqfs` from the image's layers: equal images give equal files for equal versions of it
(those of squashfs-tools' own `sqfstar` differ with the time of day). A file has no config, so what an image says of variables,
folder and command lies in the root, where the two look: ``/etc/environment`` and ``/etc/rc``, or ``/.singularity.d``. Such files
of the image itself are replaced.
"""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import chain
from pathlib import Path

from wherry.engines.process import feed, find_program
from wherry.errors import EngineError, UsageError
from wherry.formats.sif import render_sif_head
from wherry.formats.tar import TarEntry, add_parents, file_entry, stream_tar
from wherry.model.image import ROOT_FORMS
from wherry.model.oci import ImageConfig
from wherry.store.archive import read_layer
from wherry.store.disk import DiskStore
from wherry.store.flat import OpenLayer, flatten_layers
from wherry.store.images import StoredImage
from wherry.store.posix import explain_os_errors, hold_lock, write_atomically

_SUFFIXES = {"squashfs": "sqfs", "sif": "sif"}
PROGRAM = "tar2sqfs"
_REMEDY = "install squashfs-tools-ng (Debian: apt-get install squashfs-tools-ng)"
_CHUNK = 1 << 20
# Kernels and squashfuse of every age read gzip.
_OPTIONS = ("--quiet", "--compressor", "gzip", "--no-skip")


def provide_root_file(store: DiskStore, image: StoredImage, form: str, folder: Path, env: Mapping[str, str]) -> Path:
    """The image's file in `folder`, by its image ID; made there once, whoever asks."""
    path = folder / f"{image.config.digest.hex}.{_suffix(form)}"
    if not path.exists():
        with explain_os_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with hold_lock(path.with_suffix(".lock"), exclusive=True):
            if not path.exists():
                write_root_file(store, image, form, path, env)
    return path


def write_root_file(store: DiskStore, image: StoredImage, form: str, path: Path, env: Mapping[str, str]) -> None:
    """Write the image's root to `path`, as a whole or not at all. `form` is one of `ROOT_FORMS`."""
    _suffix(form)
    if find_program(PROGRAM, env) is None:
        raise EngineError(f"{PROGRAM} is not installed", hint=_REMEDY)
    tar = stream_tar(flatten_layers((*_open_layers(store, image), _open_words(image.config, form)), str(image.descriptor.digest)))
    with explain_os_errors(path), tempfile.TemporaryDirectory(dir=path.parent, prefix=".root-") as scratch:
        made = Path(scratch, "root")
        feed((PROGRAM, *_OPTIONS, str(made)), env, tar, f"{path.name} could not be made")
        head = render_sif_head(image.platform, image.config.digest, made.stat().st_size) if form == "sif" else b""
        with made.open("rb") as root:
            write_atomically(path, chain((head,), iter(partial(root.read, _CHUNK), b"")))
    if form == "sif":
        path.chmod(0o755)


def _suffix(form: str) -> str:
    if form not in ROOT_FORMS:
        raise UsageError(f"unknown form of file: {form!r}", hint=" or ".join(ROOT_FORMS))
    return _SUFFIXES[form]


def _open_layers(store: DiskStore, image: StoredImage) -> Iterator[OpenLayer]:
    for layer, diff_id in zip(image.manifest.layers, image.config.diff_ids, strict=True):
        yield partial(read_layer, store, layer.digest, diff_id)


def _open_words(config: ImageConfig, form: str) -> Callable[[], Iterator[bytes]]:
    """A layer on top, with what the config says."""
    render = _list_sif_words if form == "sif" else _list_enroot_words
    return lambda: stream_tar(add_parents(render(config)))


def _list_enroot_words(config: ImageConfig) -> Iterator[TarEntry]:
    yield file_entry("etc/environment", "".join(f"{line}\n" for line in config.env if "\n" not in line).encode())
    yield file_entry("etc/rc", _render_start(config), 0o755)


def _list_sif_words(config: ImageConfig) -> Iterator[TarEntry]:
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, _, value in (line.partition("=") for line in config.env))
    yield file_entry(".singularity.d/env/10-image.sh", exports.encode(), 0o755)
    yield file_entry(".singularity.d/runscript", _render_start(config), 0o755)


def _render_start(config: ImageConfig) -> bytes:
    """A script that starts what the image is for; arguments stand for its command."""
    words = [f"cd {shlex.quote(config.workdir or '/')} || exit 1"]
    if config.cmd:
        words.append(f"[ $# -gt 0 ] || set -- {shlex.join(config.cmd)}")
    words.append(f'exec {shlex.join(config.entrypoint)} "$@"' if config.entrypoint else 'exec "$@"')
    return "\n".join(("#!/bin/sh", *words, "")).encode()
