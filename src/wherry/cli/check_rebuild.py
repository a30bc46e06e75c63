"""`wherry check --rebuild`: an image built again from its sources, and compared."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from wherry.cli.base_layers import bring_base_layers
from wherry.cli.pull import names_a_registry
from wherry.cli.talk import format_size, print_json, say, show, show_progress
from wherry.declare.project import read_declaration
from wherry.errors import StoreError
from wherry.image_sources import gather_sources
from wherry.model.platform import Platform
from wherry.model.progress import Progress
from wherry.model.reference import Reference
from wherry.model.sources import ImageSources
from wherry.proof import Proof, prove_images
from wherry.sources.attached_sources import read_attached
from wherry.sources.registries import access_registries
from wherry.store.disk import DiskStore
from wherry.store.images import read_images
from wherry.store.places import cache_path, store_path

REBUILD_SCHEMA = 1


def prove_rebuild(subject: str | None, platforms: tuple[Platform, ...], *, offline: bool, plain_http: bool, as_json: bool) -> bool:
    """Whether all platforms came out equal; told on stdout. An image of a registry is built from what is attached to it
    there, one of the store from the lock and the cache of the project in this folder."""
    cache = cache_path(os.environ)
    with show_progress() as progress:
        if subject is not None and names_a_registry(subject):
            proofs = _prove_remote(Reference.parse(subject), platforms, cache, plain_http, progress)
        else:
            proofs = prove_images(_gather(subject, platforms, offline, progress), cache, os.environ, progress)
    if as_json:
        print_json({"schema": REBUILD_SCHEMA, "images": [_render(proof) for proof in proofs]})
    else:
        _print(proofs)
    return all(proof.equal for proof in proofs)


def _prove_remote(
    reference: Reference, platforms: tuple[Platform, ...], cache: Path, plain_http: bool, progress: Progress
) -> tuple[Proof, ...]:
    say(f"reading the sources of {reference}")
    access = access_registries(os.environ, cache=cache, plain_http=plain_http)
    try:
        return prove_images(read_attached(access, reference, platforms), cache, os.environ, progress)
    finally:
        access.close()


def _gather(subject: str | None, platforms: tuple[Platform, ...], offline: bool, progress: Progress) -> tuple[ImageSources, ...]:
    store = DiskStore(store_path(os.environ))
    name = subject or read_declaration(Path(), os.environ).name
    images = [image for image in read_images(store, store.resolve(name)) if not platforms or image.platform in platforms]
    if not images:
        raise StoreError("no image for these platforms", where=name, hint="wherry build --platform OS/ARCH")
    if not offline:
        bring_base_layers(store, images)
    return gather_sources(Path(), images, store, cache_path(os.environ), os.environ, offline=offline, progress=progress, say=say)


def _print(proofs: Sequence[Proof]) -> None:
    for proof in proofs:
        built = sum(layer.built for layer in proof.layers)
        print(f"{proof.platform}: {built} layers built again from {proof.files} files ({format_size(proof.size)})")
        for difference in proof.differences:
            show(f"  differs  {difference}")
        print(
            f"  equal    image ID {proof.expected}" if proof.equal else f"  differs  image ID {proof.expected}, now {proof.found}"
        )


def _render(proof: Proof) -> dict[str, object]:
    return {
        "platform": str(proof.platform),
        "equal": proof.equal,
        "image_id": {"expected": str(proof.expected), "found": str(proof.found)},
        "files": proof.files,
        "size": proof.size,
        "layers": [
            {
                "name": layer.name,
                "kind": layer.kind.value,
                "expected": str(layer.expected) if layer.expected else None,
                "found": str(layer.found) if layer.found else None,
                "built": layer.built,
                "equal": layer.equal,
            }
            for layer in proof.layers
        ],
        "differences": list(proof.differences),
    }
