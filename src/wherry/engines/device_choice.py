"""The engine of a device, by its name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from wherry.engines.device import DeviceEngine
from wherry.engines.device_bubblewrap import DeviceBubblewrap
from wherry.engines.device_containerd import DeviceContainerd
from wherry.engines.device_docker_like import DeviceDocker, DevicePodman
from wherry.errors import UsageError

NAMES = ("podman", "docker", "containerd", "bubblewrap")


def make_device_engine(name: str, env: Mapping[str, str], folder: Path) -> DeviceEngine:
    """The engine of that name. `folder` is where one without a store of its own keeps roots, volumes and logs."""
    if name == "podman":
        return DevicePodman(env)
    if name == "docker":
        return DeviceDocker(env)
    if name == "containerd":
        return DeviceContainerd(env, folder)
    if name == "bubblewrap":
        return DeviceBubblewrap(env, folder, folder / "volumes")
    raise UsageError(f"no engine {name!r}", hint=", ".join(NAMES))
