"""docker and podman on a device: their containers looked after, their layers' folders found (`engines/device.py`)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wherry.engines.device import IMAGE_LABEL, Container
from wherry.engines.docker import DockerEngine
from wherry.engines.docker_like import DockerLikeEngine
from wherry.engines.podman import PodmanEngine
from wherry.engines.port import EngineImage
from wherry.engines.process import ask, demand, pour, shorten_errors
from wherry.errors import EngineError, FormatError
from wherry.formats.hybrid import describe_tar
from wherry.model.digest import DiffId, Digest
from wherry.model.oci import Descriptor, Manifest

_OVERLAYS = ("overlay", "overlay2")
_LOG_LINES = "500"
_GONE = (b"o such", b"no container with", b"not known", b"does not exist")


class _DeviceDockerLike(DockerLikeEngine):
    def held_layers_as(
        self, image: EngineImage, known: Sequence[Manifest], sizes: Mapping[DiffId, int]
    ) -> Mapping[DiffId, Descriptor]:
        shown = self._inspect_image(image)
        if shown is None:
            return {}
        diff_ids = image.config.diff_ids
        for manifest in known:
            # The containerd image store shows an image by its manifest, and has the layers as that manifest calls them.
            if shown.get("Id") == str(manifest.digest):
                return dict(zip(diff_ids, manifest.layers, strict=True))
        return {diff_id: describe_tar(diff_id, sizes[diff_id]) for diff_id in diff_ids}

    def layer_folders(self, image: EngineImage) -> tuple[Path, ...]:
        shown = self._inspect_image(image) or {}
        driver = shown.get("GraphDriver") or {}
        data = driver.get("Data") or {}
        if driver.get("Name") not in _OVERLAYS or not data.get("UpperDir"):
            raise EngineError(f"{self.program} keeps the layers of {image.name} in another way than as folders")
        folders = (Path(data["UpperDir"]), *map(Path, filter(None, str(data.get("LowerDir") or "").split(":"))))
        if len(folders) != len(image.config.diff_ids):
            raise EngineError(f"{self.program} shows {len(folders)} layers of {image.name}")
        return folders

    def save(self, image: EngineImage) -> Iterator[bytes]:
        handle = self._find_handle(image)
        if handle is None:
            raise EngineError(f"{self.program} does not have image {image.image_id}")
        return pour([self._path(), "save", handle], self._env, f"{self.program} did not save the image")

    def find_container(self, name: str) -> Container | None:
        shown = ask([self._path(), "container", "inspect", name], self._env)
        if shown.returncode != 0:
            if any(word in shown.stderr for word in _GONE):
                return None
            raise EngineError(f"{self.program} does not say how {name} is: {shorten_errors(shown.stderr)}", hint=self.remedy)
        found = json.loads(shown.stdout)[0]
        labels = found.get("Config", {}).get("Labels") or {}
        return Container(running=bool(found["State"].get("Running")), image=read_label(labels))

    def execute(self, name: str, command: Sequence[str], patience: float) -> int:
        return ask([self._path(), "exec", name, *command], self._env, patience).returncode

    def read_log(self, name: str) -> bytes:
        done = ask([self._path(), "logs", "--tail", _LOG_LINES, name], self._env)
        return done.stdout + done.stderr

    def discard(self, name: str, grace: float) -> None:
        if self.find_container(name) is None:
            return
        self.stop(name, grace)
        done = ask([self._path(), "rm", "--force", "--volumes", name], self._env)
        if done.returncode != 0 and not any(word in done.stderr for word in _GONE):
            raise EngineError(f"{self.program} did not remove {name}: {shorten_errors(done.stderr)}")

    def remove_image(self, image: EngineImage) -> None:
        if image.name is None or ask([self._path(), "image", "inspect", image.name], self._env).returncode != 0:
            return
        demand([self._path(), "rmi", image.name], self._env, f"{self.program} did not remove image {image.name}")

    def _inspect_image(self, image: EngineImage) -> dict[str, Any] | None:
        handle = self._find_handle(image)
        if handle is None:
            return None
        shown = demand([self._path(), "image", "inspect", handle], self._env, f"{self.program} does not show {handle}")
        return dict(json.loads(shown)[0])


class DeviceDocker(_DeviceDockerLike, DockerEngine):
    """docker, for an agent."""


class DevicePodman(_DeviceDockerLike, PodmanEngine):
    """podman, for an agent."""


def read_label(labels: Mapping[str, str]) -> Digest | None:
    """The image that a container's labels name."""
    try:
        return Digest.parse(labels[IMAGE_LABEL])
    except (KeyError, FormatError):
        return None
