"""`wherry image delta`: what changed between two images, tars or folders, as one small file; and back."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from wherry.cli.base_layers import bring_base_layers
from wherry.cli.epilog import render_examples
from wherry.cli.image import complete_image_names, image_app
from wherry.cli.options import AsJson, PlainHttp, complete_name
from wherry.cli.pull import names_a_registry
from wherry.cli.talk import format_size, print_json, print_table, say, show_progress
from wherry.errors import StoreError, UsageError
from wherry.model.oci import Descriptor
from wherry.model.platform import Platform
from wherry.model.reference import Reference
from wherry.store.archive import stream_image
from wherry.store.disk import DiskStore
from wherry.store.images import read_images
from wherry.store.places import cache_path, store_path
from wherry.store.posix import explain_os_errors, write_atomically

if TYPE_CHECKING:
    from wherry.deliver.delta_ends import DeltaEnd, DeltaEnds
    from wherry.deliver.delta_files import OpenDelta, ToldDelta

DELTA_SCHEMA = 1
_FORMS = {"FULL": "whole", "DELTA": "delta"}
delta_app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Make, apply and show deltas.")
image_app.add_typer(delta_app, name="delta")

_END = "An image (name, digest, registry reference), a saved archive, a tar or a folder (./NAME)."
_Base = Annotated[str, typer.Argument(metavar="BASE", help=_END, autocompletion=complete_image_names)]
_Target = Annotated[str, typer.Argument(metavar="TARGET", help="What BASE is to become.", autocompletion=complete_image_names)]
_Delta = Annotated[Path, typer.Argument(metavar="DELTA", help="A delta file.")]
_OnePlatform = Annotated[str | None, typer.Option("--platform", metavar="OS/ARCH", help="Of images for several, this one.")]


def register(app: typer.Typer) -> None:
    """The commands hang on `image_app` once this module is loaded."""


@delta_app.command(
    "make",
    epilog=render_examples(
        ("wherry image delta make anomaly:7 anomaly:8 -o 8.delta", "two images"),
        ("wherry image delta make old.tar new.tar -o new.delta", "two tars"),
    ),
)
def make_delta(
    base: _Base,
    target: _Target,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The file to write.")],
    platform: _OnePlatform = None,
    plain_http: PlainHttp = False,
    as_json: AsJson = False,
) -> None:
    """Write what TARGET has and BASE has not.

    The delta is decoded before it is written, and never larger than the changed layers themselves.
    """
    # The encoder loads codecs that other commands do not need.
    from wherry.deliver.delta_ends import DeltaEnds
    from wherry.deliver.delta_files import write_delta

    with DeltaEnds(_parse_platform(platform)) as ends, show_progress() as progress:
        first, second = (_open_end(ends, text, platform, plain_http=plain_http) for text in (base, target))
        told = write_delta(first, second, output, progress)
    _report(told, output, as_json=as_json)


@delta_app.command(
    "apply",
    epilog=render_examples(
        ("wherry image delta apply anomaly:7 8.delta -t anomaly:8", "into the store"),
        ("wherry image delta apply old.tar new.delta -o new.tar", "into a file"),
    ),
)
def apply_delta(
    base: _Base,
    delta: _Delta,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write an archive, or a tar; - is stdout.")
    ] = None,
    tag: Annotated[str, typer.Option("--tag", "-t", metavar="NAME[:TAG]", help="Name the image so, in the store or archive.")] = "",
    platform: _OnePlatform = None,
    plain_http: PlainHttp = False,
    as_json: AsJson = False,
) -> None:
    """Make TARGET again out of BASE and a delta.

    Every layer is held against its diff_id; a file of BASE that was altered is named.
    """
    from wherry.deliver.delta_ends import DeltaEnds
    from wherry.deliver.delta_files import OpenDelta, restore_tar

    if as_json and str(output) == "-":
        raise UsageError("stdout cannot hold both", where="--json", hint="-o FILE")
    with OpenDelta(delta) as opened, DeltaEnds(_parse_platform(platform)) as ends:
        end = _open_end(ends, base, platform, plain_http=plain_http)
        if opened.file.config:
            result = _restore(opened, end, tag, output)
        elif output is None or tag:
            raise UsageError("this delta makes a tar, not an image", where=str(delta), hint="-o FILE")
        else:
            _write(output, restore_tar(opened, end))
            result = str(opened.file.layers[0].diff_id)
    if as_json:
        print_json({"schema": DELTA_SCHEMA, "made": result, "output": None if output is None else str(output), "tag": tag or None})
    elif str(output) != "-":
        print(result)


@delta_app.command("show", epilog=render_examples(("wherry image delta show 8.delta --json", "for programs")))
def show_delta(delta: _Delta, as_json: AsJson = False) -> None:
    """Show what a delta holds: each layer, its size here and there, the memory that decoding takes."""
    from wherry.deliver.delta_files import read_delta

    _report(read_delta(delta), delta, as_json=as_json)


def _parse_platform(text: str | None) -> Platform | None:
    return Platform.parse(text, "--platform") if text else None


def _open_end(ends: DeltaEnds, text: str, platform: str | None, *, plain_http: bool) -> DeltaEnd:
    """The store's image of this name, else what lies on disk under it, else a registry's. ``./NAME`` is on disk."""
    path, store = Path(text), DiskStore(store_path(os.environ))
    if text.startswith((".", "/")):
        return ends.open_path(path)
    try:
        descriptor = store.resolve(text)
    except StoreError:
        if path.exists():
            return ends.open_path(path)
        if not names_a_registry(text):
            raise
        descriptor = _fetch(store, text, _parse_platform(platform), plain_http=plain_http)
    bring_base_layers(store, [image for image in read_images(store, descriptor) if platform in (None, str(image.platform))])
    return ends.open_image(text, store, descriptor)


def _fetch(store: DiskStore, text: str, platform: Platform | None, *, plain_http: bool) -> Descriptor:
    """Bring a registry's image into the store, without a name there: `prune` takes it away."""
    from wherry.sources.images import fetch_image
    from wherry.sources.registries import access_registries
    from wherry.store.host import read_host_platform

    access = access_registries(os.environ, cache=cache_path(os.environ), plain_http=plain_http)
    try:
        return fetch_image(access, store, Reference.parse(text), (platform or read_host_platform(),))
    finally:
        access.close()


