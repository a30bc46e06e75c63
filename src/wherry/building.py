"""What the stages need of one another where a wheel is to be built: the image's Python, the project's folders, the lock.

Building is done by `wherry.lock.builder`; here is only what it cannot reach, because stages are strangers.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from wherry.assemble.files import disk_entry
from wherry.assemble.layers import LayerBlob
from wherry.bases import Bases
from wherry.conda_side import conda_source, open_conda_side
from wherry.declare.code import list_code
from wherry.engines.sealed import SealedFolder
from wherry.errors import LockError
from wherry.formats.tar import add_parents, stream_tar, symlink_entry
from wherry.lock.build_sandbox import BuildPython, BuildSandbox
from wherry.lock.build_sources import BuildSources, named_sources
from wherry.lock.builder import Builder
from wherry.lock.built_wheels import Yard, make_again
from wherry.model.declaration import CodeSelection, Declaration
from wherry.model.digest import DiffId, Digest
from wherry.model.lock import BuildKind, Lock, PlatformLock
from wherry.model.platform import Platform
from wherry.model.progress import be_silent
from wherry.sources.package_sources import PackageSources
from wherry.store.host import read_host_platform


@dataclass(frozen=True, slots=True, kw_only=True)
class Building:
    """Everything that one command's builds have in common."""

    declared: Declaration
    bases: Bases
    sources: PackageSources
    env: Mapping[str, str]
    find: tuple[Path, ...] = ()
    say: Callable[[str], None] = lambda _text: None
    turn: threading.Lock = field(default_factory=threading.Lock)

    def rebuild_from(self, lock: Lock) -> Callable[[str, Digest], Path | None]:
        """What makes a wheel of this lock again that is nowhere to be found: by its file's name and digest."""

        def rebuild(file: str, sha256: Digest) -> Path | None:
            for locked in lock.platforms:
                for build in locked.builds:
                    wheel = next(wheel for wheel in locked.wheels if wheel.name == build.name)
                    if (wheel.file, wheel.sha256) == (file, sha256):
                        return make_again(self.open_yard(locked), build, wheel)
            return None

        return rebuild

    def open_yard(self, locked: PlatformLock) -> Yard:
        """For a platform of which at least what lies below the wheels is locked."""
        finder = self.sources.finder(self.find)

        return Yard(
            builder=Builder(
                self.sources.cache, lambda: self._open_python(locked), BuildSandbox(finder.fetch_all, self.env), self.say
            ),
            sources=BuildSources(self.declared, self.sources, self._archive_folder, self.env, self.find),
            host=read_host_platform(),
            turn=self.turn,
        )

    def _open_python(self, locked: PlatformLock) -> BuildPython:
        """The image's Python: of the base's own packages, or laid over what the base has for it."""
        interpreter = locked.interpreter
        alone = Lock(declaration=Digest.of(b""), platforms=(locked,))
        finder = self.sources.finder(self.find)
        offline = self.sources.offline
        cache = self.sources.cache
        with open_conda_side(self.declared, alone, self.env, cache, offline=offline, find=self.find, progress=be_silent) as conda:
            if interpreter.source == "conda":
                found = conda_source(conda, locked, alone).interpreter()
            else:
                found = self.bases.inputs(locked, alone, finder, _find_no_layer).interpreter()
        if interpreter.source in ("debian", "base"):
            return BuildPython(root=found.root, path=interpreter.path, version=interpreter.version)
        prefix = interpreter.path.rpartition("/bin/")[0]
        over = SealedFolder(source=found.root / prefix.lstrip("/"), target=prefix)
        root = self.bases.unpack_root(locked)
        return BuildPython(root=root, path=interpreter.path, version=interpreter.version, over=(over,))

    def _archive_folder(self, folder: str, sink: BinaryIO) -> None:
        for piece in _stream_folder(self.declared, folder):
            sink.write(piece)


def find_stale_folders(declared: Declaration, lock: Lock) -> tuple[str, ...]:
    """Names of packages that were built from a folder whose files have changed since."""
    folders = {entry.name: entry.source.folder for entry in named_sources(declared) if entry.source is not None}
    locked = {build.name: build.sha256 for one in lock.platforms for build in one.builds if build.kind is BuildKind.FOLDER}
    known = [name for name in locked if name in folders]
    return tuple(sorted(name for name in known if _digest_folder(declared, folders[name]) != locked[name]))


def refuse_stale(names: Sequence[str]) -> None:
    """`--locked`: what was built from a folder must be what the folder holds."""
    if names:
        what = f"{', '.join(names)} was built from other files than its folder has now"
        raise LockError(what, where="wherry.lock", hint="wherry lock")


def _find_no_layer(_diff_id: DiffId, _platform: Platform) -> LayerBlob | None:
    return None


def _digest_folder(declared: Declaration, folder: str) -> Digest:
    running = hashlib.sha256()
    for piece in _stream_folder(declared, folder):
        running.update(piece)
    return Digest(running.hexdigest())


def _stream_folder(declared: Declaration, folder: str) -> Iterator[bytes]:
    """The tar of a folder's files: those of its code layer, by the rules that hold where nobody wrote others."""
    root = declared.root / folder
    models = (model.path for model in declared.models) if root.resolve() == declared.root.resolve() else ()
    entries = (
        symlink_entry(f"source/{file.path}", file.link)
        if file.link is not None
        else disk_entry(f"source/{file.path}", file.source, file.state.st_size, file.mode)
        for file in list_code(root, CodeSelection(), models)
    )
    return stream_tar(add_parents(entries))
