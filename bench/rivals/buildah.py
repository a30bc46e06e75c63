"""buildah with pip: root, `--isolation chroot`, overlay storage of its own, layers cached as `bud --layers` does.

The base has neither pip nor a shell, so pip comes in by a read-only volume, compiled beforehand: it costs neither time
nor bytes. pip installs into the base's own virtual environment. Code and model are copied last, the model by itself.
"""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.harness import NotMeasured, Run, clear_folder, run_process
from bench.project import write_project
from bench.rivals.port import Weight, weigh_layout
from bench.workshop import Prepared, Workshop, find_wheel

_DOCKERFILE = """\
FROM localhost/base
COPY requirements.txt /app/requirements.txt
RUN {install}
ENTRYPOINT ["python", "-m", "app"]
COPY app /app/app
COPY models /app/models
"""


class Buildah:
    """`options` go to `pip install`."""

    def __init__(self, name: str, workshop: Workshop, prepared: Prepared, *options: str) -> None:
        self.name = name
        self._folder = workshop.root / "builders" / name
        self.project = self._folder / "project"
        self._workshop = workshop
        self._prepared = prepared
        self._options = options
        self._env = {**workshop.environment, "BUILDAH_ISOLATION": "chroot", "TMPDIR": str(self._folder / "tmp")}

    @contextmanager
    def opened(self) -> Iterator[None]:
        for tool in ("buildah", "skopeo"):
            if shutil.which(tool) is None:
                raise NotMeasured(f"{tool} is not installed")
        if os.geteuid() != 0:
            raise NotMeasured("needs root")
        clear_folder(self._folder)
        (self._folder / "tmp").mkdir(parents=True)
        write_project(self.project)
        words = ["/opt/env/bin/python", "/tools/pip", "install", "--require-hashes", "--no-deps", "--disable-pip-version-check"]
        words += ["--root-user-action=ignore", "-q", "-i", self._workshop.index, *self._options, "-r", "/app/requirements.txt"]
        install = ", ".join(f'"{word}"' for word in words)
        (self.project / "Dockerfile").write_text(_DOCKERFILE.format(install=f"[{install}]"))
        self._prepared.write_base_layout(self._folder / "base")
        try:
            self._unpack_pip()
            yield
        finally:
            clear_folder(self._folder)

    def _unpack_pip(self) -> None:
        tools = self._folder / "tools"
        with zipfile.ZipFile(find_wheel(self._workshop, "pip")) as archive:
            archive.extractall(tools)
        self._load_base()
        container = self._buildah("from", "--pull-never", "localhost/base").output.strip()
        compile_all = ("/opt/env/bin/python", "-m", "compileall", "-q", "/tools/pip")
        self._buildah("run", "--isolation", "chroot", "-v", f"{tools}:/tools", container, "--", *compile_all)
        self._drop_images()

    def _load_base(self) -> None:
        storage = f"containers-storage:[overlay@{self._folder / 'root'}+{self._folder / 'run'}]localhost/base:latest"
        run_process(["skopeo", "copy", "-q", "--insecure-policy", f"oci:{self._folder / 'base'}:base", storage], env=self._env)

    def _drop_images(self) -> None:
        if (self._folder / "root").exists():
            self._buildah("rm", "--all")
            self._buildah("rmi", "--all", "--force")

    def empty(self) -> None:
        self._drop_images()
        shutil.rmtree(self._folder / "layout", ignore_errors=True)
        self._load_base()

    def set_version(self, number: int) -> None:
        (self.project / "requirements.txt").write_text(self._prepared.pinned_requirements(number))

    def build(self, *, memory: bool = False) -> Run:
        volume = f"{self._folder / 'tools'}:/tools:ro"
        options = ("--layers", "--network", "host", "--pull-never", "-v", volume, "-t", "bench")
        return self._buildah("bud", *options, self.project, memory=memory)

    def export(self, *, memory: bool = False) -> Run | None:
        return self._buildah("push", "-q", "localhost/bench", f"oci:{self._folder / 'layout'}:bench", memory=memory)

    def weigh(self) -> Weight:
        return weigh_layout(self._folder / "layout", "bench")

    def _buildah(self, command: str, *words: str | Path, memory: bool = False) -> Run:
        storage = ("--root", self._folder / "root", "--runroot", self._folder / "run", "--storage-driver", "overlay")
        return run_process(["buildah", *storage, command, *words], env=self._env, memory=memory)
