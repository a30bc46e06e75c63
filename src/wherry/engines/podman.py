"""podman, by its own command. `CONTAINER_HOST`, `CONTAINERS_CONF` and the like are podman's to read."""

from __future__ import annotations

from wherry.engines.docker_like import DockerLikeEngine
from wherry.engines.port import EngineInfo
from wherry.engines.process import ask, find_program, shorten_errors
from wherry.errors import EngineError


class PodmanEngine(DockerLikeEngine):
    """Needs no daemon."""

    program = "podman"
    remedy = "podman info says what is missing; --on bubblewrap needs no engine"

    def probe(self) -> EngineInfo:
        path = find_program(self.program, self._env)
        if path is None:
            return EngineInfo(name=self.name, usable=False, reason="podman is not installed", hint=self.remedy)
        try:
            # `info`, not `version`: it fails where podman's storage cannot be set up.
            done = ask([path, "info", "--format", "{{.Version.Version}}"], self._env, timeout=20)
        except EngineError as error:
            return EngineInfo(name=self.name, usable=False, reason=error.what, hint=self.remedy)
        if done.returncode != 0:
            return EngineInfo(name=self.name, usable=False, reason=shorten_errors(done.stderr), hint=self.remedy)
        return EngineInfo(name=self.name, usable=True, version=done.stdout.decode().strip())

    def _render_gpus(self, gpus: str) -> list[str]:
        return ["--device", f"nvidia.com/gpu={gpus}"]  # podman names GPUs by the container device interface
