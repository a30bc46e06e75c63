"""The one container that this device is for: which image it runs, how it is exchanged, and Python's bytecode for it.

The container has a fixed name and a label with its image's ID, so the truth about it is the engine's and survives whatever
happens to us. What it is to keep lies in volumes: each exchange makes it anew.

An image that keeps its bytecode in a cache (`PYTHONPYCACHEPREFIX` below /var/cache/python) gets it made before the exchange, in
a container without a network, into a folder that appears whole or not at all and that the application cannot write. It serves other
images only where they have the same layers with Python files.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from wherry.agent.processes import Apart
from wherry.agent.settings import ContainerSettings
from wherry.agent.state import ImageRecord
from wherry.engines.device import IMAGE_LABEL, DeviceEngine
from wherry.engines.port import EngineImage, Mount, MountKind, RunSpec
from wherry.errors import EngineError
from wherry.model.layout import PYTHON_CACHE, VENV
from wherry.model.python_cache import name_cache_of
from wherry.model.release import name_on_device
from wherry.store.folders import make_folder
from wherry.store.posix import explain_os_errors, sync_all, sync_folder

_KEY = re.compile(rf"PYTHONPYCACHEPREFIX={re.escape(PYTHON_CACHE)}/([0-9a-f]{{32}})")
_COMPILE = """
import compileall, os, py_compile, sys
for folder in filter(os.path.isdir, sys.path):
    compileall.compile_dir(folder, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
"""


class Containers:
    """The container, in one engine. `bytecode` is the folder of the caches."""

    def __init__(self, engine: DeviceEngine, settings: ContainerSettings, bytecode: Path, apart: Apart) -> None:
        self._engine = engine
        self._settings = settings
        self._bytecode = bytecode
        self._apart = apart

    def name_image(self, record: ImageRecord) -> EngineImage:
        """The image as engines call it: the same name for the same image, however often it is released."""
        return EngineImage(config=record.parse_config(), name=name_on_device(self._settings.name, record.target.manifest))

    def is_running(self, record: ImageRecord) -> bool:
        """Where somebody else starts containers: whether there is something to start."""
        if not self._settings.start:
            return self._engine.has(self.name_image(record))
        found = self._engine.find_container(self._settings.name)
        return found is not None and found.running and found.image == record.parse_config().digest

    def ensure_running(self, record: ImageRecord) -> bool:
        """Start the container if it does not run this image; True if it had to be started."""
        if self.is_running(record):
            return False
        self.exchange(record)
        return True

    def exchange(self, record: ImageRecord) -> None:
        """Stop whatever has the container's name, and start it with this image."""
        if not self._settings.start:
            if not self.is_running(record):
                raise EngineError(f"{self._engine.name} has no image {self.name_image(record).name}")
            return
        self.remove()
        self._warm_up(record)
        spec = self._describe(record)
        # In a process of its own: what it starts is then not ours to wait for, and goes on when we end.
        self._apart(lambda: self._engine.start(spec))

    def remove(self) -> None:
        if self._settings.start:
            self._engine.discard(self._settings.name, self._settings.grace)

    def prepare(self, record: ImageRecord) -> None:
        """Do beforehand what would keep the application waiting."""
        self._warm_up(record)

    def forget_caches(self, kept: Collection[ImageRecord]) -> None:
        """Remove the bytecode of images that are gone."""
        names = {_name_cache(record) for record in kept}
        with explain_os_errors(self._bytecode):
            for folder in self._bytecode.glob("*"):
                if folder.name not in names:
                    shutil.rmtree(folder, ignore_errors=True)

    def _describe(self, record: ImageRecord) -> RunSpec:
        settings, image = self._settings, self.name_image(record)
        cache = self._cache(record)
        return RunSpec(
            image=image,
            name=settings.name,
            env=settings.env,
            mounts=(*settings.mounts, *((_mount_cache(cache, read_only=True),) if cache and cache.is_dir() else ())),
            ports=settings.ports,
            network=settings.network,
            user=settings.user,
            read_only=settings.read_only,
            remove=False,
            interactive=False,
            labels=((IMAGE_LABEL, str(image.image_id)),),
            options=settings.options,
        )

    def _cache(self, record: ImageRecord) -> Path | None:
        name = _name_cache(record)
        return self._bytecode / name if name else None

    def _warm_up(self, record: ImageRecord) -> None:
        cache = self._cache(record)
        if cache is None or cache.is_dir() or not self._settings.start:
            return
        with explain_os_errors(cache), make_folder(cache) as made:
            code = self._apart(lambda: self._engine.run(self._describe_compiler(record, made)))
            if code != 0:
                raise EngineError(f"Python's bytecode could not be made: its container ended with {code}")
            sync_all()
        sync_folder(self._bytecode)

    def _describe_compiler(self, record: ImageRecord, folder: Path) -> RunSpec:
        return replace(
            self._describe(record),
            name=f"{self._settings.name}-bytecode",
            command=(_find_python(record), "-c", _COMPILE),
            mounts=(_mount_cache(folder, read_only=False),),
            ports=(),
            network="none",
            user="0",
            remove=True,
            labels=(),
            options=(),
        )


def _mount_cache(folder: Path, *, read_only: bool) -> Mount:
    return Mount(kind=MountKind.BIND, source=str(folder), target=PYTHON_CACHE, read_only=read_only)


def _find_python(record: ImageRecord) -> str:
    """The interpreter of the image's environment: conda's says where it lies."""
    prefixes = (variable.removeprefix("CONDA_PREFIX=") for variable in record.parse_config().env)
    return f"{next((prefix for prefix in prefixes if prefix.startswith('/')), f'/{VENV}')}/bin/python"


def _name_cache(record: ImageRecord) -> str | None:
    """The folder of an image's cache: shared by those with the same Python files. One that inherited its variable gets its own."""
    config = record.parse_config()
    key = next((match[1] for match in map(_KEY.fullmatch, config.env) if match), None)
    return key if key is None or key == name_cache_of(config) else f"{key}-{config.digest.hex[:16]}"
