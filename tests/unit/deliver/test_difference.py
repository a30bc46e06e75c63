"""Differences of images: which layers move, and which change is named for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.deliver.images import ARM64, make_image, make_layer
from wherry.deliver.changes import Change
from wherry.deliver.difference import diff_images
from wherry.deliver.difference_json import render_image_differences
from wherry.deliver.wire import Pull
from wherry.errors import UsageError
from wherry.model.image import BuiltImage, BuiltLayer
from wherry.model.lock import LayerKind as Kind

BASE = make_layer(Kind.BASE, "base", "libc6 2.36-9", "zlib1g 1.2", size=15_000_000)
PANDAS = make_layer(Kind.WHEEL, "pandas", "pandas 2.2.2", size=12_000_000)
SMALL = make_layer(Kind.WHEELS, "wheels", "pytz 2024.1", "six 1.16", "tzdata 2024.1", size=400_000)
CODE = make_layer(Kind.CODE, "code", size=3_000)
MODEL = make_layer(Kind.MODEL, "models/model.pkl", "models/model.pkl", size=5_000)
IMAGE = make_image(BASE, PANDAS, SMALL, CODE, MODEL)


def causes(base: BuiltImage, target: BuiltImage) -> list[tuple[str, int]]:
    return [(cause.text, cause.size) for cause in diff_images(base, target).causes]


def test_an_image_differs_from_itself_in_nothing() -> None:
    difference = diff_images(IMAGE, IMAGE, config_size=2000, index_size=500)
    assert difference.is_empty
    assert (difference.moved, difference.causes, difference.dropped, difference.settings) == ((), (), (), False)
    assert difference.pull == difference.single_layer == Pull()


def test_a_retrained_model_moves_its_layer_alone() -> None:
    retrained = make_layer(Kind.MODEL, "models/model.pkl", "models/model.pkl", content="2", size=5_047)
    difference = diff_images(IMAGE, make_image(BASE, PANDAS, SMALL, CODE, retrained), config_size=2_300)
    assert [(cause.text, cause.size, cause.kind) for cause in difference.causes] == [("models/model.pkl", 5_047, Kind.MODEL)]
    assert len(difference.kept) == 4
    assert difference.pull.blobs == 5_047
    # What was measured for such a pull: 20 to 40 kB on the wire.
    assert 20_000 < difference.pull.total < 40_000
    assert difference.single_layer.blobs == sum(layer.size for layer in (BASE, PANDAS, SMALL, CODE, retrained))


def test_one_package_names_both_versions() -> None:
    newer = make_layer(Kind.WHEEL, "pandas", "pandas 2.2.3", size=12_100_000)
    assert causes(IMAGE, make_image(BASE, newer, SMALL, CODE, MODEL)) == [("pandas 2.2.2 → 2.2.3", 12_100_000)]


def test_changes_of_one_layer_are_named_together() -> None:
    bumped = make_layer(Kind.WHEELS, "wheels", "pytz 2025.1", "six 1.16", "tzdata 2025.1", size=410_000)
    assert causes(IMAGE, make_image(BASE, PANDAS, bumped, CODE, MODEL)) == [
        ("pytz 2024.1 → 2025.1, tzdata 2024.1 → 2025.1", 410_000)
    ]


def test_a_long_list_is_cut_and_counted() -> None:
    old = make_layer(Kind.WHEELS, "wheels", *(f"p{n} 1" for n in range(9)))
    new = make_layer(Kind.WHEELS, "wheels", *(f"p{n} 2" for n in range(9)))
    [(text, _)] = causes(make_image(old), make_image(new))
    assert text == "p0 1 → 2, p1 1 → 2, p2 1 → 2, p3 1 → 2 and 5 more"


def test_added_and_removed_packages() -> None:
    fewer = make_layer(Kind.WHEELS, "wheels", "pytz 2024.1", "tzdata 2024.1", "typer 0.15")
    difference = diff_images(IMAGE, make_image(BASE, PANDAS, fewer, CODE, MODEL))
    assert [cause.text for cause in difference.causes] == ["six removed, typer 0.15 added"]
    assert [change.text for change in difference.dropped] == ["six removed"]


def test_a_package_that_left_a_layer_of_its_own_moves_nothing() -> None:
    difference = diff_images(IMAGE, make_image(BASE, SMALL, CODE, MODEL))
    assert difference.causes == ()
    assert difference.dropped == (Change(name="pandas", base="2.2.2", target=None),)
    assert not difference.settings


def test_a_dropped_and_an_added_model() -> None:
    without = make_image(BASE, PANDAS, SMALL, CODE)
    assert [change.text for change in diff_images(IMAGE, without).dropped] == ["models/model.pkl removed"]
    assert causes(without, IMAGE) == [("models/model.pkl added", 5_000)]


def test_bytecode_is_told_apart_from_its_wheel() -> None:
    def image(version: str) -> BuiltImage:
        wheel = make_layer(Kind.WHEEL, "pandas", f"pandas {version}", size=100)
        return make_image(wheel, make_layer(Kind.BYTECODE, "bytecode-pandas", f"pandas {version}", size=70))

    assert causes(image("1"), image("2")) == [("pandas 1 → 2", 100), ("bytecode of pandas 1 → 2", 70)]


def test_code_has_no_members() -> None:
    changed = make_layer(Kind.CODE, "code", content="edited", size=3_100)
    assert causes(IMAGE, make_image(BASE, PANDAS, SMALL, changed, MODEL)) == [("code", 3_100)]


def test_the_same_layer_compressed_otherwise_moves_and_says_so() -> None:
    again = make_layer(Kind.WHEEL, "pandas", "pandas 2.2.2", size=11_000_000, codec="zstd")
    assert causes(IMAGE, make_image(BASE, again, SMALL, CODE, MODEL)) == [("pandas: compressed otherwise", 11_000_000)]


def test_the_same_packages_laid_out_otherwise() -> None:
    other = make_layer(Kind.WHEEL, "pandas", "pandas 2.2.2", content="relaid", size=9)
    assert causes(IMAGE, make_image(BASE, other, SMALL, CODE, MODEL)) == [("pandas: the same packages, laid out otherwise", 9)]


def test_a_layer_of_another_tool_is_called_what_it_calls_itself() -> None:
    assert causes(IMAGE, make_image(make_layer(Kind.FOREIGN, "layer 1", "COPY . /app", size=7))) == [("COPY . /app", 7)]


def test_only_settings() -> None:
    difference = diff_images(IMAGE, make_image(*IMAGE.layers, settings="other command"), config_size=2_000)
    assert difference.settings
    assert not difference.is_empty
    assert (difference.moved, difference.pull.blobs, difference.pull.config) == ((), 0, 2_000)


def test_a_blob_that_occurs_twice_moves_once() -> None:
    empty = make_layer(Kind.FOREIGN, "layer 1", size=32)
    assert diff_images(IMAGE, make_image(empty, empty)).pull.blobs == 32


def test_other_platforms_are_refused() -> None:
    with pytest.raises(UsageError, match="linux/arm64"):
        diff_images(IMAGE, make_image(BASE, platform=ARM64))


def test_json_has_the_bytes_by_cause() -> None:
    retrained = make_layer(Kind.MODEL, "models/model.pkl", "models/model.pkl", content="2", size=5_047)
    document = render_image_differences([diff_images(IMAGE, make_image(BASE, PANDAS, SMALL, CODE, retrained))])
    [platform] = document["platforms"]
    assert document["schema"] == 1
    assert [(cause["cause"], cause["size"]) for cause in platform["causes"]] == [("models/model.pkl", 5_047)]
    assert [layer["cause"] for layer in platform["layers"]] == ["models/model.pkl"]
    assert "cost" not in platform


VERSIONS = st.integers(1, 3)


@st.composite
def images(draw: st.DrawFn) -> BuiltImage:
    """Packages spread over layers in any way, with code and models, at any versions."""
    packages = draw(st.dictionaries(st.sampled_from("abcdefgh"), VERSIONS))
    kinds = st.sampled_from([Kind.BASE, Kind.INTERPRETER, Kind.WHEEL, Kind.WHEELS])
    groups: dict[Kind, list[str]] = {}
    for name, version in packages.items():
        groups.setdefault(draw(kinds), []).append(f"{name} {version}")
    sizes = st.integers(0, 10**9)
    layers: list[BuiltLayer] = [
        make_layer(kind, kind.value, *sorted(group), size=draw(sizes), codec=draw(st.sampled_from(["", "x"])))
        for kind, group in groups.items()
    ]
    if packages:
        layers.append(make_layer(Kind.BYTECODE, "bytecode", *(f"{n} {v}" for n, v in packages.items()), size=draw(sizes)))
    layers.append(make_layer(Kind.CODE, "code", content=str(draw(VERSIONS)), size=draw(sizes)))
    layers += [
        make_layer(Kind.MODEL, path, path, content=str(draw(VERSIONS)), size=draw(sizes))
        for path in draw(st.sets(st.sampled_from(["m/a.pkl", "m/b, c.onnx"])))
    ]
    return make_image(*layers)


@given(images(), images())
def test_law_the_causes_sum_to_what_moves(base: BuiltImage, target: BuiltImage) -> None:
    difference = diff_images(base, target)
    held = {layer.digest for layer in base.layers}
    moved = sum(layer.size for layer in target.layers if layer.digest not in held)
    assert sum(cause.size for cause in difference.causes) == difference.moved_size == difference.pull.blobs == moved
    assert sorted(name for cause in difference.causes for name in cause.layers) == sorted(layer.name for layer in difference.moved)
    assert all(cause.text for cause in difference.causes)
    assert difference.pull.blobs <= difference.single_layer.blobs


@given(images())
def test_law_equal_images_have_no_difference(image: BuiltImage) -> None:
    difference = diff_images(image, image, config_size=1, index_size=1)
    assert difference.is_empty
    assert not difference.causes
    assert not difference.dropped
    assert difference.pull.total == 0
