"""What jobs run in, made ready: the project's environment (see there), or its image, built from the files as they are.

When nothing changed since the last look, that is known from stamps alone, and neither the declaration nor the lock is read again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from wherry.engines.port import EngineImage
from wherry.environment_preparation import OpenProject, prepare_environment
from wherry.rebuild import rebuild
from wherry.run.launch import pick_runnable
from wherry.run.readiness import recall, remember
from wherry.store.disk import DiskStore
from wherry.store.host import read_host_platform
from wherry.store.images import StoredImage
from wherry.store.places import cache_path, store_path

__all__ = ["OpenProject", "prepare_environment", "prepare_image"]

_LOCKFILE = "wherry.lock"


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
