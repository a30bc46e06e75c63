"""The project's image where a cluster's nodes can pull it: pushed as `wherry push` does it, named by digest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from wherry.model.reference import Reference
from wherry.model.sweep import SweepSpec
from wherry.preparation import OpenProject, prepare_image
from wherry.publish.push import plan_push, push_image
from wherry.sources.registries import access_registries
from wherry.store.host import read_host_platform
from wherry.store.places import cache_path


def prepare_pull(
    spec: SweepSpec, reference: str, env: Mapping[str, str], open_project: OpenProject, say: Callable[[str], None]
) -> SweepSpec:
    """The spec with the image, built if something changed and brought to `reference`, where what is there stays there."""
    store, stored, image, lock = prepare_image(Path(spec.root), env, open_project)
    plan = plan_push(store, stored.descriptor, [read_host_platform()])
    access = access_registries(env, cache=cache_path(env))
    try:
        with store.in_use():
            pushed = push_image(access, store, plan, Reference.parse(reference))
    finally:
        access.close()
    say(f"pushed {pushed.reference}")
    pull = f"{pushed.reference.name}@{pushed.reference.digest}"
    return replace(spec, image=str(image.image_id), pull=pull, lock=lock)
