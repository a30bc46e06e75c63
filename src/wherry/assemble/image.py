"""From a recipe and the layers of code and models to config, manifest and index. Pure: documents out, nothing written.

Follows the OCI image-spec 1.1. What the image says of itself depends on the recipe and the layers alone; `created` comes in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from wherry.assemble.recipe import PlatformRecipe, Recipe
from wherry.formats.oci_json import render_config, render_index, render_manifest
from wherry.model.declaration import Bytecode
from wherry.model.digest import Digest
from wherry.model.image import BuiltImage, BuiltLayer
from wherry.model.layout import PYTHON_CACHE, VENV
from wherry.model.lock import LayerKind
from wherry.model.oci import (
    BASE_DIGEST,
    BASE_NAME,
    CONDA_CHANNELS,
    CONFIG,
    INDEX,
    LAYER_KIND,
    LAYER_NAME,
    MANIFEST,
    Descriptor,
    History,
)
from wherry.model.python_cache import name_cache

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CONDA_NAME = "base"  # what conda itself calls the environment at the root of an installation
_TITLE = "org.opencontainers.image.title"


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposedImage:
    """One platform's documents, as bytes, and the value that describes them."""

    config: bytes
    manifest: bytes
    image: BuiltImage


def compose_image(recipe: Recipe, platform: PlatformRecipe, own: Sequence[BuiltLayer], created: str) -> ComposedImage:
    """`own` are the layers of code and models, which lie on top. `created` is RFC 3339."""
    layers = (*platform.layers, *own)
    config = render_config(
        platform=platform.platform,
        created=created,
        diff_ids=[layer.diff_id for layer in layers],
        history=list(_history(platform, layers)),
        entrypoint=recipe.entrypoint,
        env=_environment(recipe, platform, layers),
        user=recipe.user,
        workdir=recipe.workdir,
        labels=dict(recipe.labels),
        volumes=recipe.volumes,
        ports=recipe.ports,
    )
    config_descriptor = Descriptor(media_type=CONFIG, digest=Digest.of(config), size=len(config))
    manifest = render_manifest(
        config=config_descriptor,
        layers=[_describe(layer) for layer in layers],
        annotations=_annotations(recipe, platform),
    )
    image = BuiltImage(
        platform=platform.platform,
        manifest=Digest.of(manifest),
        manifest_size=len(manifest),
        config=config_descriptor.digest,
        layers=layers,
    )
    return ComposedImage(config=config, manifest=manifest, image=image)


def compose_index(recipe: Recipe, images: Sequence[BuiltImage]) -> tuple[bytes, Descriptor]:
    """The index over all platforms, in the recipe's order, and its descriptor."""
    raw = render_index(
        [
            Descriptor(media_type=MANIFEST, digest=image.manifest, size=image.manifest_size, platform=image.platform)
            for image in images
        ],
        {_TITLE: recipe.name},
    )
    return raw, Descriptor(media_type=INDEX, digest=Digest.of(raw), size=len(raw))


def _describe(layer: BuiltLayer) -> Descriptor:
    named: Mapping[str, str] = {LAYER_KIND: layer.kind.value, LAYER_NAME: layer.name}
    foreign = layer.kind is LayerKind.FOREIGN
    return Descriptor(media_type=layer.media_type, digest=layer.digest, size=layer.size, annotations={} if foreign else named)


def _history(platform: PlatformRecipe, layers: Sequence[BuiltLayer]) -> Iterator[History]:
    """A base's own history first, then one entry a layer that names each package in it."""
    yield from platform.base_history
    for layer in layers:
        if layer.kind is not LayerKind.FOREIGN:
            yield History(created_by=f"wherry layer {layer.kind.value} {layer.name}", comment=", ".join(layer.members))


def _environment(recipe: Recipe, platform: PlatformRecipe, layers: Sequence[BuiltLayer]) -> list[str]:
    given = dict(entry.partition("=")[::2] for entry in platform.base_env)
    given["PATH"] = f"/{platform.conda_prefix or VENV}/bin:{given.get('PATH', _PATH)}"
    given.setdefault("LANG", "C.UTF-8")
    # Packages in a home folder that is mounted in must not shadow the locked ones.
    given["PYTHONNOUSERSITE"] = "1"
    if platform.conda_prefix:
        given.update(CONDA_PREFIX=f"/{platform.conda_prefix}", CONDA_DEFAULT_ENV=_CONDA_NAME)
    if recipe.bytecode is Bytecode.CACHE:
        own = (layer.diff_id for layer in layers if layer.kind is not LayerKind.MODEL)
        given["PYTHONPYCACHEPREFIX"] = f"{PYTHON_CACHE}/{name_cache(own)}"
    else:
        given["PYTHONDONTWRITEBYTECODE"] = "1"
    given.update(recipe.env)
    return [f"{name}={value}" for name, value in given.items()]


def _annotations(recipe: Recipe, platform: PlatformRecipe) -> dict[str, str]:
    named = {_TITLE: recipe.name, BASE_NAME: recipe.base_name}
    if platform.base_digest:
        named[BASE_DIGEST] = platform.base_digest
    if platform.conda_channels:
        named[CONDA_CHANNELS] = ",".join(platform.conda_channels)
    return named
