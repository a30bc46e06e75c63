"""Finds models in an image that were made in another environment than the image's: by their stamps (`run.stamps`).

A model's bytes are known by their digest. The layers of models are read for that once, and what was learned is kept by diff_id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wherry.check.facts import LayerCache
from wherry.errors import WherryError
from wherry.formats.tar import EntryKind
from wherry.formats.untar import read_members
from wherry.lock.storage import read_lock
from wherry.model.lock import LayerKind, Lock, packages_digest
from wherry.model.platform import Platform
from wherry.model.report import Finding, Severity
from wherry.model.stamp import ModelStamp
from wherry.run.records import SqliteRecords
from wherry.run.stamps import find_stamps
from wherry.store.archive import read_layer
from wherry.store.causes import describes_image
from wherry.store.disk import DiskStore
from wherry.store.images import StoredImage
from wherry.store.places import cache_path, jobs_path

RULE = "model-stamp"
_KIND = "models-1"
_SHORT = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLayer:
    """The sha256 of each file of a layer of models, by its path in the image."""

    files: dict[str, str] = field(default_factory=dict)


def judge_stamps(image: StoredImage, root: Path, store: DiskStore, env: Mapping[str, str]) -> tuple[Finding, ...]:
    """Findings about the models of an image that the project at `root` built; none where the image is not of its lock."""
    models = _read_models(image, store, cache_path(env))
    if not models:
        return ()
    place = jobs_path(env) / "jobs.sqlite"
    records = SqliteRecords(place) if place.exists() else None
    beside = (root / path.removeprefix(f"{image.config.workdir.strip('/')}/") for path in models)
    stamps = find_stamps(records, set(models.values()), beside)
    if not stamps:
        return ()
    lock = read_lock(root)
    if lock is None or not any(each.platform == image.platform and describes_image(each, image.layers) for each in lock.platforms):
        return ()
    pairs = [(path, stamps[sha256]) for path, sha256 in models.items() if sha256 in stamps]
    return tuple(_find(path, stamp, here) for path, stamp in pairs if (here := _digest_for(lock, stamp)) not in ("", stamp.lock))


def _digest_for(lock: Lock, stamp: ModelStamp) -> str:
    """The lock's packages for the platform that the model was made on; empty where it has none for that."""
    try:
        return str(packages_digest(lock.for_platform(Platform.parse(stamp.platform))))
    except WherryError:
        return ""


def _find(path: str, stamp: ModelStamp, here: str) -> Finding:
    name = path.rpartition("/")[2]
    there = stamp.lock.removeprefix("sha256:")[:_SHORT]
    what = f"{name}: made by job {stamp.job} with other packages (lock {there}, here {here.removeprefix('sha256:')[:_SHORT]})"
    remedy = f"wherry run --again {stamp.job}: trains it again in this environment; or the former lock"
    return Finding(rule=RULE, severity=Severity.WARNING, subject=name, what=what, where=(f"/{path}",), remedy=remedy)


def _read_models(image: StoredImage, store: DiskStore, cache: Path) -> dict[str, str]:
    known, found = LayerCache(cache, _KIND, ModelLayer), {}
    for layer in image.layers:
        if layer.kind is LayerKind.MODEL and store.has(layer.digest):
            learned = known.find(layer.diff_id)
            if learned is None:
                learned = _digest_files(read_layer(store, layer.digest, layer.diff_id), f"layer {layer.diff_id}")
                known.keep(layer.diff_id, learned)
            found.update(learned.files)
    return found


def _digest_files(chunks: Iterable[bytes], where: str) -> ModelLayer:
    files = {}
    for member in read_members(chunks, where, others=True):
        if member.kind is EntryKind.FILE and member.path:
            hasher = hashlib.sha256()
            for chunk in member.content:
                hasher.update(chunk)
            files[member.path] = hasher.hexdigest()
    return ModelLayer(files=files)
