"""Backends by their kind, to look after jobs with; none that is opened here begins one.

A backend loads when it is asked for: what a job on this machine costs would else be, for the most part, reading about engines and
clusters that it does not go to.
"""

from __future__ import annotations

from collections.abc import Mapping

from wherry.model.job import BackendKind
from wherry.run.backends.local import LocalBackend
from wherry.run.port import Backend


def open_backend(kind: BackendKind, env: Mapping[str, str], engine: str | None, address: str | None) -> Backend:
    """`engine` is a container target's, `address` a cluster's; None: the one that is found."""
    if kind is BackendKind.LOCAL:
        return LocalBackend(env)
    if kind is BackendKind.SLURM:
        from wherry.run.backends.slurm import SlurmBackend

        return SlurmBackend(env)
    if kind is BackendKind.RAY:
        from wherry.run.backends.ray import RayBackend

        return RayBackend(env, address)
    from wherry.run.backends.container import ContainerBackend

    return ContainerBackend(env, engine)
