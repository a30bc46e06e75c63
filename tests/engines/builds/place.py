"""A project with an index, where wheels are built from source; and further machines with caches of their own."""

from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path

from tests.simulators.python_index import PythonIndex
from wherry.formats.tar import add_parents, file_entry, stream_tar
from wherry.lock.build_sandbox import BuildPython, BuildSandbox
from wherry.lock.build_sources import BuildSources
from wherry.lock.builder import Builder
from wherry.lock.built_wheels import Yard, lock_built_wheels
from wherry.lock.target import WheelTarget
from wherry.lock.wheels import LockOptions
from wherry.model.declaration import DebianBase, Declaration, Environment, EnvironmentKind, IndexOptions, Requirement
from wherry.model.lock import LockedBuild, LockedInterpreter, LockedWheel, PlatformLock
from wherry.model.platform import Platform
from wherry.sources.package_sources import PackageSources
from wherry.store.host import read_host_platform

AMD64 = Platform("linux", "amd64")
VERSION = ".".join(map(str, sys.version_info[:3]))
Locked = tuple[tuple[LockedWheel, ...], tuple[LockedBuild, ...]]


class Place:
    """A project with an index; `others` are further machines with caches of their own."""

    def __init__(self, folder: Path, index: PythonIndex) -> None:
        self.folder = folder
        self.index = index
        self.root = folder / "project"
        self.root.mkdir(parents=True)
        self.said: list[str] = []
        self.environment = {
            "HOME": str(folder),
            "PATH": os.environ["PATH"],
            "PIP_CONFIG_FILE": os.devnull,
            "XDG_CONFIG_DIRS": str(folder / "none"),
            "UV_CACHE_DIR": str(folder / "uv-cache"),
            "UV_DEFAULT_INDEX": index.url,
        }

    def declare(self, *lines: str | Requirement, allow: tuple[str, ...] = ("hull",)) -> Declaration:
        entries = (
            line if isinstance(line, Requirement) else Requirement(text=line, name=line.split("=")[0].split("<")[0].strip())
            for line in lines
        )
        environment = Environment(kind=EnvironmentKind.REQUIREMENTS, files=("requirements.txt",), requirements=tuple(entries))
        return Declaration(
            root=self.root,
            origin="wherry.toml",
            name="project",
            python=None,
            base=DebianBase(suite="bookworm"),
            platforms=(AMD64,),
            environment=environment,
            allow_build=allow,
        )

    def yard(self, declaration: Declaration) -> tuple[Yard, PackageSources]:
        sources = PackageSources(self.root, IndexOptions(), self.environment, self.folder / "cache", pause=lambda _: None)
        python = BuildPython(root=Path("/"), path=os.path.realpath(sys.executable), version=VERSION)
        sandbox = BuildSandbox(sources.finder().fetch_all, self.environment)
        builder = Builder(sources.cache, lambda: python, sandbox, self.said.append)

        def archive_folder(folder: str, sink: object) -> None:
            files = sorted(path for path in (self.root / folder).rglob("*") if path.is_file())
            entries = (file_entry(f"source/{path.relative_to(self.root / folder)}", path.read_bytes()) for path in files)
            for piece in stream_tar(add_parents(entries)):
                sink.write(piece)  # type: ignore[attr-defined]

        return Yard(
            builder=builder,
            sources=BuildSources(declaration, sources, archive_folder, self.environment),
            host=read_host_platform(),
        ), sources

    def lock(self, declaration: Declaration, keep: PlatformLock | None = None, **options: object) -> Locked:
        yard, sources = self.yard(declaration)
        target = WheelTarget(platform=AMD64, glibc=(2, 36), python=VERSION)
        chosen = LockOptions(**options)  # type: ignore[arg-type]
        return lock_built_wheels(declaration, target, sources, keep=keep, options=chosen, yard=yard)

    def fetch(self, wheel: LockedWheel) -> zipfile.ZipFile:
        declaration = self.declare()
        return zipfile.ZipFile(self.yard(declaration)[1].finder().path_of(wheel.file, wheel.sha256))


def keep(locked: Locked) -> PlatformLock:
    interpreter = LockedInterpreter(source="base", version=VERSION, path="/usr/bin/python3")
    return PlatformLock(platform=AMD64, base=None, interpreter=interpreter, debs=(), wheels=locked[0], layers=(), builds=locked[1])
