"""wherry itself, as the others see it: `wherry build` as a whole process."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.harness import Run, clear_folder, run_process
from bench.project import write_project
from bench.rivals.port import Weight, weigh_layout
from bench.workshop import Prepared, Workshop, copy_tree, keep_only, places


class Wherry:
    """With `own_base` the base is not given: it is assembled, too, from downloaded Debian packages."""

    def __init__(self, name: str, workshop: Workshop, prepared: Prepared, *, own_base: bool = False) -> None:
        self.name = name
        self._folder = workshop.root / "builders" / name
        self.project = self._folder / "project"
        self._prepared = prepared
        self._own_base = own_base
        self._program = workshop.wherry
        self._env = {**workshop.environment, **places(self._folder)}

    @contextmanager
    def opened(self) -> Iterator[None]:
        clear_folder(self._folder)
        write_project(self.project)
        self._prepared.write_declaration(self.project)
        yield

    def empty(self) -> None:
        base = self._prepared.folder / "base"
        for place in ("store", "cache"):
            copy_tree(base / place, self._folder / place)
        if self._own_base:
            shutil.rmtree(self._folder / "store")
            keep_only(self._folder / "cache", "artefacts", "debian")

    def set_version(self, number: int) -> None:
        self._prepared.write_version(self.project, number)

    def build(self, *, memory: bool = False) -> Run:
        return run_process([self._program, "build"], cwd=self.project, env=self._env, memory=memory)

    def export(self, *, memory: bool = False) -> Run | None:
        return None

    def weigh(self) -> Weight:
        return weigh_layout(self._folder / "store", "bench:latest")

    @property
    def store(self) -> Path:
        return self._folder / "store"

    def weigh_base(self) -> Weight:
        return weigh_layout(self._prepared.folder / "base" / "store")

    def pinned_requirements(self) -> str:
        return self._prepared.pinned_requirements(0)
