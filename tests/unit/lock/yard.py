"""A project whose wheels the real uv resolves against an index on loopback."""

from __future__ import annotations

import os
from pathlib import Path

from tests.simulators.python_index import PythonIndex, Wheel
from wherry.lock.target import WheelTarget
from wherry.lock.wheels import LockOptions, lock_wheels
from wherry.model.declaration import DebianBase, Declaration, Environment, EnvironmentKind, Requirement
from wherry.model.digest import Digest
from wherry.model.lock import LockedWheel, PlatformLock
from wherry.model.platform import Platform
from wherry.sources.package_sources import PackageSources

AMD64, ARM64, ARMV7 = (Platform.parse(text) for text in ("linux/amd64", "linux/arm64", "linux/arm/v7"))
X86, AARCH = ("cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64", "cp311-cp311-manylinux_2_17_aarch64.manylinux2014_aarch64")


class Yard:
    """A project, an index, and an environment in which nothing of this machine's configuration counts."""

    def __init__(self, folder: Path, index: PythonIndex) -> None:
        self.root = folder / "project"
        self.root.mkdir()
        self.cache = folder / "cache"
        self.index = index
        self.environment = {
            "HOME": str(folder),
            "PATH": os.environ["PATH"],
            "PIP_CONFIG_FILE": os.devnull,
            "XDG_CONFIG_DIRS": str(folder / "none"),
            "UV_CACHE_DIR": str(folder / "uv-cache"),
            "UV_DEFAULT_INDEX": index.url,
        }

    def declare(
        self, *lines: str, hashes: dict[str, tuple[str, ...]] | None = None, constraints: tuple[str, ...] = ()
    ) -> Declaration:
        def requirement(number: int, text: str) -> Requirement:
            name = text.split(";")[0].split("[")[0].split("=")[0].split("<")[0].split(">")[0].split("@")[0].strip()
            return Requirement(text=text, name=name, hashes=(hashes or {}).get(name, ()), where=f"requirements.txt:{number + 1}")

        environment = Environment(
            kind=EnvironmentKind.REQUIREMENTS,
            files=("requirements.txt",),
            requirements=tuple(requirement(number, line) for number, line in enumerate(lines)),
            constraints=tuple(requirement(number, line) for number, line in enumerate(constraints)),
        )
        return self.declare_environment(environment)

    def declare_environment(self, environment: Environment) -> Declaration:
        return Declaration(
            root=self.root,
            origin="wherry.toml",
            name="project",
            python=None,
            base=DebianBase(suite="bookworm"),
            platforms=(AMD64,),
            environment=environment,
        )

    def lock(
        self,
        declaration: Declaration,
        platform: Platform = AMD64,
        *,
        keep: PlatformLock | None = None,
        glibc: tuple[int, int] = (2, 36),
        python: str = "3.11.2",
        **options: object,
    ) -> tuple[LockedWheel, ...]:
        chosen = LockOptions(**options)  # type: ignore[arg-type]
        sources = PackageSources(
            self.root,
            declaration.environment.indexes,
            self.environment,
            self.cache,
            offline=chosen.offline,
            pause=lambda seconds: None,
        )
        return lock_wheels(
            declaration, WheelTarget(platform=platform, glibc=glibc, python=python), sources, keep=keep, options=chosen
        )


def as_locked(wheel: Wheel, **rest: object) -> LockedWheel:
    return LockedWheel(
        name=wheel.name,
        version=wheel.version,
        file=wheel.file,
        size=len(wheel.data),
        sha256=Digest(wheel.sha256),
        **rest,  # type: ignore[arg-type]
    )
