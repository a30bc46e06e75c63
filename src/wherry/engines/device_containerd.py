"""containerd on a device: its containers looked after, its snapshots' folders found (`engines/device.py`).

A container's output goes to a file in our cache, for containerd keeps none. The folders of an image's layers are told by a
read-only snapshot over them, which is made and removed again at once.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wherry.engines.containerd import ContainerdEngine
from wherry.engines.device import Container
from wherry.engines.device_docker_like import read_label
from wherry.engines.port import EngineImage, RunSpec
from wherry.engines.process import ask, demand, pour
from wherry.errors import EngineError
from wherry.formats.oci_json import parse_any_manifest
from wherry.model.digest import DiffId
from wherry.model.oci import Descriptor, Manifest
from wherry.model.reference import Reference

_LOG_BYTES = 1 << 18


class DeviceContainerd(ContainerdEngine):
    """containerd, for an agent."""

    def held_layers_as(
        self,
        image: EngineImage,
        known: Sequence[Manifest],  # noqa: ARG002 - containerd tells itself
        sizes: Mapping[DiffId, int],  # noqa: ARG002
    ) -> Mapping[DiffId, Descriptor]:
        manifest = self._read_manifest(image)
        if manifest is None:
            return {}
        return dict(zip(image.config.diff_ids, manifest.layers, strict=True))

    def layer_folders(self, image: EngineImage) -> tuple[Path, ...]:
        key = f"wherry-{os.getpid()}"
        try:
            argv = [self._path(), "snapshots", "view", "--mounts", key, _chain_id(image.config.diff_ids)]
            shown = demand(argv, self._env, f"containerd does not show the layers of {image.name}")
        finally:
            ask([self._path(), "snapshots", "remove", key], self._env)
        folders = _read_mounts(json.loads(shown))
        if len(folders) != len(image.config.diff_ids):
            raise EngineError(f"containerd shows {len(folders)} layers of {image.name}")
        return folders

    def save(self, image: EngineImage) -> Iterator[bytes]:
        name = self._find_name(image)
        if name is None:
            raise EngineError(f"containerd does not have image {image.image_id}")
        argv = [self._path(), "images", "export", "--platform", str(image.config.platform), "-", name]
        return pour(argv, self._env, "containerd did not save the image")

    def find_container(self, name: str) -> Container | None:
        listed = demand([self._path(), "containers", "list", "--quiet"], self._env, "containerd does not list its containers")
        if name not in listed.decode().split():
            return None
        shown = json.loads(demand([self._path(), "containers", "info", name], self._env, f"containerd does not show {name}"))
        return Container(running=self._is_running(name), image=read_label(shown.get("Labels") or {}))

    def start(self, spec: RunSpec) -> str:
        log = self._log(spec.name)
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(b"")
        argv = self._render_run(spec, detached=True)
        argv[2:2] = ["--log-uri", f"file://{log}"]
        demand(argv, self._env, "containerd did not start the container")
        return spec.name

    def execute(self, name: str, command: Sequence[str], patience: float) -> int:
        key = f"wherry-{os.getpid()}-{os.urandom(4).hex()}"
        return ask([self._path(), "tasks", "exec", "--exec-id", key, name, *command], self._env, patience).returncode

    def read_log(self, name: str) -> bytes:
        try:
            with self._log(name).open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _LOG_BYTES))
                return file.read()
        except FileNotFoundError:
            return b""

    def discard(self, name: str, grace: float) -> None:
        if self.find_container(name) is None:
            return
        self.stop(name, grace)
        if self.find_container(name) is not None:
            raise EngineError(f"containerd did not remove {name}")
        self._log(name).unlink(missing_ok=True)

    def remove_image(self, image: EngineImage) -> None:
        if image.name is not None:
            ask([self._path(), "images", "remove", "--sync", str(Reference.parse(image.name))], self._env)

    def _log(self, name: str) -> Path:
        return self._cache / "logs" / name

    def _read_manifest(self, image: EngineImage) -> Manifest | None:
        """The manifest by which containerd has the image."""
        if self._find_name(image) is None or image.name is None:
            return None
        listed = demand(
            [self._path(), "images", "list", f"name=={Reference.parse(image.name)}"], self._env, "containerd lists nothing"
        )
        pending = [line.split()[2] for line in listed.decode().splitlines()[1:2]]
        while pending:
            found = ask([self._path(), "content", "get", pending.pop()], self._env)
            if found.returncode != 0:
                continue
            document = parse_any_manifest(found.stdout)
            if not isinstance(document, Manifest):
                pending += [str(inner.digest) for inner in document.manifests]
            elif document.config.digest == image.image_id:
                return document
        return None


def _chain_id(diff_ids: Sequence[DiffId]) -> str:
    """The name of the snapshot with all these layers (OCI image-spec, config: layer chain ID)."""
    chain = str(diff_ids[0])
    for diff_id in diff_ids[1:]:
        chain = f"sha256:{hashlib.sha256(f'{chain} {diff_id}'.encode()).hexdigest()}"
    return chain


def _read_mounts(shown: Any) -> tuple[Path, ...]:
    """The folders of an overlay's layers, or of the one layer."""
    (mount,) = shown if isinstance(shown, list) else [shown]
    if mount["Type"] == "bind":
        return (Path(mount["Source"]),)
    for option in mount.get("Options") or ():
        name, _, value = option.partition("=")
        if name == "lowerdir" and mount["Type"] == "overlay":
            return tuple(map(Path, value.split(":")))
    raise EngineError("containerd keeps its layers in another way than as folders")
