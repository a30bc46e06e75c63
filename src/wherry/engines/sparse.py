"""Brings an image into an engine that has most of its layers: a hybrid archive without those, or a complete one.

Whether an engine takes an archive that leaves layers out is found out once for each of its versions, with two images of a few
hundred bytes. One that does not is given a complete archive, whose other layers come from what the engine itself saves.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from wherry.engines.base_files import spool_saved_layers
from wherry.engines.device import DeviceEngine
from wherry.engines.device_bubblewrap import DeviceBubblewrap
from wherry.engines.port import EngineImage
from wherry.errors import EngineError
from wherry.formats.hybrid import HybridImage, HybridLayer, describe_tar, list_entries
from wherry.formats.oci_json import parse_config, render_config
from wherry.formats.tar import Content, file_entry, stream_tar
from wherry.model.digest import DiffId
from wherry.model.oci import Descriptor
from wherry.store.host import read_host_platform

_CHUNK = 1 << 18
_TIME = "1980-01-01T00:00:00Z"
_NOTHING = ("/nothing",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """An image on its way into an engine. `sizes` are those of the layers' tars; `new` opens those that are at hand.

    `base` is the image that has the others, `held` how the engine calls them.
    """

    image: EngineImage
    sizes: Mapping[DiffId, int]
    new: Mapping[DiffId, Content]
    annotations: Mapping[str, str]
    base: EngineImage | None = None
    held: Mapping[DiffId, Descriptor]

    def find_lacking(self) -> tuple[DiffId, ...]:
        """Layers that neither the engine has nor we."""
        return tuple(diff_id for diff_id in self.image.config.diff_ids if diff_id not in self.new and diff_id not in self.held)


def load_delivery(engine: DeviceEngine, delivery: Delivery, scratch: Path, *, sparse: bool) -> bytes:
    """Load it; the manifest by which the engine has it now. `scratch` is a folder to be made, for what has to be saved."""
    lacking = delivery.find_lacking()
    if lacking:
        raise EngineError(f"{engine.name} lacks layer {lacking[0]}", hint="take the full image")
    hybrid = _describe(delivery, delivery.held)
    if isinstance(engine, DeviceBubblewrap):
        engine.load_layers(delivery.image, lambda diff_id: _open(delivery.new[diff_id]))
    elif sparse or all(diff_id in delivery.new for diff_id in delivery.image.config.diff_ids):
        _load(engine, delivery.image, hybrid, delivery.held)
    else:
        try:
            hybrid = _complete(engine, delivery, scratch)
            _load(engine, delivery.image, hybrid, {})
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return hybrid.render_manifest()


def probe_sparse(engine: DeviceEngine) -> bool:
    """Whether the engine takes an archive without the layers that it has, by trying. It is left as it was."""
    small, large = _probe_images()
    try:
        _load(engine, small.image, _describe(small, {}), {})
        held = engine.held_layers_as(small.image, (), small.sizes)
        manifest = _describe(small, {}).render_manifest()
        if not held or not manifest:
            return False
        _load(engine, large.image, _describe(large, held), held)
        # An engine that only noted the image down could not give it back.
        return sum(map(len, engine.save(large.image))) > sum(large.sizes.values())
    except EngineError:
        return False
    finally:
        for delivery in (large, small):
            engine.remove_image(delivery.image)


def _probe_images() -> tuple[Delivery, Delivery]:
    """Two images of one layer and of two, which have the first in common and run nothing."""
    tars = [b"".join(stream_tar([file_entry(name, b"wherry asks whether layers may be left out\n")])) for name in ("one", "two")]
    diff_ids = [DiffId(hashlib.sha256(tar).hexdigest()) for tar in tars]
    made = []
    for count in (1, 2):
        config = render_config(platform=read_host_platform(), created=_TIME, diff_ids=diff_ids[:count], entrypoint=_NOTHING)
        made.append(
            Delivery(
                image=EngineImage(config=parse_config(config), name=f"wherry-probe:{count}"),
                sizes={diff_id: len(tar) for diff_id, tar in zip(diff_ids[:count], tars, strict=False)},
                new={diff_ids[count - 1]: _give(tars[count - 1])},
                annotations={},
                held={},
            )
        )
    return made[0], made[1]


def _describe(delivery: Delivery, held: Mapping[DiffId, Descriptor]) -> HybridImage:
    return HybridImage(
        platform=delivery.image.config.platform,
        config=delivery.image.config.raw,
        annotations=delivery.annotations,
        layers=tuple(
            HybridLayer(
                diff_id=diff_id,
                descriptor=held.get(diff_id) or describe_tar(diff_id, delivery.sizes[diff_id]),
                content=delivery.new.get(diff_id, b""),
            )
            for diff_id in delivery.image.config.diff_ids
        ),
    )


def _complete(engine: DeviceEngine, delivery: Delivery, scratch: Path) -> HybridImage:
    """The image with all its layers' contents, the held ones out of what the engine saves of the base."""
    if delivery.base is None:
        raise EngineError(f"{engine.name} has no image to take layers from", hint="take the full image")
    saved = spool_saved_layers(engine, delivery.base, scratch)
    layers = []
    for diff_id in delivery.image.config.diff_ids:
        content = delivery.new.get(diff_id) or _read_file(saved[diff_id])
        layers.append(HybridLayer(diff_id=diff_id, descriptor=describe_tar(diff_id, delivery.sizes[diff_id]), content=content))
    return HybridImage(
        platform=delivery.image.config.platform,
        config=delivery.image.config.raw,
        annotations=delivery.annotations,
        layers=tuple(layers),
    )


def _load(engine: DeviceEngine, image: EngineImage, hybrid: HybridImage, omit: Mapping[DiffId, Descriptor]) -> None:
    name = image.name or f"wherry:{image.image_id.hex[:12]}"
    engine.load(stream_tar(list_entries([hybrid], name, frozenset(omit))), image)


def _open(content: Content) -> Iterator[bytes]:
    return content()


def _give(data: bytes) -> Content:
    return lambda: iter((data,))


def _read_file(path: Path) -> Callable[[], Iterator[bytes]]:
    def stream() -> Iterator[bytes]:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk

    return stream
