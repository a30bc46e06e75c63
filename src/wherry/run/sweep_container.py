"""Starts tasks as containers of the project's image, each of its own: in docker, podman or bubblewrap.

What a container sees is what a job's container sees (`backends/container.py`). Trouble of the engine fails no task.
"""

from __future__ import annotations

from dataclasses import replace

from wherry.engines.port import EngineImage, Launched, LaunchingEngine
from wherry.run.backends.container import render_spec
from wherry.run.sweep_launch import Attempt
from wherry.run.sweep_process import limit_memory


class ContainerLauncher:
    """`engine` has the image already."""

    def __init__(self, engine: LaunchingEngine, image: EngineImage, network: str | None = None) -> None:
        self._engine = engine
        self._image = image
        self._network = network

    def begin(self, attempt: Attempt) -> Launched:
        job = replace(attempt.job, folder=str(attempt.folder), env=(*attempt.job.env, ("WHERRY_ATTEMPT", attempt.name)))
        spec = render_spec(job, attempt.index, self._image, self._engine, f"wherry-{attempt.name}")
        # bubblewrap itself sets no limits: those of its processes are ours to set.
        starter = limit_memory(job.limits) if self._engine.name == "bubblewrap" else ()
        return self._engine.launch(replace(spec, network=self._network), starter)
