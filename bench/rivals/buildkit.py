"""docker's BuildKit with uv and a cache mount: a dockerd of its own, started here and stopped by its pid.

Takes the Debian package's dockerd and the BuildKit inside it. uv comes in by a bind mount from an image of its own, and
its cache is a cache mount, as uv's documentation advises; neither is in the image. Exported by skopeo, out of the daemon.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.harness import NotMeasured, Run, clear_folder, run_process
from bench.project import write_project
from bench.rivals.port import Weight, weigh_layout
from bench.workshop import Prepared, Workshop

_DOCKERFILE = """\
FROM base
COPY requirements.txt /app/requirements.txt
RUN --mount=type=bind,from=tools,source=/,target=/tools --mount=type=cache,target=/uv-cache {install}
ENTRYPOINT ["python", "-m", "app"]
COPY app /app/app
COPY models /app/models
"""


class BuildKit:
    """`options` go to `uv pip sync`."""

    def __init__(self, name: str, workshop: Workshop, prepared: Prepared, *options: str) -> None:
        self.name = name
        self._folder = workshop.root / "builders" / name
        self.project = self._folder / "project"
        self._workshop = workshop
        self._prepared = prepared
        self._options = options
        self._socket = f"unix://{self._folder / 'docker.sock'}"
        self._daemon = 0
        self._client: Path | None = None
        self._env = {**workshop.environment, "DOCKER_BUILDKIT": "1", "DOCKER_CONFIG": str(self._folder / "config")}

    @contextmanager
    def opened(self) -> Iterator[None]:
        if os.geteuid() != 0:
            raise NotMeasured("needs root")
        for tool in ("dockerd", "skopeo"):
            if shutil.which(tool) is None:
                raise NotMeasured(f"{tool} is not installed")
        clear_folder(self._folder)
        self._folder.mkdir(parents=True)
        write_project(self.project)
        (self.project / "Dockerfile").write_text(_DOCKERFILE.format(install=self._render_install()))
        try:
            with self._started():
                self._load_images()
                yield
        finally:
            clear_folder(self._folder)

    def _render_install(self) -> str:
        words = ["/tools/uv", "pip", "sync", "--python", "/opt/env/bin/python", "--require-hashes", "--default-index"]
        words += [
            self._workshop.index,
            "--cache-dir",
            "/uv-cache",
            "--link-mode",
            "copy",
            "-q",
            *self._options,
            "/app/requirements.txt",
        ]
        return "[" + ", ".join(f'"{word}"' for word in (*words, "/app/requirements.txt")) + "]"

    @contextmanager
    def _started(self) -> Iterator[None]:
        places = ["--data-root", self._folder / "data", "--exec-root", self._folder / "exec", "-p", self._folder / "docker.pid"]
        command = ["dockerd", *places, "-H", self._socket, "--iptables=false", "--bridge=none"]
        with (self._folder / "log").open("wb") as log:
            daemon = subprocess.Popen([str(word) for word in command], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self._daemon = daemon.pid
        try:
            self._wait(daemon)
            self._client = self._find_client()
            yield
        finally:
            daemon.terminate()
            daemon.wait(60)

    def _wait(self, daemon: subprocess.Popen[bytes]) -> None:
        for _ in range(300):
            if daemon.poll() is not None:
                break
            if (self._folder / "docker.sock").exists():
                return
            time.sleep(0.1)
        raise NotMeasured(f"dockerd does not start: {(self._folder / 'log').read_text()[-300:]}")

    def _find_client(self) -> Path:
        """A client that builds by the daemon's BuildKit; newer ones want a plug-in for it, which may not be there."""
        folders = [*os.environ.get("PATH", "").split(os.pathsep), "/usr/bin"]
        for path in dict.fromkeys(Path(folder) / "docker" for folder in folders):
            told = subprocess.run([path, "buildx", "version"], capture_output=True, check=False) if path.exists() else None
            version = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout if told else ""
            if told and (told.returncode == 0 or any(f" {old}." in version for old in range(18, 23))):
                return path
        raise NotMeasured("no docker client here can use BuildKit (docker-buildx is missing)")

    def _load_images(self) -> None:
        layout = self._folder / "base"
        self._prepared.write_base_layout(layout)
        to = ("--dest-daemon-host", self._socket, f"oci:{layout}:base", "docker-daemon:base:latest")
        run_process(["skopeo", "copy", "-q", "--insecure-policy", *to], env=self._env)
        tools = self._folder / "tools.tar"
        run_process(["tar", "-cf", tools, "-C", self._workshop.tools / "bin", "uv"])
        self._docker("import", tools, "tools:latest")

    def empty(self) -> None:
        if "bench" in self._docker("images", "--format", "{{.Repository}}").output.split():
            self._docker("rmi", "-f", "bench")
        self._docker("builder", "prune", "-af")
        shutil.rmtree(self._folder / "layout", ignore_errors=True)

    def set_version(self, number: int) -> None:
        (self.project / "requirements.txt").write_text(self._prepared.pinned_requirements(number))

    def build(self, *, memory: bool = False) -> Run:
        return self._docker("build", "-q", "--network", "host", "-t", "bench", self.project, memory=memory)

    def export(self, *, memory: bool = False) -> Run | None:
        source = ("--src-daemon-host", self._socket, "docker-daemon:bench:latest")
        command = ["skopeo", "copy", "-q", "--insecure-policy", *source, f"oci:{self._folder / 'layout'}:bench"]
        return run_process(command, env=self._env, memory=memory, beside=(self._daemon,))

    def weigh(self) -> Weight:
        return weigh_layout(self._folder / "layout", "bench")

    def _docker(self, *words: str | Path, memory: bool = False) -> Run:
        command = [self._client or "docker", "-H", self._socket, *words]
        return run_process(command, env=self._env, memory=memory, beside=(self._daemon,))
