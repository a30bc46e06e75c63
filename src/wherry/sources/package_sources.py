"""Everything that says where Python packages are on this machine, in one value: uv's settings, connections, memories.

Opened once per command; nothing is asked of the network or of uv before it is needed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from wherry.formats.simple_index import IndexFile
from wherry.model.declaration import IndexOptions
from wherry.model.progress import Progress, be_silent
from wherry.sources.artefacts import ArtefactFinder, Rebuild, rebuild_nothing
from wherry.sources.index_credentials import CredentialBook
from wherry.sources.pip_configuration import UvSettings, plan_uv_settings
from wherry.sources.python_index import list_files
from wherry.sources.seen_urls import SeenUrls
from wherry.sources.transport import Transport
from wherry.sources.uv_program import Indexes, ask_indexes

_URL_VARIABLES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS")


class PackageSources:
    """`root` is the project's folder, whose uv configuration counts; `options` come from its requirements file."""

    def __init__(
        self,
        root: Path,
        options: IndexOptions,
        environment: Mapping[str, str],
        cache: Path,
        *,
        offline: bool = False,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.root = root
        self.cache = cache
        self._options = options
        self._environment = environment
        self._pause = pause
        self.offline = offline
        self.settings: UvSettings = plan_uv_settings(root, options, environment)
        self.seen = SeenUrls(cache)
        self._guard = threading.Lock()
        self._indexes: Indexes | None = None
        self.transport = Transport(
            self.settings.environment,
            CredentialBook(_configured_urls(self.settings), environment, lambda: self.indexes().urls),
            certificates=self.settings.certificates,
            trusted_hosts=self.settings.trusted_hosts,
            offline=offline,
            pause=pause,
        )

    def with_folders(self, folders: Sequence[Path]) -> PackageSources:
        """The same, and these folders of wheels besides."""
        links = (*self._options.find_links, *map(str, folders))
        options = replace(self._options, find_links=links)
        return PackageSources(self.root, options, self._environment, self.cache, offline=self.offline, pause=self._pause)

    def indexes(self) -> Indexes:
        """What uv says its indexes are; asked once."""
        with self._guard:
            if self._indexes is None:
                self._indexes = ask_indexes(self.settings, self.root)
            return self._indexes

    def list_files(self, name: str) -> list[IndexFile]:
        """Every file of a project (normalised name) on every index."""
        return list(list_files(self.indexes(), self.transport, name))

    def finder(
        self, find: Sequence[Path] = (), progress: Progress = be_silent, rebuild: Rebuild = rebuild_nothing
    ) -> ArtefactFinder:
        """`rebuild` makes again what was built once and is nowhere to be found."""
        return ArtefactFinder(self.cache, self.transport, self.indexes, find=find, progress=progress, rebuild=rebuild)


def _configured_urls(settings: UvSettings) -> list[str]:
    """URLs in uv's variables; an index may be given there as ``name=URL``."""
    words = [word for name in _URL_VARIABLES for word in settings.environment.get(name, "").replace(",", " ").split()]
    return [word.partition("=")[2] if "://" in word.partition("=")[2] else word for word in words]
