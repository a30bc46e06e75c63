"""Everything a build needs besides the project's own files: the locked layers, written, and what the config says.

A recipe is kept between builds under a key of the files it came from. A rebuild after a changed model or line of code
starts from it, and needs neither the lock nor the declaration; `image.py` makes the same image of it either way.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from wherry.errors import FormatError
from wherry.model.declaration import Bytecode, Compression
from wherry.model.digest import DiffId, Digest
from wherry.model.image import BuiltLayer
from wherry.model.lock import LayerKind
from wherry.model.oci import History
from wherry.model.platform import Platform

RECIPE_VERSION = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformRecipe:
    """One platform's layers below code and models; `base_*` is what a base given by reference said in its config.

    `conda_prefix` is where conda's environment lies, without a leading slash; empty where there is a virtual one.
    `conda_channels` are those that its records come from, sorted.
    """

    platform: Platform
    layers: tuple[BuiltLayer, ...]
    base_history: tuple[History, ...] = ()
    base_env: tuple[str, ...] = ()
    base_digest: str = ""
    conda_prefix: str = ""
    conda_channels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """`base_name` is the reference of the base, or the suite; `entrypoint` … `ports` are the declaration's."""

    name: str
    platforms: tuple[PlatformRecipe, ...]
    base_name: str
    entrypoint: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    labels: tuple[tuple[str, str], ...]
    volumes: tuple[str, ...]
    ports: tuple[str, ...]
    user: str
    workdir: str
    bytecode: Bytecode
    compression: Compression


def render_recipe(recipe: Recipe) -> dict[str, Any]:
    """As a JSON object."""
    value = asdict(recipe)
    value["bytecode"], value["compression"] = recipe.bytecode.value, recipe.compression.value
    value["version"] = RECIPE_VERSION
    for index, platform in enumerate(recipe.platforms):
        value["platforms"][index]["platform"] = str(platform.platform)
        value["platforms"][index]["layers"] = [render_layer(layer) for layer in platform.layers]
    return value


def parse_recipe(value: Any) -> Recipe:
    """Read what `render_recipe` gave; a `FormatError` when it is of another version or damaged."""
    try:
        if value["version"] != RECIPE_VERSION:
            raise FormatError("a recipe of another version")
        return Recipe(
            name=value["name"],
            platforms=tuple(_parse_platform(member) for member in value["platforms"]),
            base_name=value["base_name"],
            entrypoint=tuple(value["entrypoint"]),
            env=tuple((key, text) for key, text in value["env"]),
            labels=tuple((key, text) for key, text in value["labels"]),
            volumes=tuple(value["volumes"]),
            ports=tuple(value["ports"]),
            user=value["user"],
            workdir=value["workdir"],
            bytecode=Bytecode(value["bytecode"]),
            compression=Compression(value["compression"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"a damaged recipe: {error!r}") from error


def render_layer(layer: BuiltLayer) -> dict[str, Any]:
    return {
        "name": layer.name,
        "kind": layer.kind.value,
        "diff_id": str(layer.diff_id),
        "digest": str(layer.digest),
        "size": layer.size,
        "media_type": layer.media_type,
        "members": list(layer.members),
    }


def parse_layer(value: Any) -> BuiltLayer:
    return BuiltLayer(
        name=value["name"],
        kind=LayerKind(value["kind"]),
        diff_id=DiffId.parse(value["diff_id"]),
        digest=Digest.parse(value["digest"]),
        size=value["size"],
        media_type=value["media_type"],
        members=tuple(value["members"]),
    )


def _parse_platform(value: Any) -> PlatformRecipe:
    return PlatformRecipe(
        platform=Platform.parse(value["platform"]),
        layers=tuple(parse_layer(layer) for layer in value["layers"]),
        base_history=tuple(History(**entry) for entry in value["base_history"]),
        base_env=tuple(value["base_env"]),
        base_digest=value["base_digest"],
        conda_prefix=value["conda_prefix"],
        conda_channels=tuple(value["conda_channels"]),
    )
