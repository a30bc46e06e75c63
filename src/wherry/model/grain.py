"""What a backend takes of a sweep at once; by itself, because whatever begins a single job knows backends, too."""

from __future__ import annotations

from enum import Enum


class Grain(Enum):
    """What an index stands for that a sweep's driver submits: a worker, which finds its tasks itself, or one task."""

    WORKERS = "workers"
    TASKS = "tasks"
