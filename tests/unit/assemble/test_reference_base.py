"""A base's documents become the lower part of an image's, whatever tool wrote them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulators.bases import AMD64
from wherry.assemble.image import compose_image
from wherry.assemble.recipe import Recipe, parse_recipe, render_recipe
from wherry.assemble.reference_base import extend_base, foreign_layers
from wherry.errors import FormatError
from wherry.formats.oci_json import parse_config, parse_manifest, render_config, render_manifest
from wherry.model.declaration import Bytecode, Compression
from wherry.model.digest import DiffId, Digest
from wherry.model.image import BuiltLayer
from wherry.model.lock import LayerKind
from wherry.model.oci import (
    CONFIG,
    DOCKER_CONFIG,
    DOCKER_LAYER,
    LAYER_GZIP,
    LAYER_TAR,
    LAYER_ZSTD,
    Descriptor,
    History,
    ImageConfig,
    Manifest,
)
from wherry.store.disk import DiskStore
from wherry.store.images import layers_of

NOTHING = History(created_by="ENV A=1", empty_layer=True)


def documents(
    media_types: tuple[str, ...], history: tuple[History, ...], env: tuple[str, ...] = (), *, diff_ids: int | None = None
) -> tuple[Manifest, ImageConfig]:
    names = [str(number).encode() for number in range(len(media_types))]
    config = render_config(
        platform=AMD64,
        created="2020-01-01T00:00:00Z",
        diff_ids=[DiffId(Digest.of(b"tar" + name).hex) for name in names][:diff_ids],
        history=history,
        env=env,
    )
    manifest = render_manifest(
        config=Descriptor(
            media_type=DOCKER_CONFIG if DOCKER_LAYER in media_types else CONFIG, digest=Digest.of(config), size=len(config)
        ),
        layers=[
            Descriptor(media_type=kind, digest=Digest.of(name), size=len(name))
            for kind, name in zip(media_types, names, strict=True)
        ],
    )
    return parse_manifest(manifest), parse_config(config)


def own_layer() -> BuiltLayer:
    return BuiltLayer(
        name="python",
        kind=LayerKind.INTERPRETER,
        diff_id=DiffId("a" * 64),
        digest=Digest("b" * 64),
        size=10,
        media_type=LAYER_GZIP,
        members=("python3.11 3.11.2",),
    )


def composed(manifest: Manifest, config: ImageConfig, own: tuple[BuiltLayer, ...]) -> tuple[Manifest, ImageConfig]:
    platform = extend_base(AMD64, manifest, config, own)
    recipe = Recipe(
        name="p",
        platforms=(platform,),
        base_name="127.0.0.1:5000/library/python:3.11",
        entrypoint=("python",),
        env=(),
        labels=(),
        volumes=(),
        ports=(),
        user="10001:10001",
        workdir="/app",
        bytecode=Bytecode.NONE,
        compression=Compression.GZIP,
    )
    assert parse_recipe(render_recipe(recipe)) == recipe
    made = compose_image(recipe, platform, (), "1980-01-01T00:00:00Z")
    return parse_manifest(made.manifest), parse_config(made.config)


def test_layers_stay_what_they_are_under_ocis_names() -> None:
    manifest, config = documents((DOCKER_LAYER, LAYER_ZSTD, LAYER_TAR), ())
    layers = foreign_layers(manifest, config)
    assert [layer.media_type for layer in layers] == [LAYER_GZIP, LAYER_ZSTD, LAYER_TAR]
    assert [layer.digest for layer in layers] == [layer.digest for layer in manifest.layers]
    assert {layer.kind for layer in layers} == {LayerKind.FOREIGN}


def test_layers_and_diff_ids_must_be_equally_many() -> None:
    manifest, config = documents((LAYER_GZIP, LAYER_GZIP), (), diff_ids=1)
    with pytest.raises(FormatError):
        foreign_layers(manifest, config)


@pytest.mark.parametrize(
    "history",
    [
        (),
        (History(created_by="COPY a"), NOTHING, History(created_by="COPY b"), NOTHING),
        (History(created_by="COPY a"),),
        (History(created_by="COPY a"), History(created_by="COPY b"), History(created_by="COPY c")),
        (NOTHING,),
    ],
    ids=["none", "with empty layers", "too little", "too much", "only empty layers"],
)
def test_whatever_the_history_says_the_image_explains_its_own_layers(history: tuple[History, ...]) -> None:
    manifest, config = documents((DOCKER_LAYER, DOCKER_LAYER), history, ("PATH=/base/bin", "LANG=de_DE.UTF-8"))
    made_manifest, made_config = composed(manifest, config, (own_layer(),))
    layers = layers_of(made_manifest, made_config)
    assert len([entry for entry in made_config.history if not entry.empty_layer]) == len(layers) == 3
    assert (layers[-1].name, layers[-1].members) == ("python", ("python3.11 3.11.2",))
    assert made_config.env[:2] == ("PATH=/opt/env/bin:/base/bin", "LANG=de_DE.UTF-8")
    assert made_config.history[-1].created_by == "wherry layer interpreter python"


def test_a_base_that_wherry_built_keeps_its_layers_names_apart() -> None:
    history = (History(created_by="wherry layer interpreter python", comment="python3.11 3.11.2"),)
    manifest, config = documents((LAYER_GZIP,), history)
    platform = extend_base(AMD64, manifest, config, (own_layer(),))
    assert [layer.kind for layer in platform.layers] == [LayerKind.FOREIGN, LayerKind.INTERPRETER]


def test_no_blob_is_needed(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    manifest, config = documents((DOCKER_LAYER,), ())
    extend_base(AMD64, manifest, config, ())
    assert not store.has(manifest.layers[0].digest)
