"""Where blobs were seen: for each registry and digest a few of its repositories, in small files of the cache folder.

A registry can mount a blob from one repository into another, but only when it is told from which. What stands here may
be out of date: a mount that fails costs one request. Nothing depends on these files, so trouble with them is silent.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from wherry.model.digest import Digest
from wherry.store.posix import write_hint

_KEPT = 4
_LIMIT = 4096


class Sightings:
    """The files below `folder`; None forgets everything."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def repositories(self, registry: str, digest: Digest) -> tuple[str, ...]:
        """Repositories of a registry that had the blob, the latest first."""
        if self._folder is None:
            return ()
        try:
            with self._path(self._folder, registry, digest).open("rb") as file:
                return tuple(file.read(_LIMIT).decode().split("\n")[:_KEPT])
        except (OSError, UnicodeDecodeError):
            return ()

    def record(self, registry: str, digest: Digest, repository: str) -> None:
        known = self.repositories(registry, digest)
        if self._folder is None or known[:1] == (repository,):
            return
        names = (repository, *(name for name in known if name != repository))
        write_hint(self._path(self._folder, registry, digest), "\n".join(names[:_KEPT]).encode())

    @staticmethod
    def _path(folder: Path, registry: str, digest: Digest) -> Path:
        return folder / "seen" / quote(registry, safe="") / digest.hex
