"""What jobs run in, made ready: the project's environment, or its image. Never another one than the lock and the files say.

When nothing changed since the last look, that is known from stamps alone, and neither the declaration nor the lock is read again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.engines.port import EngineImage
from wherry.rebuild import rebuild
from wherry.run.environments import RECORD, EnvironmentRecord, project_place, read_record
from wherry.run.launch import pick_runnable
from wherry.run.readiness import recall, remember
from wherry.store.disk import DiskStore
from wherry.store.host import read_host_platform
from wherry.store.images import StoredImage
from wherry.store.places import cache_path, store_path

if TYPE_CHECKING:
    from wherry.pipeline import Project

_LOCKFILE = "wherry.lock"
# The whole of the library, which takes its time to load.
OpenProject = Callable[[], "Project"]


def prepare_environment(root: Path, env: Mapping[str, str], open_project: OpenProject) -> tuple[Path, EnvironmentRecord]:
    """The environment's prefix, and what it says of itself."""
    prefix, cache = project_place(root), cache_path(env)
    known = recall(cache, root, "environment")
    record = read_record(prefix) if known is not None and (prefix / "bin/python").exists() else None
    if record is not None and asdict(record) == known:
        return prefix, record
    since = time.time_ns()
    project = open_project()
    found = project.ready_environment()
    if files := project.list_watched():
        remember(cache, root, "environment", (*files, str(prefix / RECORD)), asdict(found.record), since)
    return found.prefix, found.record


def prepare_image(
    root: Path, env: Mapping[str, str], open_project: OpenProject
) -> tuple[DiskStore, StoredImage, EngineImage, str | None]:
    """The image for this machine, built if something changed, and the digest of its locked packages."""
    store, cache = DiskStore(store_path(env)), cache_path(env)
    built = rebuild(root, store, cache, env) or open_project().build()
    digest = recall(cache, root, "lock")
    if digest is None:
        since = time.time_ns()
        digest = str(open_project().packages_digest())
        remember(cache, root, "lock", (_LOCKFILE,), digest, since)
    return store, *pick_runnable(store, built.name, read_host_platform()), digest
