"""Which engine is used: the one named, else `WHERRY_ENGINE`, else podman, docker, bubblewrap, whichever is usable first."""

from __future__ import annotations

from collections.abc import Mapping

from wherry.engines.bubblewrap import BubblewrapEngine
from wherry.engines.containerd import ContainerdEngine
from wherry.engines.docker import DockerEngine
from wherry.engines.podman import PodmanEngine
from wherry.engines.port import Engine
from wherry.errors import EngineError, UsageError
from wherry.store.places import cache_path, store_path

NAMES = ("podman", "docker", "containerd", "bubblewrap")
_DEFAULT_ORDER = ("podman", "docker", "bubblewrap")


def make_engine(name: str, env: Mapping[str, str]) -> Engine:
    """The engine of that name, not yet asked whether it is usable."""
    if name == "podman":
        return PodmanEngine(env)
    if name == "docker":
        return DockerEngine(env)
    if name == "containerd":
        return ContainerdEngine(env, cache_path(env))
    if name == "bubblewrap":
        return BubblewrapEngine(env, cache_path(env), store_path(env) / "volumes")
    raise UsageError(f"no engine {name!r}", hint=", ".join(NAMES))


def find_engine(name: str | None, env: Mapping[str, str]) -> Engine:
    """A usable engine. One that was named and is not usable is an `EngineError`; else the next is tried."""
    chosen = name or env.get("WHERRY_ENGINE") or None
    if chosen:
        engine = make_engine(chosen, env)
        info = engine.probe()
        if not info.usable:
            raise EngineError(f"{chosen} is not usable: {info.reason}", hint=info.hint or None)
        return engine
    reasons = []
    for candidate in _DEFAULT_ORDER:
        engine = make_engine(candidate, env)
        info = engine.probe()
        if info.usable:
            return engine
        reasons.append(f"{candidate}: {info.reason}")
    raise EngineError("no container engine is usable: " + "; ".join(reasons), hint=info.hint or None)
