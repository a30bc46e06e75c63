"""`wherry image`: the images of the local store, listed, inspected, removed, saved and loaded."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from wherry.cli import image_report as report
from wherry.cli.base_layers import bring_base_layers
from wherry.cli.epilog import render_examples
from wherry.cli.options import AsJson, DryRun, parse_platforms, platform_option
from wherry.cli.talk import format_size, print_json, say
from wherry.errors import LockError, StoreError, UsageError, WherryError
from wherry.formats.lockfile import parse_lock
from wherry.model.image import ROOT_FORMS
from wherry.model.lock import Lock, PlatformLock
from wherry.model.oci import Descriptor
from wherry.model.platform import Platform
from wherry.store.archive import save_image, stream_image
from wherry.store.causes import describes_image, requirement_tree
from wherry.store.disk import DiskStore
from wherry.store.host import read_host_platform
from wherry.store.images import StoredImage, read_images
from wherry.store.loading import load_archive
from wherry.store.places import store_path
from wherry.store.posix import write_atomically
from wherry.store.pruning import prune_store

_DURATION = re.compile(r"([0-9]+)\s*([smhdw]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_LOCKFILE = "wherry.lock"

image_app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="List, inspect, move and remove images.")


def register(app: typer.Typer) -> None:
    app.add_typer(image_app, name="image")


def _store() -> DiskStore:
    return DiskStore(store_path(os.environ))


def complete_image_names(incomplete: str) -> list[str]:
    """For the shell: names in the store that begin so."""
    try:
        return [name for name in _store().names() if name.startswith(incomplete)]
    except WherryError:
        return []


_Name = Annotated[
    str, typer.Argument(metavar="IMAGE", help="A name, a digest or an image ID.", autocompletion=complete_image_names)
]
_Names = Annotated[
    list[str], typer.Argument(metavar="IMAGE", help="Names, digests or image IDs.", autocompletion=complete_image_names)
]
_Platforms = Annotated[list[str] | None, platform_option("Only this platform")]


@image_app.command("ls", epilog=render_examples(("wherry image ls --json", "with digests and sizes, for programs")))
def list_images(as_json: AsJson = False) -> None:
    """List the images that are here."""
    rows = report.describe_images(_store())
    if as_json:
        print_json({"schema": report.IMAGE_SCHEMA, "images": rows})
    elif rows:
        report.print_images(rows)
    else:
        say("no images yet: wherry build makes one")


@image_app.command("rm", epilog=render_examples(("wherry image rm anomaly && wherry image prune", "free its bytes")))
def remove_images(images: _Names, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Forget images.

    A digest or an ID forgets all names of an image. `prune` then gives the space back.
    """
    store = _store()
    names = [name for text in images for name in _names_of(store, text)]
    if not dry_run:
        for name in dict.fromkeys(names):
            store.untag(name)
    if as_json:
        print_json({"schema": report.IMAGE_SCHEMA, "removed": sorted(set(names)), "dry_run": dry_run})
    else:
        for name in dict.fromkeys(names):
            print(name)


def _names_of(store: DiskStore, text: str) -> list[str]:
    names = store.names()
    for name in (text, f"{text}:latest"):
        if name in names:
            return [name]
    found = store.resolve(text)
    meant = [name for name, descriptor in names.items() if descriptor.digest == found.digest]
    if not meant:
        raise StoreError(f"{text} is a part of other images, and has no name of its own", hint="wherry image ls")
    return meant


