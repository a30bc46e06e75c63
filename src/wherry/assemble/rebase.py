"""An image's own layers on another base, or more layers on an image: documents out, nothing written.

The layers stay the blobs that they are. Of the config, what the image itself said stays and what it had from its former base is
the new base's, as if the same Dockerfile had been built on it: variables, labels, volumes and ports one by one, other settings as
a whole, and a path that was prepended to an inherited one is prepended to the new one. Times are the image's own, so that the
same images always give the same digest. Fields that wherry does not know are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wherry.errors import StoreError
from wherry.formats.oci_json import parse_config, parse_json, render_json, render_manifest
from wherry.model.digest import DiffId, Digest
from wherry.model.layout import PYTHON_CACHE
from wherry.model.oci import (
    BASE_DIGEST,
    BASE_NAME,
    CONFIG,
    DOCKER_LAYER,
    LAYER_GZIP,
    Descriptor,
    ImageConfig,
)
from wherry.model.python_cache import name_cache_of
from wherry.store.images import StoredImage

_CACHE = "PYTHONPYCACHEPREFIX"
_MOST_LAYERS = 127  # docker's overlay2
_NAMED = ("Labels", "Volumes", "ExposedPorts")


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposedDocuments:
    """The bytes of an image's config and manifest."""

    config: bytes
    manifest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnPart:
    """What of an image is its own: the layers above the lowest `below`, which are its base's, without `dropped`.

    `base` is the config of that base; None where it is not known, and then all settings are the image's own. Dropped are layers
    (by number, from the bottom) that say something about the base alone, such as bytecode of its standard library.
    """

    image: StoredImage
    below: int
    base: ImageConfig | None = None
    dropped: frozenset[int] = frozenset()

    @property
    def numbers(self) -> tuple[int, ...]:
        return tuple(number for number in range(self.below, len(self.image.manifest.layers)) if number not in self.dropped)

    @property
    def layers(self) -> tuple[Descriptor, ...]:
        return tuple(self.image.manifest.layers[number] for number in self.numbers)

    @property
    def diff_ids(self) -> tuple[DiffId, ...]:
        return tuple(self.image.config.diff_ids[number] for number in self.numbers)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedLayer:
    """A layer to be laid on top; `created_by` is what the history says of it."""

    descriptor: Descriptor
    diff_id: DiffId
    created_by: str
    comment: str = ""


def count_base_layers(image: ImageConfig, base: ImageConfig) -> int | None:
    """How many of the image's lowest layers are those of `base`; None where they are others."""
    count = len(base.diff_ids)
    return count if image.diff_ids[:count] == base.diff_ids else None


def count_common_layers(image: ImageConfig, other: ImageConfig) -> int:
    """How many of the lowest layers two images share."""
    pairs = zip(image.diff_ids, other.diff_ids, strict=False)
    return next((number for number, (one, two) in enumerate(pairs) if one != two), min(len(image.diff_ids), len(other.diff_ids)))


def rebase_image(own: OwnPart, base: StoredImage, name: str) -> ComposedDocuments:
    """The own part of an image on `base`, which is called `name` where a registry has it; else that is empty."""
    image = own.image
    if image.platform != base.platform:
        raise StoreError(f"the base is for {base.platform}, the image for {image.platform}", hint="--platform")
    document, below = _document(image.config), _document(base.config)
    former = _settings(_document(own.base)) if own.base else {}
    document["config"] = _merge_settings(_settings(document), former, _settings(below))
    document["history"] = [*_history(base.config), *_own_history(own)]
    document["rootfs"] = {"type": "layers", "diff_ids": [str(one) for one in (*base.config.diff_ids, *own.diff_ids)]}
    annotations = {key: value for key, value in image.manifest.annotations.items() if key not in (BASE_NAME, BASE_DIGEST)}
    annotations |= {BASE_NAME: name} if name else {}
    annotations[BASE_DIGEST] = str(base.manifest.digest)
    return _compose(document, (*base.manifest.layers, *own.layers), annotations, image.config)


def add_layers(image: StoredImage, layers: Sequence[AddedLayer]) -> ComposedDocuments:
    """The image with more layers on top; everything else of it stays."""
    document = _document(image.config)
    created = {"created": image.config.created} if image.config.created else {}
    added = [
        {**created, "created_by": layer.created_by, **({"comment": layer.comment} if layer.comment else {})} for layer in layers
    ]
    document["history"] = [*_history(image.config), *added]
    diff_ids = (*image.config.diff_ids, *(layer.diff_id for layer in layers))
    document["rootfs"] = {"type": "layers", "diff_ids": [str(diff_id) for diff_id in diff_ids]}
    descriptors = (*image.manifest.layers, *(layer.descriptor for layer in layers))
    return _compose(document, descriptors, dict(image.manifest.annotations), image.config)


