"""PyPI's pyoci, in a virtual environment of its own.

It packs a virtual environment that lies in the project, and takes its base from a registry by https alone: so a
docker-registry with a certificate made here serves the base. Making that environment with uv is counted wherever the
requirements changed; packages from uv's cache are linked into it, not copied.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.harness import NotMeasured, Run, clear_folder, run_process
from bench.project import write_project
from bench.rivals.port import Weight, weigh_layout
from bench.workshop import Prepared, Workshop

_CONFIG = '[build]\ninclude_paths = ["app", "models"]\nentrypoint = ["python", "-m", "app"]\n'
_REGISTRY = """\
version: 0.1
storage: {{filesystem: {{rootdirectory: {folder}/registry}}}}
http: {{addr: "127.0.0.1:{port}", tls: {{certificate: {folder}/cert.pem, key: {folder}/key.pem}}}}
"""


class PyOci:
    def __init__(self, name: str, workshop: Workshop, prepared: Prepared) -> None:
        self.name = name
        self._folder = workshop.root / "builders" / name
        self.project = self._folder / "project"
        self._prepared = prepared
        self._uv = workshop.uv
        self._tool = workshop.root / "pyoci"
        self._env = {**workshop.environment, "SSL_CERT_FILE": str(self._folder / "cert.pem"), "HOME": str(self._folder)}
        self._uv_env = {**workshop.environment, "UV_CACHE_DIR": str(self._folder / "uv-cache")}
        self._port = 0
        self._installed = ""

    @contextmanager
    def opened(self) -> Iterator[None]:
        for tool in ("docker-registry", "skopeo", "openssl"):
            if shutil.which(tool) is None:
                raise NotMeasured(f"{tool} is not installed")
        if not (self._tool / "bin/pyoci").exists():
            run_process([sys.executable, "-m", "venv", "--without-pip", self._tool])
            run_process([self._uv, "pip", "install", "-q", "--compile-bytecode", "--python", self._tool / "bin/python", "pyoci"])
        clear_folder(self._folder)
        write_project(self.project)
        (self.project / "pyoci.toml").write_text(_CONFIG)
        with self._registry():
            self._prepared.write_base_layout(self._folder / "base")
            of, to = f"oci:{self._folder / 'base'}:base", f"docker://127.0.0.1:{self._port}/base:latest"
            run_process(["skopeo", "copy", "-q", "--insecure-policy", "--dest-tls-verify=false", of, to])
            yield

    @contextmanager
    def _registry(self) -> Iterator[None]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
        files = ("-keyout", self._folder / "key.pem", "-out", self._folder / "cert.pem")
        run_process(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, *files])
        settings = self._folder / "registry.yml"
        settings.write_text(_REGISTRY.format(folder=self._folder, port=self._port))
        with (self._folder / "log").open("wb") as log:
            daemon = subprocess.Popen(["docker-registry", "serve", str(settings)], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            for _ in range(100):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                        break
                time.sleep(0.1)
            yield
        finally:
            daemon.terminate()
            daemon.wait(30)

    def empty(self) -> None:
        """Everything goes but the base, which was pulled before: pyoci takes a layer that lies in its output as it is."""
        for place in (".venv", "dist"):
            shutil.rmtree(self.project / place, ignore_errors=True)
        for place in ("uv-cache", ".pyoci"):
            shutil.rmtree(self._folder / place, ignore_errors=True)
        shutil.copytree(self._folder / "base" / "blobs", self.project / "dist" / "image" / "blobs")
        self._installed = ""

    def set_version(self, number: int) -> None:
        (self.project / "requirements.txt").write_text(self._prepared.pinned_requirements(number))

    def build(self, *, memory: bool = False) -> Run:
        wanted = (self.project / "requirements.txt").read_text()
        steps = [] if wanted == self._installed else [self._install(memory=memory)]
        self._installed = wanted
        command: list[str | Path] = [self._tool / "bin/pyoci", "build", "--config", "pyoci.toml", "--tag", "bench:latest"]
        command += ["--include-deps", "--base-image", f"127.0.0.1:{self._port}/base:latest", "--cache-dir", self._folder / ".pyoci"]
        run = run_process(command, cwd=self.project, env=self._env, memory=memory)
        return steps[0] + run if steps else run

    def _install(self, *, memory: bool) -> Run:
        python = self.project / ".venv" / "bin" / "python"
        requirements = self.project / "requirements.txt"
        made = Run(seconds=0.0)
        if not python.exists():
            made = run_process([self._uv, "venv", "-q", "--python", sys.executable, self.project / ".venv"], env=self._uv_env)
        words = ("pip", "sync", "-q", "--require-hashes", "--python", python, "--python-version", "3.11", requirements)
        return made + run_process([self._uv, *words], env=self._uv_env, memory=memory)

    def export(self, *, memory: bool = False) -> Run | None:
        return None

    def weigh(self) -> Weight:
        return weigh_layout(self.project / "dist" / "image")
