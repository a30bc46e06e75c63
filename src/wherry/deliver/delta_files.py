"""Makes and applies deltas that travel by themselves: between any two images, tars or folders (`delta_ends`)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from wherry.deliver.delta_ends import DeltaEnd
from wherry.deliver.encoder import LayerDelta, encode_layers
from wherry.errors import StoreError
from wherry.formats.delta import Body, Form, Limits, parse_body
from wherry.formats.delta_decoder import decode_delta
from wherry.formats.delta_file import DeltaFile, FileLayer, checksum_of, parse_file, render_file_head
from wherry.formats.oci_json import parse_config, render_manifest
from wherry.model.digest import DiffId, Digest
from wherry.model.oci import CONFIG, LAYER_TAR, MANIFEST, Descriptor
from wherry.model.progress import Progress, be_silent
from wherry.store.disk import DiskStore
from wherry.store.layer_tree import Tree
from wherry.store.posix import explain_os_errors, write_atomically


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldLayer:
    """What a delta file says of a layer. Sizes in bytes: `stored` in the file, `size` of the layer's tar."""

    diff_id: DiffId
    form: Form
    stored: int
    size: int
    memory: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldDelta:
    """`kept` are the target's layers that come from the base; `image` is the ID, unless the target is no image."""

    size: int
    image: Digest | None
    layers: tuple[ToldLayer, ...]
    kept: tuple[DiffId, ...]


def write_delta(base: DeltaEnd, target: DeltaEnd, path: Path, progress: Progress = be_silent) -> ToldDelta:
    """Write the delta from `base` to `target` into a file; gives what `read_delta` would."""
    held = {layer.diff_id for layer in base.layers} if target.config else set()
    changed = tuple({layer.diff_id: layer for layer in target.layers if layer.diff_id not in held}.values())
    with ExitStack() as stack:
        deltas: Sequence[LayerDelta] = ()
        if changed:
            with base.open_tree() as tree:
                deltas = encode_layers(changed, tree, progress)
        for delta in deltas:
            stack.enter_context(delta.body)
        with explain_os_errors(path):
            write_atomically(path, _with_checksum(target.config, deltas))
    return read_delta(path)


def _with_checksum(config: bytes, deltas: Sequence[LayerDelta]) -> Iterator[bytes]:
    yield from _without_checksum(config, deltas)
    yield checksum_of(_without_checksum(config, deltas))


def _without_checksum(config: bytes, deltas: Sequence[LayerDelta]) -> Iterator[bytes]:
    yield render_file_head(config, [(delta.diff_id, delta.body.size) for delta in deltas])
    for delta in deltas:
        yield from delta.body.chunks()


def read_delta(path: Path, limits: Limits | None = None) -> ToldDelta:
    """What a delta file holds. One that was altered is a `FormatError`."""
    with OpenDelta(path) as delta:
        parts = [(layer, delta.body_of(layer, limits)) for layer in delta.file.layers]
        kept = tuple(diff_id for diff_id in delta.diff_ids if diff_id not in {layer.diff_id for layer in delta.file.layers})
        return ToldDelta(
            size=delta.size,
            image=Digest.of(delta.file.config) if delta.file.config else None,
            layers=tuple(
                ToldLayer(diff_id=layer.diff_id, form=body.form, stored=layer.size, size=body.target_size, memory=body.memory)
                for layer, body in parts
            ),
            kept=kept,
        )


class OpenDelta:
    """A delta file that is being read. Use it as a context manager."""

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        with explain_os_errors(path):
            self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with explain_os_errors(path):
                self.size = os.fstat(self._handle).st_size
                self.file: DeltaFile = parse_file(self._read, self.size, self.where)
            config = self.file.config
            self.diff_ids = parse_config(config, where=self.where).diff_ids if config else ()
        except BaseException:
            os.close(self._handle)
            raise

    def __enter__(self) -> OpenDelta:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)

    def _read(self, offset: int, size: int) -> bytes:
        return os.pread(self._handle, size, offset)

    def body_of(self, layer: FileLayer, limits: Limits | None = None) -> Body:
        return parse_body(lambda at, size: self._read(layer.offset + at, size), layer.size, limits or Limits(), self.where)

    def decode(self, layer: FileLayer, tree: Tree) -> Iterator[bytes]:
        """A layer's tar; what was given away before an error is void."""
        return decode_delta(lambda at, size: self._read(layer.offset + at, size), layer.size, tree, layer.diff_id, where=self.where)


def restore_tar(delta: OpenDelta, base: DeltaEnd) -> Iterator[bytes]:
    """The target of a delta whose target is a tar or a folder, as a tar."""
    if len(delta.file.layers) != 1:
        raise StoreError("does not hold just one layer", where=delta.where)
    with base.open_tree() as tree:
        yield from delta.decode(delta.file.layers[0], tree)


def restore_image(delta: OpenDelta, base: DeltaEnd, store: DiskStore, progress: Progress = be_silent) -> Descriptor:
    """Bring the target of a delta between images into a store; gives its manifest, whose layers are uncompressed."""
    changed = {layer.diff_id: layer for layer in delta.file.layers}
    held = {layer.diff_id: layer for layer in base.layers}
    missing = [str(diff_id) for diff_id in delta.diff_ids if diff_id not in changed and diff_id not in held]
    if missing:
        raise StoreError(f"the base has no layer {missing[0]}", where=base.name, hint="the image that the delta was made from")
    sizes: dict[DiffId, int] = {}
    with store.in_use(), base.open_tree() as tree:
        for number, diff_id in enumerate(dict.fromkeys(delta.diff_ids)):
            progress("layers", number, len(delta.diff_ids))
            chunks = delta.decode(changed[diff_id], tree) if diff_id in changed else held[diff_id].chunks()
            with store.begin() as writer:
                for chunk in chunks:
                    writer.write(chunk)
                writer.commit()
                sizes[diff_id] = writer.size
        config = Descriptor(media_type=CONFIG, digest=store.put_bytes(delta.file.config), size=len(delta.file.config))
        layers = [Descriptor(media_type=LAYER_TAR, digest=Digest(one.hex), size=sizes[one]) for one in delta.diff_ids]
        manifest = render_manifest(config=config, layers=layers)
        return Descriptor(media_type=MANIFEST, digest=store.put_bytes(manifest), size=len(manifest))
