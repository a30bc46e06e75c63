"""A project whose lock is made by hand for the Python that runs the tests, and wheels that lie in a folder."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.simulators.wheels import make_wheel
from wherry.assemble.packages import NO_CONDA
from wherry.environments import EnvironmentSources, EnvironmentWish, make_environment
from wherry.formats.lockfile import render_lock
from wherry.model.declaration import DebianBase, Declaration, Environment, EnvironmentKind
from wherry.model.digest import Digest
from wherry.model.lock import Lock, LockedInterpreter, LockedWheel, PlatformLock
from wherry.run.environments import FoundEnvironment
from wherry.run.kept_layouts import Keeping
from wherry.store.host import read_host_platform

VERSION = platform.python_version()
MINOR = VERSION.rpartition(".")[0]
RICH = {
    "rich/__init__.py": b"VALUE = 7\n",
    "rich/native.so": b"\x7fELF" + bytes(range(256)),
    "rich-1.0.data/scripts/rich-tool": b"#!python\nprint('tool')\n",
    "rich-1.0.data/scripts/rich-shell": b"#!/bin/sh\necho shell\n",
    "rich-1.0.data/data/share/rich/table.txt": b"a table\n",
    "rich-1.0.data/headers/rich.h": b"#define RICH 1\n",
}


class Folder:
    """Gives wheels as an `ArtefactFinder` would."""

    def __init__(self, paths: dict[str, Path]) -> None:
        self.paths = paths

    def fetch_all(self, wheels: Sequence[LockedWheel]) -> list[Path]:
        return [self.paths[wheel.file] for wheel in wheels]


@dataclass(kw_only=True)
class LocalProject:
    root: Path
    cache: Path
    env: dict[str, str]
    wheels: list[Path]
    variables: tuple[tuple[str, str], ...] = ()
    said: list[str] = field(default_factory=list)

    @property
    def locked(self) -> PlatformLock:
        wheels = sorted(map(lock_wheel, self.wheels), key=lambda wheel: wheel.name)
        interpreter = LockedInterpreter(source="debian", version=VERSION, path=f"/usr/bin/python{MINOR}")
        return PlatformLock(
            platform=read_host_platform(), base=None, interpreter=interpreter, debs=(), wheels=tuple(wheels), layers=()
        )

    def make(self, keeping: Keeping | None = None, **wish: object) -> FoundEnvironment:
        """Lock and make."""
        self.root.mkdir(parents=True, exist_ok=True)
        locked = self.locked
        (self.root / "wherry.lock").write_text(render_lock(Lock(declaration=Digest.of(b"x"), platforms=(locked,))))
        declared = Declaration(
            root=self.root,
            origin="wherry.toml",
            name="anomaly",
            python=MINOR,
            base=DebianBase(suite="bookworm"),
            platforms=(locked.platform,),
            environment=Environment(kind=EnvironmentKind.REQUIREMENTS),
            env=self.variables,
        )
        finder: Any = Folder({path.name: path for path in self.wheels})
        sources = EnvironmentSources(finder=finder, conda=NO_CONDA)
        silent = lambda *_: None  # noqa: E731
        wished = EnvironmentWish(**wish)  # type: ignore[arg-type]
        return make_environment(declared, locked, wished, sources, self.env, self.cache, silent, self.said.append, keeping)


def lock_wheel(path: Path) -> LockedWheel:
    name, version, _ = path.name.split("-", 2)
    data = path.read_bytes()
    return LockedWheel(name=name, version=version, file=path.name, size=len(data), sha256=Digest(hashlib.sha256(data).hexdigest()))


def rich_wheel(folder: Path) -> Path:
    """A wheel with everything that a wheel may have."""
    return make_wheel(
        folder,
        "rich",
        files=RICH,
        entry_points="[console_scripts]\nrich-run = rich:main\n",
        executable=("rich-1.0.data/scripts/rich-tool", "rich-1.0.data/scripts/rich-shell"),
    )
