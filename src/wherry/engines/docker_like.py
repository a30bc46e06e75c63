"""What docker and podman have in common: one grammar of `run`, `load`, `image inspect`, `stop`.

The image is named by its ID, so a tag that moved is never run by mistake. Where the engine shows another ID (docker's
containerd image store shows the manifest's digest) the name is used after its layers and config were compared.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence

from wherry.engines.port import EngineImage, Mount, MountKind, RunSpec
from wherry.engines.process import ask, demand, feed, find_program, shorten_errors, start_with_pipes, supervise
from wherry.errors import EngineError, UsageError
from wherry.model.digest import DiffId

_ENGINE_FAILED = 125
_CLIENTS_OWN = re.compile(
    r"(?:PATH|HOME|TMPDIR)$|(?:DOCKER|CONTAINERS?|PODMAN|BUILDAH|REGISTRY|STORAGE|XDG|LD|SSL)_|.*_proxy$", re.IGNORECASE
)


class DockerLikeEngine:
    """An engine whose command line is docker's."""

    program = "docker"
    remedy = ""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self._handles: dict[str, str] = {}
        self._just_found: dict[str, str] = {}  # image IDs and their handles, each for the one run that follows the look

    @property
    def name(self) -> str:
        return self.program

    def has(self, image: EngineImage) -> bool:
        handle = self._find_handle(image)
        if handle is not None:
            self._just_found[str(image.image_id)] = handle
        return handle is not None

    def held_layers(self, image: EngineImage) -> frozenset[DiffId]:  # noqa: ARG002
        return frozenset()

    def load(self, chunks: Iterable[bytes], image: EngineImage) -> None:
        feed([self._path(), "load"], self._env, chunks, f"{self.program} did not take the image", self.remedy)
        if not self.has(image):
            raise EngineError(f"{self.program} took the archive, but does not have image {image.image_id}")

    def list_notes(self, spec: RunSpec) -> tuple[str, ...]:  # noqa: ARG002
        return ()

    def run(self, spec: RunSpec) -> int:
        argv = [self._path(), "run", *self._render_run(spec)]
        try:
            process = subprocess.Popen(argv, env=self._client_env(spec), stdin=None if spec.interactive else subprocess.DEVNULL)
        except OSError as error:
            raise EngineError(f"cannot start {self.program}: {error.strerror}") from error
        with process:
            return supervise(process, lambda grace: self.stop(spec.name, grace))

    def launch(self, spec: RunSpec, starter: Sequence[str] = ()) -> LaunchedClient:
        image = str(spec.image.image_id)
        handle = self._handles.get(image) or self._find_handle(spec.image)
        if handle is None:
            raise EngineError(f"{self.program} does not have image {image}", hint=self.remedy)
        self._handles[image] = handle  # one that is removed meanwhile fails the run, and that is told
        argv = [*starter, self._path(), "run", *self._render_options(spec), handle, *spec.command[1:]]
        return LaunchedClient(self, spec.name, start_with_pipes(argv, self._client_env(spec)))

    def remove(self, container: str) -> None:
        """End a container at once and forget it; one that is gone already is fine."""
        done = ask([self._path(), "rm", "--force", container], self._env)
        if done.returncode != 0 and b"o such container" not in done.stderr and b"no container with" not in done.stderr:
            raise EngineError(f"{self.program} did not remove {container}: {shorten_errors(done.stderr)}")

    def start(self, spec: RunSpec) -> str:
        argv = [self._path(), "run", "--detach", *self._render_run(spec)]
        return demand(argv, self._client_env(spec), f"{self.program} did not start the container").decode().strip()

    def stop(self, container: str, grace: float) -> None:
        """Stop a container; one that is gone already is fine."""
        path = self._path()
        done = ask([path, "stop", "--time", f"{grace:.0f}", container], self._env, timeout=grace + 60)
        if done.returncode != 0 and b"o such container" not in done.stderr and b"no container with" not in done.stderr:
            raise EngineError(f"{self.program} did not stop {container}: {shorten_errors(done.stderr)}")

    def _path(self) -> str:
        path = find_program(self.program, self._env)
        if path is None:
            raise EngineError(f"{self.program} is not installed", hint=self.remedy)
        return path

    def _find_handle(self, image: EngineImage) -> str | None:
        handle = str(image.image_id)
        found = ask([self._path(), "image", "inspect", "--format", "{{.Id}}", handle], self._env)
        if found.returncode == 0:
            return handle
        return image.name if image.name and self._is_same_image(image.name, image) else None

    def _is_same_image(self, name: str, image: EngineImage) -> bool:
        found = ask([self._path(), "image", "inspect", name], self._env)
        if found.returncode != 0:
            return False
        shown = json.loads(found.stdout)[0]
        config = shown.get("Config") or {}
        return (
            shown.get("RootFS", {}).get("Layers") == [str(diff_id) for diff_id in image.config.diff_ids]
            and tuple(config.get("Env") or ()) == image.config.env
            and tuple(config.get("Entrypoint") or ()) == image.config.entrypoint
            and tuple(config.get("Cmd") or ()) == image.config.cmd
            and (config.get("User") or "") == image.config.user
            and (config.get("WorkingDir") or "") == image.config.workdir
            and (config.get("Labels") or {}) == dict(image.config.labels)
        )

    def _render_run(self, spec: RunSpec) -> list[str]:
        handle = self._just_found.pop(str(spec.image.image_id), None) or self._find_handle(spec.image)
        if handle is None:
            raise EngineError(f"{self.program} does not have image {spec.image.image_id}")
        return [*self._render_options(spec), handle, *spec.command[1:]]

    def _render_options(self, spec: RunSpec) -> list[str]:
        options = ["--name", spec.name, "--pull", "never"]
        options += ["--rm"] if spec.remove else []
        options += ["--interactive"] if spec.interactive else []
        options += ["--tty"] if spec.terminal else []
        options += ["--read-only"] if spec.read_only else []
        options += self._render_gpus(spec.gpus) if spec.gpus else []
        for flag, value in (
            ("--network", spec.network),
            ("--workdir", spec.workdir),
            ("--user", spec.user),
            ("--entrypoint", spec.command[0] if spec.command else None),
        ):
            options += [flag, value] if value is not None else []
        for key, value in spec.env:
            # What the client has itself it passes on by name: anybody may read a command line.
            options += ["--env", key if self._env.get(key) == value else f"{key}={value}"]
        for key, _ in spec.secrets:
            options += ["--env", key]
        for key, value in spec.labels:
            options += ["--label", f"{key}={value}"]
        for mount in spec.mounts:
            options += _render_mount(mount)
        for port in spec.ports:
            options += ["--publish", str(port)]
        return [*options, *spec.options]

    def _client_env(self, spec: RunSpec) -> dict[str, str]:
        """The client's own variables: what is named to it without a value, it takes from there."""
        if clash := [key for key, _ in spec.secrets if _CLIENTS_OWN.match(key)]:
            raise UsageError(f"{self.program} itself goes by {clash[0]}", where="--secret", hint="another name, or -v of a file")
        return {**self._env, **dict(spec.secrets)}

    def _render_gpus(self, gpus: str) -> list[str]:
        return ["--gpus", gpus]


class LaunchedClient:
    """The client of a container, which hands signals on to it."""

    def __init__(self, engine: DockerLikeEngine, container: str, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._engine = engine
        self._container = container
        self._asked = False

    def ask(self) -> None:
        self._asked = True
        self.process.send_signal(signal.SIGTERM)

    def end(self) -> None:
        if self._asked or self.process.poll() is None:
            # The client may have gone before its container, or without one.
            self._engine.remove(self._container)
            self.process.kill()

    def read_code(self, code: int) -> int:
        if code == _ENGINE_FAILED:
            raise EngineError(f"{self._engine.program} did not run container {self._container}", hint=self._engine.remedy)
        return 128 - code if code < 0 else code


def _render_mount(mount: Mount) -> list[str]:
    if mount.kind is MountKind.TEMPORARY:
        return ["--tmpfs", mount.target]
    return ["--volume", f"{mount.source}:{mount.target}{':ro' if mount.read_only else ''}"]