def _restore(delta: OpenDelta, base: DeltaEnd, tag: str, output: Path | None) -> str:
    """The image in the store, under its name, and as an archive where one is wanted; gives its ID."""
    from wherry.deliver.delta_files import restore_image

    if not tag:
        raise UsageError("what is the image to be called?", hint="-t NAME:TAG")
    name = complete_name(tag)
    with ExitStack() as stack:
        # An archive is all that is wanted: the store does not keep what it was made of.
        scratch = stack.enter_context(TemporaryDirectory(prefix="wherry-")) if output is not None else None
        store = DiskStore(Path(scratch) if scratch else store_path(os.environ))
        with show_progress() as progress:
            descriptor = restore_image(delta, base, store, progress)
        if output is None:
            store.tag(name, descriptor)
            say(f"{name} is in the store")
        else:
            _write(output, stream_image(store, descriptor, name=name))
        return str(read_images(store, descriptor)[0].config.digest)


def _write(path: Path, chunks: Iterable[bytes]) -> None:
    """A file as a whole or not at all; stdout as it comes."""
    if str(path) == "-":
        for chunk in chunks:
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
        return
    with explain_os_errors(path):
        write_atomically(path, chunks)


def _report(told: ToldDelta, path: Path, *, as_json: bool) -> None:
    if as_json:
        print_json(delta_document(told))
        return
    rows: list[tuple[str, ...]] = [("DIFF_ID", "FORM", "SIZE", "OF", "MEMORY")]
    for layer in told.layers:
        form, sizes = _FORMS[layer.form.name], [format_size(size) for size in (layer.stored, layer.size, layer.memory)]
        rows.append((layer.diff_id.hex[:12], form, *sizes))
    print_table(rows)
    kept = f"; {len(told.kept)} layers stay" if told.image else ""
    say(f"{path}: {format_size(told.size)}{kept}")


def delta_document(told: ToldDelta) -> dict[str, object]:
    """``delta make --json`` and ``delta show --json``."""
    return {
        "schema": DELTA_SCHEMA,
        "size": told.size,
        "image": None if told.image is None else str(told.image),
        "layers": [
            {
                "diff_id": str(layer.diff_id),
                "form": _FORMS[layer.form.name],
                "stored": layer.stored,
                "size": layer.size,
                "memory": layer.memory,
            }
            for layer in told.layers
        ],
        "kept": [str(diff_id) for diff_id in told.kept],
    }
