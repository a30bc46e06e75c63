"""What of this machine each of several tasks at once gets for itself: processors and GPUs, lent and given back.

A task that says how many it needs is kept to so many, its own. Where there are not enough left, because more tasks run at once
than fit, processors are shared by all as the kernel does it; a GPU is never shared.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wherry.errors import JobError
from wherry.model.job import Limits
from wherry.store.posix import list_processors

_GPUS = Path("/proc/driver/nvidia/gpus")
VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Numbers of processors, none for no limit; names of GPUs, None where the task asked for none."""

    processors: tuple[int, ...] = ()
    gpus: tuple[str, ...] | None = None


class Shares:
    """Lends to many threads. `gpus` are names as CUDA knows them."""

    def __init__(self, processors: Sequence[int], gpus: Sequence[str]) -> None:
        self._processors = list(processors)
        self._gpus = list(gpus)
        self._lock = threading.Lock()

    @classmethod
    def of_machine(cls, env: Mapping[str, str]) -> Shares:
        """All that this process may use."""
        return cls(list_processors(), list_gpus(env))

    def take(self, limits: Limits) -> Share:
        """A task's share."""
        with self._lock:
            processors = self._take_processors(limits.cpus)
            return Share(processors=processors, gpus=None if limits.gpus is None else self._take_gpus(limits.gpus))

    def give_back(self, share: Share) -> None:
        with self._lock:
            self._processors += share.processors
            self._gpus += share.gpus or ()

    def _take_processors(self, cpus: float | None) -> tuple[int, ...]:
        wanted = 0 if cpus is None else math.ceil(cpus)
        if wanted > len(self._processors):
            return ()
        found, self._processors = self._processors[:wanted], self._processors[wanted:]
        return tuple(found)

    def _take_gpus(self, wanted: str) -> tuple[str, ...]:
        number = len(self._gpus) if wanted == "all" else int(wanted)
        if not 0 < number <= len(self._gpus):
            what = f"{len(self._gpus)} GPUs are free here, and a task needs {wanted}"
            raise JobError(what, where="gpus", hint="fewer tasks at once: --concurrency, or a machine that has them")
        found, self._gpus = self._gpus[:number], self._gpus[number:]
        return tuple(found)


def list_gpus(env: Mapping[str, str]) -> tuple[str, ...]:
    """GPUs that this process was given, or else all that the driver shows."""
    given = env.get(VISIBLE)
    if given is not None:
        return tuple(name for name in given.split(",") if name)
    return tuple(map(str, range(sum(1 for _ in _GPUS.iterdir())))) if _GPUS.is_dir() else ()


def count_slots(limits: Limits, processors: int, memory: int, gpus: int) -> int:
    """How many tasks of these limits fit on a machine at once: at least one, for what fits nowhere is told when it is tried."""
    fits = [int(processors / (limits.cpus or 1.0))]
    fits += [memory // limits.memory] if limits.memory else []
    fits += [1 if limits.gpus == "all" else gpus // int(limits.gpus)] if limits.gpus else []
    return max(1, min(fits))
