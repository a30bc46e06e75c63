"""podman, by its own command. `CONTAINER_HOST`, `CONTAINERS_CONF` and the like are podman's to read."""

from __future__ import annotations

from pathlib import Path

from wherry.engines.docker_like import DockerLikeEngine
from wherry.engines.port import EngineInfo, RunSpec
from wherry.engines.process import ask, find_program, shorten_errors
from wherry.errors import EngineError
from wherry.store.posix import is_root

_CAP_SYS_RESOURCE = 24  # capabilities(7)
_MODEST = 4096


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

    def _render_options(self, spec: RunSpec) -> list[str]:
        return [*super()._render_options(spec), *_render_limits()]

    def _render_gpus(self, gpus: str) -> list[str]:
        return ["--device", f"nvidia.com/gpu={gpus}"]  # podman names GPUs by the container device interface


def _render_limits() -> list[str]:
    """Lower limits where root may not raise them, as in a container: podman asks for more, and the runtime then fails."""
    try:
        status = Path("/proc/self/status").read_text("ascii")
        capabilities = int(next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), 16)
    except (OSError, ValueError, StopIteration):
        return []
    if not is_root() or capabilities >> _CAP_SYS_RESOURCE & 1:
        return []
    return ["--ulimit", f"nofile={_MODEST}:{_MODEST}", "--ulimit", f"nproc={_MODEST}:{_MODEST}"]
