"""Names the cache of Python's bytecode that belongs to an image (docs/spec/layers.md).

Time stamps in an image are fixed, so a cache of another release would run that release's code. The name is therefore made of all
layers that can hold Python files, and who keeps caches can see whether it belongs to an image's own layers: somebody who builds
on an image inherits its variable, but not its files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from wherry.model.digest import DiffId
from wherry.model.lock import LayerKind
from wherry.model.oci import ImageConfig

_OTHERS = f"wherry layer {LayerKind.MODEL.value} "


def name_cache(diff_ids: Iterable[DiffId]) -> str:
    """The name for these layers, the lowest first: 32 hex digits."""
    return hashlib.sha256("\n".join(map(str, diff_ids)).encode()).hexdigest()[:32]


def name_cache_of(config: ImageConfig) -> str:
    """The name for an image's own layers: all but those that its history says are models."""
    made = [entry.created_by for entry in config.history if not entry.empty_layer][-len(config.diff_ids) :]
    made = [""] * (len(config.diff_ids) - len(made)) + made
    return name_cache(diff_id for diff_id, by in zip(config.diff_ids, made, strict=True) if not by.startswith(_OTHERS))
