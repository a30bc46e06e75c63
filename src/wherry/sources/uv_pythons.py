"""CPython as uv manages it, for any platform: found by uv's own list of downloads, fetched and verified by uv itself.

uv knows the digest of each archive, where mirrors are (`UV_PYTHON_INSTALL_MIRROR`, uv.toml) and whose list counts
(`UV_PYTHON_DOWNLOADS_JSON_URL`). It is asked to install into a folder of ours that goes away, and to leave the archive
(`UV_PYTHON_CACHE_DIR`), which is kept by its sha256 beside the wheels. Nothing of an archive runs. A locked one is looked
for in the cache, in the `--find` folders, where it was seen, and by uv again; it counts only with the locked sha256.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from wherry.errors import LockError, StoreError, TransferError, TrustError
from wherry.model.digest import Digest
from wherry.model.lock import LockedArchive
from wherry.model.platform import Platform
from wherry.model.progress import Progress, be_silent
from wherry.sources.package_sources import PackageSources
from wherry.sources.uv_program import explain_failure, find_uv

# uv's names of machines, where they are not the kernel's.
_ARCHES = {"amd64": "x86_64", "arm64": "aarch64", "arm": "armv7", "386": "x86", "ppc64le": "powerpc64le"}
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagedPython:
    """One build of CPython for one platform; `key` is uv's name for it, such as ``cpython-3.12.7-linux-x86_64-gnu``."""

    key: str
    version: str
    file: str
    url: str


class UvPythons:
    """What uv offers for the project of `sources`."""

    def __init__(self, sources: PackageSources, *, find: Sequence[Path] = (), progress: Progress = be_silent) -> None:
        self._sources = sources
        self._find = tuple(find)
        self._progress = progress

    def choose(self, wanted: str, platform: Platform) -> ManagedPython:
        """The newest build that `wanted` means: a minor version such as ``3.12``, or a full one."""
        libc = "gnueabihf" if platform.architecture == "arm" else "gnu"
        request = f"cpython-{wanted}-linux-{_ARCHES.get(platform.architecture, platform.architecture)}-{libc}"
        options = ("--only-downloads", "--show-urls", "--output-format", "json", "--all-versions")
        try:
            offered = json.loads(self._run(("python", "list", *options, request), {}))
            builds = [
                ManagedPython(key=one["key"], version=one["version"], file=_file_of(one["url"]), url=one["url"])
                for one in offered
                if one["implementation"] == "cpython" and one["variant"] == "default" and one["version"].replace(".", "").isdigit()
            ]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LockError(f"uv's list of Pythons is not understood: {error}", where="python", hint="pip install -U uv") from error
        if not builds:
            raise LockError(
                f"uv has no Python {wanted} for {platform}", where="python", hint=f"uv python list --only-downloads {request}"
            )
        return max(builds, key=lambda build: tuple(map(int, build.version.split("."))))

    def lock(self, build: ManagedPython) -> LockedArchive:
        """Fetch a build, and say what it is."""
        with tempfile.TemporaryDirectory(prefix="wherry-") as scratch:
            fetched = self._download(build.key, Path(scratch))
            digest, size = _measure(fetched)
            archive = LockedArchive(file=build.file, size=size, sha256=digest)
            self._keep(fetched, archive)
        self._sources.seen.remember(digest, build.url, size)
        return archive

    def fetch(self, archive: LockedArchive, version: str, platform: Platform) -> Path:
        """The path of a locked archive in the cache, fetched when it is not there yet."""
        target = self._path_of(archive)
        if target.is_file() and target.stat().st_size == archive.size:
            return target
        for url in self._places(archive):
            try:
                self._sources.transport.download(url, target, archive.sha256, archive.size, self._progress)
            except TransferError:
                continue
            return target
        build = self.choose(version, platform)
        found = self.lock(build)
        if found.sha256 != archive.sha256:
            raise LockError(
                f"uv now has another build of Python {version} for {platform}: {found.file}, locked is {archive.file}",
                where="wherry.lock",
                hint="wherry lock --upgrade, or --find DIR with a folder that has the file",
            )
        return self._path_of(found)

    def _places(self, archive: LockedArchive) -> Iterator[str]:
        for folder in self._find:
            if (folder / archive.file).is_file():
                yield (folder / archive.file).resolve().as_uri()
        seen = self._sources.seen.find(archive.sha256)
        if seen is not None:
            yield seen.url

    def _path_of(self, archive: LockedArchive) -> Path:
        return self._sources.cache / "artefacts" / "sha256" / archive.sha256.hex / archive.file

    def _download(self, key: str, scratch: Path) -> Path:
        """Let uv install into `scratch`; gives the archive that it leaves there."""
        self._progress(key, 0, 0)
        archives = scratch / "archives"
        options = ("--install-dir", str(scratch / "pythons"), "--no-bin", "--no-progress")
        self._run(("python", "install", *options, key), {"UV_PYTHON_CACHE_DIR": str(archives), "UV_PYTHON_DOWNLOADS": "manual"})
        found = [path for path in archives.iterdir() if path.is_file()] if archives.is_dir() else []
        if len(found) != 1:
            raise StoreError(f"uv left {len(found)} archives of {key}", hint="pip install -U uv")
        return found[0]

    def _keep(self, fetched: Path, archive: LockedArchive) -> None:
        target = self._path_of(archive)
        self._sources.transport.download(fetched.as_uri(), target, archive.sha256, archive.size, self._progress)

    def _run(self, arguments: Sequence[str], more: dict[str, str]) -> str:
        command = [find_uv(), *arguments, *(["--offline"] if self._sources.offline else [])]
        env = {**self._sources.settings.environment, **more}
        done = subprocess.run(
            command, cwd=self._sources.root, env=env, capture_output=True, text=True, encoding="utf-8", errors="replace"
        )
        if "Hash mismatch" in done.stderr:
            what = f"{arguments[-1]} has another digest than uv's list of downloads names"
            raise TrustError(what, where="python", hint="find out who serves other bytes before going on")
        if done.returncode != 0:
            raise explain_failure(done.stderr, offline=self._sources.offline)
        return done.stdout


def _file_of(url: str) -> str:
    return unquote(urlsplit(url).path.rpartition("/")[2])


def _measure(path: Path) -> tuple[Digest, int]:
    with path.open("rb") as file:
        return Digest(hashlib.file_digest(file, "sha256").hexdigest()), path.stat().st_size
