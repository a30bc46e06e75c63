"""A recipe as a full build leaves it, made without an index or an archive: for whatever starts where such a build ended."""

from __future__ import annotations

from wherry.assemble.recipe import PlatformRecipe, Recipe
from wherry.model.declaration import Bytecode, Compression
from wherry.model.digest import DiffId, Digest
from wherry.model.image import BuiltLayer
from wherry.model.lock import LayerKind
from wherry.model.oci import LAYER_GZIP
from wherry.model.platform import Platform


def make_layer(
    name: str, kind: LayerKind, members: tuple[str, ...], *, digest: Digest | None = None, size: int = 1000
) -> BuiltLayer:
    """A layer in words; `digest` and `size` are those of its blob where there is one."""
    return BuiltLayer(
        name=name,
        kind=kind,
        diff_id=DiffId(Digest.of(f"tar of {name}".encode()).hex),
        digest=digest or Digest.of(f"blob of {name}".encode()),
        size=size,
        media_type=LAYER_GZIP,
        members=members,
    )


def make_recipe(*platforms: tuple[str, tuple[BuiltLayer, ...]]) -> Recipe:
    """A recipe of a project ``anomaly`` with these platforms and their layers."""
    return Recipe(
        name="anomaly",
        platforms=tuple(PlatformRecipe(platform=Platform.parse(name), layers=layers) for name, layers in platforms),
        base_name="debian:trixie",
        entrypoint=("/usr/bin/python3", "main.py"),
        env=(("PYTHONUNBUFFERED", "1"),),
        labels=(("org.example.team", "turbines"),),
        volumes=("/data",),
        ports=("8080/tcp",),
        user="65532:65532",
        workdir="/app",
        bytecode=Bytecode.LAYER,
        compression=Compression.GZIP,
    )
