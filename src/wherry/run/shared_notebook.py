"""An image that somebody shared with JupyterLab in it, run by `wherry run`: on loopback, with folders of this machine as volumes.

What the command line says of ports and volumes counts; only what it leaves open is filled in, and said.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath

from wherry.engines.port import Mount, MountKind, PublishedPort, RunSpec
from wherry.model.oci import NOTEBOOK
from wherry.store.posix import explain_os_errors


def complete_notebook(spec: RunSpec, folder: Path, say: Callable[[str], None]) -> RunSpec:
    """The spec as it is, unless it starts such an image; folders are made below `folder`."""
    port = spec.image.config.labels.get(NOTEBOOK, "")
    if spec.command or not port.isdecimal():
        return spec
    if not spec.ports and spec.network is None:
        number = int(port)
        spec = replace(spec, ports=(PublishedPort(container_port=number, host_port=number, address="127.0.0.1"),))
    mounted = {mount.target for mount in spec.mounts}
    wanted = [volume for volume in spec.image.config.volumes if volume not in mounted]
    mounts = [_mount_folder(folder / PurePosixPath(volume).name, volume, say) for volume in wanted]
    return replace(spec, mounts=(*spec.mounts, *mounts))


def _mount_folder(place: Path, target: str, say: Callable[[str], None]) -> Mount:
    with explain_os_errors(place):
        place.mkdir(exist_ok=True)
    say(f"{target} is {place}")
    return Mount(kind=MountKind.BIND, source=str(place), target=target)
