"""Brings source archives into the cache: released ones by digest, commits of git's, folders of the project.

What a lock names is believed only by its sha256. A folder that is no longer what was locked is the author's to lock again.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from wherry.errors import DeclarationError, LockError, TrustError
from wherry.formats.simple_index import IndexFile
from wherry.formats.urls import strip_login
from wherry.lock.build_sandbox import SourceArchive
from wherry.model.declaration import Declaration, Requirement
from wherry.model.digest import Digest
from wherry.model.lock import BuildKind, LockedBuild
from wherry.sources.git_program import archive_commit
from wherry.sources.package_sources import PackageSources
from wherry.store.posix import sync_folder

# Writes the tar of a folder of the project's: `folder` is relative to its root.
ArchiveFolder = Callable[[str, BinaryIO], None]


class BuildSources:
    """The sources that a declaration names, and those that an index has. `env` is what git is started with."""

    def __init__(
        self,
        declaration: Declaration,
        sources: PackageSources,
        archive_folder: ArchiveFolder,
        env: Mapping[str, str],
        find: Sequence[Path] = (),
    ) -> None:
        self._requirements = {str(entry.name): entry for entry in named_sources(declaration)}
        self._sources = sources
        self._archive_folder = archive_folder
        self._env = env
        self._find = tuple(find)

    def bring_named(self, requirement: Requirement) -> SourceArchive:
        """The source of a requirement that names one."""
        origin = requirement.source
        if origin is None:
            raise LockError(f"{requirement.name} names no source", where=requirement.where or None)
        if origin.kind is BuildKind.SDIST:
            return self._bring_url(requirement, origin.url, origin.subfolder)
        if origin.kind is BuildKind.GIT:
            commit = origin.commit or ""

            def write(sink: BinaryIO) -> None:
                archive_commit(origin.url, commit, sink, self._env, offline=self._sources.offline)
        else:

            def write(sink: BinaryIO) -> None:
                self._archive_folder(origin.folder, sink)

        path, digest = self._keep(write, f"{requirement.name}.tar")
        return SourceArchive(
            name=requirement.name,
            kind=origin.kind,
            path=path,
            size=path.stat().st_size,
            sha256=digest,
            commit=origin.commit,
            subfolder=origin.subfolder,
        )

    def bring_released(self, name: str, version: str, file: IndexFile) -> SourceArchive:
        """A source archive of an index, which claims a digest."""
        if file.sha256 is None:
            raise LockError(f"no index says the sha256 of {file.file}", hint="an index that does, or a wheel of it")
        size = file.size or self._sources.transport.size_of(file.url)
        if not size:
            raise LockError(f"nobody says how long {file.file} is", hint="an index that answers HEAD or names sizes")
        self._sources.seen.remember(file.sha256, file.url, size)
        path = self._sources.finder(self._find).fetch(file.file, file.sha256, size, name, version)
        return SourceArchive(name=name, kind=BuildKind.SDIST, path=path, size=size, sha256=file.sha256)

    def bring_locked(self, build: LockedBuild) -> SourceArchive:
        """The very source that a lock names."""
        requirement = self._requirements.get(build.name)
        origin = requirement.source if requirement is not None else None
        finder = self._sources.finder(self._find)
        subfolder = origin.subfolder if origin is not None else ""
        if build.kind is BuildKind.SDIST:
            if origin is not None and origin.url:
                self._sources.seen.remember(build.sha256, origin.url, build.size)
            path = finder.fetch(build.file, build.sha256, build.size, build.name, build.version)
        else:
            path = finder.path_of(build.file, build.sha256)
            if not path.is_file():
                path = self._bring_again(build, requirement)
        return SourceArchive(
            name=build.name,
            kind=build.kind,
            path=path,
            size=build.size,
            sha256=build.sha256,
            commit=build.commit,
            subfolder=subfolder,
        )

    def _bring_again(self, build: LockedBuild, requirement: Requirement | None) -> Path:
        if requirement is None or requirement.source is None or requirement.source.kind is not build.kind:
            raise LockError(
                f"the declaration no longer says where the source of {build.name} is", where="wherry.lock", hint="wherry lock"
            )
        found = self.bring_named(requirement)
        if found.sha256 == build.sha256:
            return found.path
        if build.kind is BuildKind.FOLDER:
            raise LockError(
                f"{build.name} was built from other files than {requirement.source.folder} has now",
                where="wherry.lock",
                hint="wherry lock",
            )
        raise TrustError(
            f"the source of {build.name} at {build.commit} is {found.sha256} instead of {build.sha256}",
            where=requirement.where,
            hint="find out who serves other bytes before going on",
        )

    def _bring_url(self, requirement: Requirement, url: str, subfolder: str) -> SourceArchive:
        digest = Digest.parse(requirement.hashes[0])
        size = self._sources.transport.size_of(url)
        if not size:
            raise LockError(f"nobody says how long {strip_login(url)} is", where=requirement.where)
        self._sources.seen.remember(digest, url, size)
        file = unquote(urlsplit(url).path).rpartition("/")[2]
        path = self._sources.finder(self._find).fetch(file, digest, size, requirement.name, "")
        return SourceArchive(name=requirement.name, kind=BuildKind.SDIST, path=path, size=size, sha256=digest, subfolder=subfolder)

    def _keep(self, write: Callable[[BinaryIO], None], name: str) -> tuple[Path, Digest]:
        """Write an archive to its place in the cache."""
        folder = self._sources.cache / "building"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="source-", dir=folder) as scratch:
            made = Path(scratch) / name
            with made.open("w+b") as sink:
                write(sink)
                sink.flush()
                os.fsync(sink.fileno())
                sink.seek(0)
                digest = Digest(hashlib.file_digest(sink, "sha256").hexdigest())
            target = self._sources.finder().path_of(name, digest)
            target.parent.mkdir(parents=True, exist_ok=True)
            made.replace(target)
            sync_folder(target.parent)
        return target, digest


def named_sources(declaration: Declaration) -> tuple[Requirement, ...]:
    """The requirements that name a source. A name with two different ones is a `DeclarationError`."""
    environment = declaration.environment
    found: dict[str, Requirement] = {}
    for entry in (*environment.requirements, *((environment.own,) if environment.own else ())):
        if entry.source is None:
            continue
        known = found.setdefault(entry.name, entry)
        if known.source != entry.source:
            raise DeclarationError(f"{entry.name} comes from two places, {known.where} is the other", where=entry.where)
    return tuple(found.values())