@image_app.command(
    "prune",
    epilog=render_examples(
        ("wherry image prune --dry-run", "how many bytes would that free?"),
        ("wherry image prune --keep-recent 0s", "also what was written a moment ago"),
    ),
)
def prune_images(
    keep_recent: Annotated[str, typer.Option(metavar="TIME", help="Keep what is younger: 90s, 30m, 12h, 7d.")] = "1h",
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Remove what no image needs any more.

    Says how many bytes that frees.
    """
    pruned = prune_store(_store(), keep_recent=_parse_duration(keep_recent), dry_run=dry_run)
    if as_json:
        blobs = [str(digest) for digest in pruned.blobs]
        print_json({"schema": report.IMAGE_SCHEMA, "removed": blobs, "size": pruned.size, "dry_run": dry_run})
    else:
        print(f"{'would free' if dry_run else 'freed'} {format_size(pruned.size)} in {len(pruned.blobs)} blobs")


def _parse_duration(text: str) -> float:
    matched = _DURATION.fullmatch(text.strip())
    if not matched:
        raise UsageError(f"not a time: {text!r}", where="--keep-recent", hint="90s, 30m, 12h, 7d")
    return float(int(matched[1]) * _SECONDS[matched[2]])


@image_app.command(
    "inspect",
    epilog=render_examples(
        ("wherry image inspect anomaly --platform linux/arm64", ""),
        ("wherry image inspect anomaly --json", "with history, digests and diff_ids"),
    ),
)
def inspect_image(
    image: _Name,
    platform: _Platforms = None,
    lock: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The lock whose edges the tree follows. [wherry.lock here]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show layers, and what brought which bytes.

    The tree follows the requirements of the lock; --json has the history too.
    """
    store = _store()
    images = _choose(read_images(store, store.resolve(image)), platform, image)
    locked = _read_lock(lock)
    details = []
    for number, one in enumerate(images):
        causes = requirement_tree(one.layers, _fitting(locked, one, explicit=lock))
        if as_json:
            details.append(report.describe_details(image, one, one.layers, causes))
        else:
            print("\n" * (number > 0), end="")
            report.print_details(image, one, one.layers, causes)
    if as_json:
        print_json({"schema": report.IMAGE_SCHEMA, "images": details})


def _choose(images: Sequence[StoredImage], platforms: list[str] | None, name: str) -> list[StoredImage]:
    wanted = parse_platforms(platforms)
    chosen = [image for image in images if not wanted or image.platform in wanted]
    if not chosen:
        have = ", ".join(str(image.platform) for image in images) or "none"
        raise StoreError(f"{name} has no image for {', '.join(map(str, wanted)) or 'any platform'}; there are: {have}")
    return chosen


def _read_lock(path: Path | None) -> Lock | None:
    place = path or Path(_LOCKFILE)
    if path is None and not place.is_file():
        return None
    try:
        return parse_lock(place.read_text(encoding="utf-8"), str(place))
    except (OSError, UnicodeDecodeError) as error:
        raise LockError(f"cannot be read: {error}", where=str(place)) from error
    except WherryError as error:
        if path is not None:
            raise
        say(f"note: {error.what} ({place}); the tree is shown by layer")
        return None


def _fitting(lock: Lock | None, image: StoredImage, *, explicit: Path | None) -> PlatformLock | None:
    """The lock's part for an image, if it is that image's lock. Only one that was named must fit."""
    for locked in lock.platforms if lock else ():
        if locked.platform == image.platform and describes_image(locked, image.layers):
            return locked
    if explicit is not None:
        raise LockError(f"it is not the lock of this image for {image.platform}", where=str(explicit), hint="without --lock")
    return None


@image_app.command(
    "save",
    epilog=render_examples(
        ("wherry image save anomaly -o anomaly.tar", "a file to carry"),
        ("wherry image save anomaly | docker load", "into docker here"),
        ("wherry image save anomaly --format sif -o a.sif", "for Apptainer"),
    ),
)
def save_archive(
    image: _Name,
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="The file to write. [stdout]")] = None,
    platform: _Platforms = None,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="hybrid (docker, podman and containerd load it), oci; or the root as a file: squashfs (enroot), sif (Apptainer).",
        ),
    ] = "hybrid",
    name: Annotated[
        str | None, typer.Option(metavar="NAME[:TAG]", help="What the image is called in the archive. [its name here]")
    ] = None,
) -> None:
    """Write an image as an archive, or its root as one file.

    docker, podman and containerd load an archive, and so does wherry image load.
    """
    store = _store()
    descriptor = store.resolve(image)
    bring_base_layers(store, read_images(store, descriptor))
    named = name or _name_for_archive(store, descriptor, image)
    wanted = parse_platforms(platform)
    if form in ROOT_FORMS:
        _save_root(store, _choose_one(store, descriptor, wanted), form, output)
        return
    if output is None:
        if sys.stdout.isatty():
            raise UsageError("an archive is nothing for a terminal", hint="-o FILE, or pipe it into docker load")
        save_image(store, descriptor, sys.stdout.buffer.write, name=named, form=form, platforms=wanted)
        return
    _write_file(output, stream_image(store, descriptor, name=named, form=form, platforms=wanted))
    say(f"{named}: {format_size(output.stat().st_size)} in {output}")


