"""The project's environment, made ready for a job. Never another one than the lock and the files say.

When nothing changed since the last look, that is known from stamps alone, and neither the declaration nor the lock is read again.
Imports stay lean, for a prepared job begins at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.run.environments import RECORD, EnvironmentRecord, project_place, read_record
from wherry.run.readiness import recall, remember
from wherry.store.places import cache_path

if TYPE_CHECKING:
    from wherry.pipeline import Project

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
