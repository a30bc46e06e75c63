"""`wherry export provenance`: what an image was built from, by which program, as SLSA has it; the statement, unsigned."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wherry.cli.epilog import render_examples
from wherry.cli.talk import say
from wherry.errors import LockError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherry.model.digest import Digest
    from wherry.model.lock import Lock
    from wherry.store.images import StoredImage

EXAMPLES = render_examples(
    ("wherry export provenance > anomaly.intoto.json", "of the project's image"),
    ("wherry export provenance anomaly:1.4", "of another image"),
    before="The same lock and version of wherry give the same bytes. Signed and attached by a push that signs.",
)


def register(app: typer.Typer) -> None:
    app.command("provenance", epilog=EXAMPLES)(print_provenance)


def print_provenance(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="An image of the store; the project's.", show_default=False)] = "",
    platform: Annotated[str, typer.Option("--platform", metavar="OS/ARCH", help="Of this platform's manifest alone.")] = "",
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Where to write it; else stdout.")] = None,
    project: Annotated[Path, typer.Option("--project", metavar="DIR", help="The project's folder.")] = Path(),
) -> None:
    """Write where an image comes from: an in-toto statement with SLSA's provenance.

    It names the image (its index, or a platform's manifest) by digest, the declaration and the lock that it answers, and every
    locked file with its sha256. A time is in it where SOURCE_DATE_EPOCH gives one.
    """
    from wherry.declare.project import read_declaration
    from wherry.lock.storage import LOCKFILE, read_lock
    from wherry.model.platform import Platform
    from wherry.store.disk import DiskStore
    from wherry.store.images import pick_image, read_images
    from wherry.store.places import store_path
    from wherry.store.posix import write_atomically

    store, lock = DiskStore(store_path(os.environ)), read_lock(project)
    if lock is None:
        raise LockError("there is no lock", where=str(project / LOCKFILE), hint="wherry lock")
    name = read_declaration(project, os.environ).name
    found = store.resolve(image or f"{name}:latest")
    images = read_images(store, found)
    if platform:
        images = (pick_image(store, found, Platform.parse(platform, "--platform")),)
    raw = describe_origin(name, lock, images[0].manifest.digest if platform else found.digest, images)
    if output is None:
        print(raw.decode())
    else:
        write_atomically(output, raw + b"\n")
        say(f"wrote {output}")


def describe_origin(name: str, lock: Lock, subject: Digest, images: Sequence[StoredImage]) -> bytes:
    """The statement about a manifest, or about an index of these images, which the lock must be of."""
    from wherry.formats.slsa import render_provenance
    from wherry.rebuild import created_time
    from wherry.version import VERSION

    for image in images:
        require_lock_of(image, lock)
    finished = created_time(os.environ) if os.environ.get("SOURCE_DATE_EPOCH", "").isdigit() else ""
    return render_provenance(name, lock, subject, [image.config for image in images], version=VERSION, finished=finished)


def require_lock_of(image: StoredImage, lock: Lock | None) -> Lock:
    """The lock, if the image has its layers."""
    from wherry.lock.storage import LOCKFILE

    layers = lock.for_platform(image.platform).layers if lock else ()
    if lock is None or not layers or not {layer.diff_id for layer in layers} <= set(image.config.diff_ids):
        what = f"the lock is not that of the image for {image.platform}"
        raise LockError(what, where=LOCKFILE, hint="wherry build, and then its image")
    return lock
