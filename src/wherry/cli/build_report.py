"""How a build's result is shown: for people a line an image, for programs one JSON document."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from wherry.cli.talk import format_size, print_json
from wherry.model.digest import Digest
from wherry.model.image import BuildResult, BuiltImage

BUILD_SCHEMA = 1


def render_build(result: BuildResult) -> dict[str, Any]:
    """``build --json``: nothing in it depends on the host or the time."""
    return {
        "schema": BUILD_SCHEMA,
        "index": str(result.index),
        "images": [
            {
                "platform": str(image.platform),
                "manifest": str(image.manifest),
                "config": str(image.config),
                "layers": [
                    {"diff_id": str(layer.diff_id), "digest": str(layer.digest), "size": layer.size, "cause": layer.cause}
                    for layer in image.layers
                ],
            }
            for image in result.images
        ],
    }


def print_build(result: BuildResult, before: Iterable[Digest], *, as_json: bool) -> None:
    """`before` are the blobs of the former image of this name: what is not among them is new."""
    if as_json:
        print_json(render_build(result))
        return
    known = set(before)
    for image in result.images:
        print(f"{result.name}  {image.platform}  {str(image.config)[:19]}  {_describe(image, known)}")


def _describe(image: BuiltImage, known: set[Digest]) -> str:
    new = [layer for layer in image.layers if layer.digest not in known]
    total = f"{format_size(image.size)} in {len(image.layers)} layers"
    if not known:
        return total
    if not new:
        return f"{total}, nothing new"
    causes = ", ".join(layer.cause for layer in new[:3]) + (" …" if len(new) > 3 else "")
    return f"{total}, {len(new)} new: {causes} ({format_size(sum(layer.size for layer in new))})"
