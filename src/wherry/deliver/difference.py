"""What an update from one image to another moves, and which change brought each byte.

Pure. A layer that the base's owner has is not moved again; engines decide that by the digest of the stored blob, so a layer
of the same diff_id that is compressed otherwise counts as moved, and says so. Each moved layer is attributed as a whole:
where several packages of one layer changed, its bytes belong to all of them together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from wherry.deliver.changes import PACKAGES, Cause, Change, compare_versions, join_changes, merge_causes, versions_of
from wherry.deliver.wire import Pull, plan_pull
from wherry.errors import UsageError
from wherry.model.digest import Digest
from wherry.model.image import BuiltImage, BuiltLayer
from wherry.model.lock import LayerKind
from wherry.model.platform import Platform


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """From `base` to `target`, two manifests of one platform.

    `moved` are the target's layers that the base has not, `kept` the others, `dropped` the changes that only take something
    away. `pull` is what a registry pull moves; `single_layer` what it would if the image's content lay in one layer, taking
    the layers' sizes together for that layer's.
    """

    platform: Platform
    base: Digest
    target: Digest
    moved: tuple[BuiltLayer, ...]
    kept: tuple[BuiltLayer, ...]
    dropped: tuple[Change, ...]
    causes: tuple[Cause, ...]
    settings: bool
    pull: Pull
    single_layer: Pull

    @property
    def is_empty(self) -> bool:
        return self.base == self.target

    @property
    def moved_size(self) -> int:
        """Bytes of the moved layers as stored: the sum over the causes."""
        return sum(layer.size for layer in self.moved)


def diff_images(base: BuiltImage, target: BuiltImage, *, config_size: int = 0, index_size: int = 0) -> Difference:
    """Compare two images of one platform. The sizes are those of the target's documents, in bytes, 0 where not known."""
    if base.platform != target.platform:
        raise UsageError(f"one image is for {base.platform}, the other for {target.platform}", hint="--platform")
    held = {layer.digest for layer in base.layers}
    distinct = list({layer.digest: layer for layer in target.layers}.values())
    moved = tuple(layer for layer in distinct if layer.digest not in held)
    causes = merge_causes(_attribute(base, target, layer) for layer in moved)
    documents = {"index": index_size, "manifest": target.manifest_size, "config": config_size}
    same = base.manifest == target.manifest
    return Difference(
        platform=target.platform,
        base=base.manifest,
        target=target.manifest,
        moved=moved,
        kept=tuple(layer for layer in distinct if layer.digest in held),
        dropped=_find_dropped(base, target),
        causes=causes,
        settings=base.config != target.config and _content(base) == _content(target),
        pull=Pull() if same else plan_pull(**documents, blobs=tuple(layer.size for layer in moved)),
        single_layer=Pull() if same else plan_pull(**documents, blobs=(sum(layer.size for layer in distinct),)),
    )


def _content(image: BuiltImage) -> tuple[str, ...]:
    return tuple(layer.diff_id.hex for layer in image.layers)


def _attribute(base: BuiltImage, target: BuiltImage, layer: BuiltLayer) -> Cause:
    changes = tuple(_explain(base, target, layer))
    if layer.diff_id in {known.diff_id for known in base.layers}:
        text = f"{layer.name}: compressed otherwise"
    elif layer.kind is LayerKind.BYTECODE:
        text = f"bytecode of {join_changes(changes)}" if changes else "bytecode"
    elif changes:
        text = join_changes(changes)
    elif layer.kind in PACKAGES:
        text = f"{layer.name}: the same packages, laid out otherwise"
    else:
        text = layer.cause
    return Cause(text=text, size=layer.size, kind=layer.kind, layers=(layer.name,), changes=changes)


def _explain(base: BuiltImage, target: BuiltImage, layer: BuiltLayer) -> Iterator[Change]:
    """The changes of packages or files that brought a layer; none where its members are the base's."""
    if layer.kind in PACKAGES or layer.kind is LayerKind.BYTECODE:
        before, after = _packages(base), _packages(target)
        mine = versions_of(layer.members)
        gone = versions_of(_twin_members(base, layer))
        for change in compare_versions(before, after):
            if change.name in mine or (change.target is None and change.name in gone):
                yield change
    elif layer.kind is LayerKind.MODEL:
        known = any(other.kind is LayerKind.MODEL and other.name == layer.name for other in base.layers)
        yield Change(name=_path(layer), base="" if known else None, target="")


def _path(layer: BuiltLayer) -> str:
    return layer.members[0] if len(layer.members) == 1 else layer.name


def _packages(image: BuiltImage) -> dict[str, str]:
    """Every package of the image with its version, in whichever layer it lies."""
    return versions_of(member for layer in image.layers if layer.kind in PACKAGES for member in layer.members)


def _twin_members(image: BuiltImage, layer: BuiltLayer) -> tuple[str, ...]:
    """What the layer of this kind and name held in the other image; nothing where there was none."""
    return next((other.members for other in image.layers if (other.kind, other.name) == (layer.kind, layer.name)), ())


def _find_dropped(base: BuiltImage, target: BuiltImage) -> tuple[Change, ...]:
    """What the target has no more: packages, models, and layers of other tools."""
    packages = (change for change in compare_versions(_packages(base), _packages(target)) if change.target is None)
    left = {(layer.kind, layer.name) for layer in target.layers}
    others = (
        Change(name=_path(layer), base="", target=None)
        for layer in base.layers
        if layer.kind in (LayerKind.MODEL, LayerKind.CODE) and (layer.kind, layer.name) not in left
    )
    return (*packages, *others)
