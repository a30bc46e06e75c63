"""A platform as wheels see it."""

from __future__ import annotations

import pytest
from packaging.tags import Tag

from wherry.errors import DeclarationError
from wherry.lock.candidates import describe_platforms, rank_of
from wherry.lock.target import WheelTarget, markers_of, tags_of
from wherry.model.platform import Platform


def target(platform: str = "linux/amd64", glibc: tuple[int, int] = (2, 36), python: str = "3.11.2") -> WheelTarget:
    return WheelTarget(platform=Platform.parse(platform), glibc=glibc, python=python)


@pytest.mark.parametrize("text", ["linux/arm/v5", "linux/arm/v6"])
def test_an_arm_that_no_package_runs_on_is_refused(text: str) -> None:
    with pytest.raises(DeclarationError, match=r"less than v7[^$]*try: linux/arm/v7"):
        Platform.parse(text)


@pytest.mark.parametrize(
    ("platform", "glibc", "name"),
    [
        ("linux/amd64", (2, 36), "x86_64-manylinux_2_36"),
        ("linux/amd64", (2, 41), "x86_64-manylinux_2_40"),
        ("linux/arm64", (2, 30), "aarch64-manylinux_2_28"),
        ("linux/arm64", (2, 17), "aarch64-manylinux_2_17"),
        ("linux/amd64", (2, 12), None),
        ("linux/arm/v7", (2, 36), None),
        ("linux/s390x", (2, 36), None),
    ],
)
def test_uvs_name(platform: str, glibc: tuple[int, int], name: str | None) -> None:
    assert target(platform, glibc).uv_platform == name


def test_the_order_of_tags() -> None:
    tags = tags_of(target())
    order = [
        Tag("cp311", "cp311", "manylinux_2_36_x86_64"),
        Tag("cp311", "cp311", "manylinux_2_17_x86_64"),
        Tag("cp311", "cp311", "manylinux2014_x86_64"),
        Tag("cp311", "cp311", "manylinux1_x86_64"),
        Tag("cp311", "cp311", "linux_x86_64"),
        Tag("cp311", "abi3", "manylinux_2_17_x86_64"),
        Tag("cp38", "abi3", "manylinux2014_x86_64"),
        Tag("py3", "none", "manylinux_2_17_x86_64"),
        Tag("py3", "none", "any"),
    ]
    places = [tags.index(tag) for tag in order]
    assert places == sorted(places)
    assert Tag("cp311", "cp311", "manylinux_2_37_x86_64") not in tags
    assert not any("aarch64" in tag.platform or "musl" in tag.platform for tag in tags)


def test_a_rank() -> None:
    order = {tag: number for number, tag in enumerate(tags_of(target()))}
    native, pure = rank_of("x-1-cp311-cp311-manylinux_2_17_x86_64.whl", order), rank_of("x-1-py3-none-any.whl", order)
    assert native is not None
    assert pure is not None
    assert native < pure
    assert rank_of("x-1-cp312-cp312-manylinux_2_17_x86_64.whl", order) is None
    assert rank_of("x-1.tar.gz", order) is None


def test_markers() -> None:
    assert markers_of(target("linux/arm/v7"))["platform_machine"] == "armv7l"
    assert markers_of(target(python="3.11"))["python_full_version"] == "3.11.0"
    assert markers_of(target())["python_full_version"] == "3.11.2"


def test_no_version() -> None:
    with pytest.raises(DeclarationError):
        tags_of(target(python="three"))


def test_platforms_in_our_words() -> None:
    files = [
        "x-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "x-1-cp311-cp311-musllinux_1_2_aarch64.whl",
        "x-1-cp311-cp311-macosx_11_0_arm64.whl",
        "x-1-cp311-cp311-win_amd64.whl",
        "x-1-cp311-cp311-linux_armv7l.whl",
        "x-1.tar.gz",
        "nonsense.whl",
    ]
    assert describe_platforms(files) == "linux/amd64, linux/arm/v7, linux/arm64 with musl, macOS (arm64), windows (amd64)"
    assert describe_platforms(["x-1-py3-none-any.whl"]) == "any platform"
    assert describe_platforms([]) == "none"
