"""The part of an environment that is conda's, on every platform of one declaration: solved, or taken from another tool's lock.

For a project of pip's alone that may be Python by itself, with what it needs.

Opened once per command: the channels' indexes are asked for once, and a foreign lock is read once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from wherry.errors import LockError
from wherry.formats.conda_package import inspect_conda_package
from wherry.lock.candidates import Candidate
from wherry.lock.conda import Channels, CondaTarget, declared_channels, lock_records
from wherry.lock.conda_names import keep_distributions, looks_worth, note_distributions
from wherry.lock.foreign import adopt_records, adopt_wheels, foreign_channels, read_foreign_lock
from wherry.lock.target import WheelTarget
from wherry.lock.wheels import LockOptions
from wherry.model.declaration import CondaRequest, Declaration, EnvironmentKind
from wherry.model.foreign_lock import ForeignLock
from wherry.model.layout import CONDA
from wherry.model.lock import LockedInterpreter, LockedRecord, PlatformLock
from wherry.model.platform import Platform
from wherry.model.progress import Progress
from wherry.sources.conda_channels import CondaChannels

_OTHER_PYTHON = re.compile(r"_(?:pypy|graalpy|cp3\d+t)\w*$")  # other interpreters, and CPython without its lock


@dataclass(frozen=True, slots=True)
class CondaEnvironment:
    """Conda's part of a declaration."""

    declaration: Declaration
    channels: Channels
    options: LockOptions
    foreign: ForeignLock | None

    def lock_records(
        self, platform: Platform, glibc: tuple[int, int], keep: PlatformLock | None
    ) -> tuple[tuple[LockedRecord, ...], LockedInterpreter | None]:
        """The records of one platform, and the Python among them. `glibc` is the base's."""
        if self.foreign is not None:
            file = self.declaration.environment.files[0]
            listed = self.foreign.for_subdir(platform.subdir, file)
            explicit = self.declaration.environment.kind is EnvironmentKind.CONDA_EXPLICIT
            records = adopt_records(listed, file, self.channels, keep, glibc=glibc, says_depends=not explicit)
        else:
            request = self.declaration.environment.conda or CondaRequest()
            target = CondaTarget(platform=platform, glibc=glibc, cuda=self.declaration.cuda)
            records = lock_records(request, target, self.channels, keep=keep, options=self.options)
        records = keep_distributions(records, keep.records if keep is not None else ())
        if self.options.refresh_names:
            records = self._refresh_names(records)
        return records, _find_python(records)

    def _refresh_names(self, records: tuple[LockedRecord, ...]) -> tuple[LockedRecord, ...]:
        worth = [record for record in records if looks_worth(record)]
        looked = {}
        for record, path in zip(worth, self.channels.fetch_all(worth), strict=True):
            with path.open("rb") as stream:
                looked[record.name] = note_distributions(record, inspect_conda_package(stream, record.file))
        return tuple(looked.get(record.name, record) for record in records)

    @property
    def names_wheels(self) -> bool:
        """Whether another tool's lock names the wheels; else what is asked of pip is to be resolved."""
        return self.foreign is not None

    def foreign_wheels(self, target: WheelTarget, built: Mapping[str, Candidate]) -> tuple[Candidate, ...]:
        """The wheels that another tool's lock names, and of its source archives what was `built` of them."""
        if self.foreign is None:
            return ()
        file = self.declaration.environment.files[0]
        folder = (self.declaration.root / file).parent
        return adopt_wheels(self.foreign.for_subdir(target.platform.subdir, file), file, folder, target, built)


@contextmanager
def open_conda(
    declaration: Declaration,
    environment: Mapping[str, str],
    cache: Path,
    options: LockOptions,
    progress: Progress,
) -> Iterator[CondaEnvironment | None]:
    """Conda's part of a declaration, with connections that close at the end; None where it has none."""
    if not declaration.environment.has_records:
        yield None
        return
    foreign = read_foreign_lock(declaration) if declaration.environment.conda is None else None
    declared = _named_channels(declaration, foreign)
    with closing(
        CondaChannels(environment, cache, declared=declared, root=declaration.root, offline=options.offline, progress=progress)
    ) as channels:
        yield CondaEnvironment(declaration, channels, options, foreign)


def list_channels(declaration: Declaration) -> tuple[str, ...]:
    """The channels of a declaration as they were written, for whoever fetches what was locked from them."""
    if not declaration.environment.has_records:
        return ()
    return _named_channels(declaration, None if declaration.environment.conda is not None else read_foreign_lock(declaration))


def _named_channels(declaration: Declaration, foreign: ForeignLock | None) -> tuple[str, ...]:
    if foreign is not None:
        return foreign_channels(foreign)
    request = declaration.environment.conda
    return declared_channels(request) if request is not None else ()


def _find_python(records: tuple[LockedRecord, ...]) -> LockedInterpreter | None:
    for record in records:
        if record.name == "python":
            if _OTHER_PYTHON.search(record.build):
                raise LockError(
                    f"this Python is not CPython as wheels know it: {record.name} {record.version} {record.build}",
                    where=f"{record.channel}/{record.subdir}",
                    hint="name a build among the dependencies: python=3.13=*_cp313, or *_cpython for older ones",
                )
            minor = ".".join(record.version.split(".")[:2])
            return LockedInterpreter(source="conda", version=record.version, path=f"/{CONDA}/bin/python{minor}")
    return None
