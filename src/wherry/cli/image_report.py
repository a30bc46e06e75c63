"""How images of the store are shown: tables and trees for people, JSON documents (schema 1) for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from wherry.cli.talk import format_size, print_table, show
from wherry.errors import WherryError
from wherry.model.image import BuiltLayer
from wherry.model.oci import Descriptor
from wherry.store.causes import Cause
from wherry.store.disk import DiskStore
from wherry.store.images import StoredImage, reach_blobs, read_images

IMAGE_SCHEMA = 1
_MANY = 12  # members of a layer that are not wheels, shown by number from here on


def describe_images(store: DiskStore) -> list[dict[str, Any]]:
    """Each named image, as ``image ls --json`` has it; one that is damaged says so and stops no other."""
    rows = []
    for name, descriptor in store.names().items():
        row: dict[str, Any] = {"name": name, "digest": str(descriptor.digest)}
        try:
            row |= _describe_image(store, descriptor)
        except WherryError as error:
            row |= {"error": error.what, "platforms": [], "size": 0, "created": ""}
        rows.append(row)
    return rows


def _describe_image(store: DiskStore, descriptor: Descriptor) -> dict[str, Any]:
    images = read_images(store, descriptor)
    return {
        "size": sum(reach_blobs(store, descriptor).values()),
        "created": images[0].config.created if images else "",
        "platforms": [
            {
                "platform": str(image.platform),
                "manifest": str(image.descriptor.digest),
                "image_id": str(image.config.digest),
                "size": image.size,
            }
            for image in images
        ],
    }


def print_images(rows: Sequence[dict[str, Any]]) -> None:
    """A table on stdout: a line a platform."""
    table = [("NAME", "PLATFORM", "IMAGE ID", "SIZE", "CREATED")]
    for row in rows:
        for platform in row["platforms"]:
            short = platform["image_id"].removeprefix("sha256:")[:12]
            table.append((row["name"], platform["platform"], short, format_size(platform["size"]), row["created"][:10]))
        if not row["platforms"]:
            table.append((row["name"], row.get("error", "no image in it")[:60], "", "", ""))
    print_table(table)


def describe_details(name: str, image: StoredImage, layers: Sequence[BuiltLayer], causes: Sequence[Cause]) -> dict[str, Any]:
    """One platform's image, as ``image inspect --json`` has it."""
    config = image.config
    return {
        "name": name,
        "platform": str(image.platform),
        "manifest": str(image.descriptor.digest),
        "image_id": str(config.digest),
        "created": config.created,
        "size": image.size,
        "config": {
            "entrypoint": list(config.entrypoint),
            "cmd": list(config.cmd),
            "env": list(config.env),
            "user": config.user,
            "workdir": config.workdir,
            "labels": dict(config.labels),
            "volumes": list(config.volumes),
            "ports": list(config.ports),
        },
        "annotations": dict(image.manifest.annotations),
        "layers": [
            {
                "name": layer.name,
                "kind": layer.kind.value,
                "diff_id": str(layer.diff_id),
                "digest": str(layer.digest),
                "media_type": layer.media_type,
                "size": layer.size,
                "members": list(layer.members),
            }
            for layer in layers
        ],
        "history": [
            {"created_by": entry.created_by, "comment": entry.comment, "empty_layer": entry.empty_layer} for entry in config.history
        ],
        "causes": [_describe_cause(cause) for cause in causes],
    }


def _describe_cause(cause: Cause) -> dict[str, Any]:
    return {
        "name": cause.name,
        "size": cause.size,
        "total": cause.total,
        "estimated": cause.estimated,
        "counted_above": cause.counted_above,
        "children": [_describe_cause(child) for child in cause.children],
    }


def print_details(name: str, image: StoredImage, layers: Sequence[BuiltLayer], causes: Sequence[Cause]) -> None:
    """The same for people: what it is, its layers, and the tree of causes."""
    show(f"{name}  {image.platform}  {format_size(image.size)}")
    print(f"  image ID  {image.config.digest}")
    print(f"  manifest  {image.descriptor.digest}")
    command = " ".join((*image.config.entrypoint, *image.config.cmd))
    for label, value in (("created", image.config.created), ("user", image.config.user), ("runs", command)):
        if value:
            show(f"  {label:8}  {value}")
    print("\nlayers, lowest first")
    print_table([(f"  {layer.name}", layer.kind.value, format_size(layer.size), layer.diff_id.hex[:12]) for layer in layers])
    made_by = [entry for entry in image.config.history if not entry.created_by.startswith("wherry ")]
    if made_by:
        print("\nhistory of the base")
        for entry in made_by:
            show(f"  {' '.join(entry.created_by.split())[:110]}")
    print("\nwhat brought the bytes")
    for line in render_causes(causes):
        show(f"  {line}")


def render_causes(causes: Sequence[Cause]) -> Iterator[str]:
    """The tree of causes, a line each."""
    for cause in causes:
        yield _label(cause)
        yield from _render_children(cause, "")


def _render_children(cause: Cause, indent: str) -> Iterator[str]:
    if len(cause.children) >= _MANY and all(child.size is None for child in cause.children):
        yield f"{indent}└── {len(cause.children)} packages (--json names them)"
        return
    for child in cause.children:
        last = child is cause.children[-1]
        yield f"{indent}{'└── ' if last else '├── '}{_label(child)}"
        yield from _render_children(child, indent + ("    " if last else "│   "))


def _label(cause: Cause) -> str:
    if cause.size is None:
        return cause.name
    if cause.counted_above:
        return f"{cause.name}  (counted above)"
    about = "~" if cause.estimated else ""
    whole = f", {format_size(cause.total)} with what it brought" if cause.total != cause.size else ""
    return f"{cause.name}  {about}{format_size(cause.size)}{whole}"
