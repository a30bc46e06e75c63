"""What an image says of itself where its environment is conda's, and that a push can tell from it whose packages it has."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.simulators.recipes import make_layer, make_recipe
from wherry.assemble.image import ComposedImage, compose_image
from wherry.assemble.recipe import parse_recipe, render_recipe
from wherry.model.lock import LayerKind
from wherry.model.oci import MANIFEST, Descriptor
from wherry.publish.push import plan_push
from wherry.publish.terms import warn_of_terms
from wherry.store.disk import DiskStore

LAYER = make_layer("python", LayerKind.INTERPRETER, ("python 3.11.2",))


def compose(*channels: str) -> ComposedImage:
    recipe = make_recipe(("linux/amd64", (LAYER,)))
    platform = replace(recipe.platforms[0], conda_prefix="opt/conda", conda_channels=channels)
    recipe = replace(recipe, platforms=(platform,))
    assert parse_recipe(json.loads(json.dumps(render_recipe(recipe)))) == recipe
    return compose_image(recipe, platform, (), "1980-01-01T00:00:00Z")


def test_programs_and_python_find_the_prefix() -> None:
    env = json.loads(compose("conda-forge").config)["config"]["Env"]
    assert env[0].startswith("PATH=/opt/conda/bin:/usr/local/sbin:")
    assert {"CONDA_PREFIX=/opt/conda", "CONDA_DEFAULT_ENV=base", "PYTHONNOUSERSITE=1"} <= set(env)


def test_an_image_without_conda_says_nothing_of_it() -> None:
    recipe = make_recipe(("linux/amd64", (LAYER,)))
    made = compose_image(recipe, recipe.platforms[0], (), "1980-01-01T00:00:00Z")
    assert b"conda" not in made.config + made.manifest
    assert b"PATH=/opt/env/bin:" in made.config


MIXED = ("conda-forge", "pkgs/main", "pkgs/r")


@pytest.mark.parametrize(("channels", "named"), [(MIXED, "channels pkgs/main, pkgs/r"), (("defaults",), "channel defaults")])
def test_a_push_warns_of_terms(tmp_path: Path, channels: tuple[str, ...], named: str) -> None:
    store, made = DiskStore(tmp_path), compose(*channels)
    store.put_bytes(made.config)
    image = Descriptor(media_type=MANIFEST, digest=store.put_bytes(made.manifest), size=len(made.manifest))
    assert plan_push(store, image).channels == channels
    warning = warn_of_terms(plan_push(store, image).channels)
    assert warning is not None
    assert f"Anaconda's {named}, whose terms" in warning


def test_other_channels_need_no_warning() -> None:
    assert warn_of_terms(("conda-forge", "bioconda", "acme/r")) is None
