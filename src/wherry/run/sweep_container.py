"""Starts tasks as containers of the project's image, each of its own: in docker, podman, bubblewrap, or a cluster's engine.

What a container sees is what a job's container sees (`backends/container.py`). Trouble of the engine fails no task.
"""

from __future__ import annotations

from dataclasses import replace

from wherry.engines.port import EngineImage, Launched, LaunchingEngine, Mount, MountKind
from wherry.run.backends.container import LIMITLESS, render_spec
from wherry.run.sweep_launch import Attempt
from wherry.run.sweep_process import limit_memory
from wherry.run.variables import INPUTS_VARIABLE

_INPUTS = "/run/wherry/inputs"


class ContainerLauncher:
    """`engine` has the image already."""

    def __init__(self, engine: LaunchingEngine, image: EngineImage, network: str | None = None) -> None:
        self._engine = engine
        self._image = image
        self._network = network

    def begin(self, attempt: Attempt) -> Launched:
        job = replace(attempt.job, folder=str(attempt.folder), env=(*attempt.job.env, ("WHERRY_ATTEMPT", attempt.name)))
        spec = render_spec(job, attempt.index, self._image, self._engine, f"wherry-{attempt.name}")
        if attempt.inputs is not None:
            bound = Mount(kind=MountKind.BIND, source=str(attempt.inputs), target=_INPUTS, read_only=True)
            spec = replace(spec, mounts=(*spec.mounts, bound), env=(*spec.env, (INPUTS_VARIABLE, _INPUTS)))
        starter = limit_memory(job.limits) if self._engine.name in LIMITLESS else ()
        return self._engine.launch(replace(spec, network=self._network), starter)