def _compose(
    document: dict[str, Any], layers: Sequence[Descriptor], annotations: Mapping[str, str], former: ImageConfig
) -> ComposedDocuments:
    if len(layers) > _MOST_LAYERS:
        hint = "--from-image the image that was built as a whole, or build it anew"
        raise StoreError(f"{len(layers)} layers; engines take {_MOST_LAYERS}", where=str(former.digest), hint=hint)
    for name in ("container", "container_config", "docker_version"):  # docker's notes on the build, which was another one
        document.pop(name, None)
    _rename_cache(document, former)
    config = render_json(document)
    manifest = render_manifest(
        config=Descriptor(media_type=CONFIG, digest=Digest.of(config), size=len(config)),
        layers=[_plain(layer) for layer in layers],
        annotations=annotations,
    )
    return ComposedDocuments(config=config, manifest=manifest)


def _plain(layer: Descriptor) -> Descriptor:
    """Docker's media type becomes OCI's of the same bytes: one manifest speaks one language."""
    media_type = LAYER_GZIP if layer.media_type == DOCKER_LAYER else layer.media_type
    return Descriptor(media_type=media_type, digest=layer.digest, size=layer.size, annotations=layer.annotations)


def _rename_cache(document: dict[str, Any], former: ImageConfig) -> None:
    """Bytecode that was cached for other layers must not be found (`model.python_cache`)."""
    own = f"{_CACHE}={PYTHON_CACHE}/{name_cache_of(former)}"
    env = _settings(document).get("Env") or []
    if own in env:
        made = name_cache_of(parse_config(render_json(document)))
        document["config"]["Env"] = [f"{_CACHE}={PYTHON_CACHE}/{made}" if entry == own else entry for entry in env]


def _document(config: ImageConfig) -> dict[str, Any]:
    return parse_json(config.raw, str(config.digest))


def _settings(document: Mapping[str, Any]) -> dict[str, Any]:
    settings: dict[str, Any] = document.get("config") or {}
    return settings


def _merge_settings(own: Mapping[str, Any], former: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for key in (*base, *(key for key in own if key not in base)):
        ours, was, theirs = own.get(key), former.get(key), base.get(key)
        if key == "Env":
            merged[key] = _merge_variables(ours or [], was or [], theirs or [])
        elif key in _NAMED:
            known = was or {}
            changed = {name: value for name, value in (ours or {}).items() if name not in known or known[name] != value}
            merged[key] = {**(theirs or {}), **changed}
        else:
            merged[key] = theirs if ours == was else ours
    if own.get("Entrypoint") != former.get("Entrypoint"):
        merged["Cmd"] = own.get("Cmd")  # an entrypoint of its own drops the base's command
    return {key: value for key, value in merged.items() if value is not None}


def _merge_variables(own: Sequence[str], former: Sequence[str], base: Sequence[str]) -> list[str]:
    ours, was, merged = (dict(entry.partition("=")[::2] for entry in entries) for entries in (own, former, base))
    for name, value in ours.items():
        if was.get(name) != value:
            merged[name] = _expand_again(value, was.get(name), merged.get(name))
    return [f"{name}={value}" for name, value in merged.items()]


def _expand_again(value: str, was: str | None, now: str | None) -> str:
    """``ENV PATH=/own:$PATH`` has the former base's value in it, and is to have the new one's."""
    if was and now and value.endswith(f":{was}"):
        return value.removesuffix(was) + now
    if was and now and value.startswith(f"{was}:"):
        return now + value.removeprefix(was)
    return value


def _history(config: ImageConfig) -> list[Any]:
    """The history as it was written; one that does not fit the layers would shift what ours says of ours."""
    if sum(not entry.empty_layer for entry in config.history) == len(config.diff_ids):
        history: list[Any] = _document(config)["history"] if config.history else []
        return history
    return [{"created_by": "layer of another tool"} for _ in config.diff_ids]


def _own_history(own: OwnPart) -> list[Any]:
    """What was written about the layers above the base, with what was set between them."""
    entries = _history(own.image.config)
    known = len(_history(own.base)) if own.base else 0
    if sum(not entry.get("empty_layer") for entry in entries[:known]) != own.below:
        known = 0  # not that base's history: what was set right above it cannot be told from what was set in it
    kept, number = [], 0
    for at, entry in enumerate(entries):
        is_layer = not entry.get("empty_layer")
        if at >= known and number >= own.below and not (is_layer and number in own.dropped):
            kept.append(entry)
        number += is_layer
    return kept