def _choose_one(store: DiskStore, descriptor: Descriptor, wanted: Sequence[Platform]) -> StoredImage:
    """The one platform that was asked for, this machine's, or the only one."""
    images = read_images(store, descriptor)
    chosen = [image for image in images if image.platform in (wanted or (read_host_platform(),))]
    if not wanted and len(images) == 1:
        chosen = list(images)
    if len(chosen) != 1:
        have = ", ".join(str(image.platform) for image in images)
        raise UsageError(f"a root is of one platform, the image is for {have}", hint="--platform OS/ARCH")
    return chosen[0]


def _save_root(store: DiskStore, image: StoredImage, form: str, output: Path | None) -> None:
    from wherry.engines.root_files import write_root_file

    if output is None:
        raise UsageError(f"{form} is written to a file", hint="-o FILE")
    write_root_file(store, image, form, output, os.environ)
    say(f"{image.platform}: {format_size(output.stat().st_size)} in {output}")


def _name_for_archive(store: DiskStore, descriptor: Descriptor, text: str) -> str:
    """The name the user gave, else another name of the image, else its digest's first digits."""
    names = store.names()
    for name in (text, f"{text}:latest", *(name for name, other in names.items() if other.digest == descriptor.digest)):
        if name in names:
            return name
    return f"wherry:{descriptor.digest.hex[:12]}"


def _write_file(path: Path, chunks: Iterator[bytes]) -> None:
    """The file as a whole or not at all."""
    try:
        write_atomically(path, chunks)
    except OSError as error:
        raise StoreError(f"cannot be written: {error.strerror}", where=str(path), hint="another place: -o FILE") from error


@image_app.command(
    "load",
    epilog=render_examples(
        ("wherry image load anomaly.tar", "into the store"),
        ("wherry image load anomaly --into podman", "from the store into an engine"),
    ),
)
def load_images(
    source: Annotated[
        str, typer.Argument(metavar="FILE|IMAGE", help="An archive (- is stdin); with --into also an image that is here.")
    ],
    into: Annotated[str | None, typer.Option(metavar="ENGINE", help="docker, podman or containerd. [the store here]")] = None,
    platform: Annotated[str | None, typer.Option(metavar="OS/ARCH", help="With --into: which platform. [this machine's]")] = None,
    as_json: AsJson = False,
) -> None:
    """Take in an archive, or load an engine.

    Archives are those of docker save, podman save, wherry image save, and OCI layouts as a tar.
    """
    store = _store()
    if into is not None and source != "-" and not Path(source).is_file():
        names: tuple[str, ...] = (source,)
    else:
        names = _load_file(store, source)
    if into is not None:
        for name in names:
            _load_into(store, name, into, platform)
    if as_json:
        loaded = [{"name": name, "digest": str(store.resolve(name).digest)} for name in names]
        print_json({"schema": report.IMAGE_SCHEMA, "loaded": loaded, "into": into})
    else:
        for name in names:
            print(name)


def _load_file(store: DiskStore, source: str) -> tuple[str, ...]:
    if source == "-":
        return load_archive(store, sys.stdin.buffer, where="stdin")
    try:
        with Path(source).open("rb") as file:
            return load_archive(store, file, where=source)
    except OSError as error:
        raise StoreError(f"cannot be read: {error.strerror}", where=source, hint="an archive, or - for stdin") from error


def _load_into(store: DiskStore, name: str, into: str, platform: str | None) -> None:
    # Lazily: no other image command needs to know engines.
    from wherry.engines.choice import find_engine
    from wherry.engines.port import EngineImage

    descriptor = store.resolve(name)
    images = read_images(store, descriptor)
    wanted = platform or (str(read_host_platform()) if len(images) > 1 else None)
    image = _choose(images, [wanted] if wanted else None, name)[0]
    bring_base_layers(store, [image])
    engine = find_engine(into, os.environ)
    named = _name_for_archive(store, descriptor, name)
    target = EngineImage(config=image.config, name=named)
    held = engine.held_layers(target)
    engine.load(stream_image(store, image.descriptor, name=named, platforms=(image.platform,), omit=held), target)
    say(f"{named} ({image.platform}) is in {into}; {len(held)} of {len(image.config.diff_ids)} layers were there already")
