"""docker, by its own client. `DOCKER_HOST`, `DOCKER_CONTEXT` and `DOCKER_CONFIG` are the client's to read."""

from __future__ import annotations

from wherry.engines.docker_like import DockerLikeEngine
from wherry.engines.port import EngineInfo
from wherry.engines.process import ask, find_program, shorten_errors
from wherry.errors import EngineError


class DockerEngine(DockerLikeEngine):
    """Needs a daemon that answers."""

    program = "docker"
    remedy = "start docker, or set DOCKER_HOST; --on bubblewrap needs no daemon"

    def probe(self) -> EngineInfo:
        path = find_program(self.program, self._env)
        if path is None:
            return EngineInfo(name=self.name, usable=False, reason="docker is not installed", hint=self.remedy)
        try:
            done = ask([path, "version", "--format", "{{.Server.Version}}"], self._env, timeout=20)
        except EngineError as error:
            return EngineInfo(name=self.name, usable=False, reason=error.what, hint=self.remedy)
        if done.returncode != 0:
            return EngineInfo(name=self.name, usable=False, reason=shorten_errors(done.stderr), hint=self.remedy)
        return EngineInfo(name=self.name, usable=True, version=done.stdout.decode().strip())
