"""Conda's side of a build: where its locked records come from, and its Python as this host can run it.

Locking and assembling are strangers; a Python for this host, where the lock has none, needs both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from wherry.assemble.bytecode import HostInterpreter
from wherry.assemble.conda_python import unpack_conda_python
from wherry.assemble.packages import NO_CONDA, CondaSource
from wherry.errors import LockError, StoreError, TransferError
from wherry.lock.conda import CondaTarget, lock_records
from wherry.lock.conda_environment import list_channels
from wherry.lock.wheels import LockOptions
from wherry.model.declaration import CondaRequest, CondaSpec, Declaration
from wherry.model.lock import Lock, LockedRecord, PlatformLock
from wherry.model.progress import Progress
from wherry.sources.conda_channels import CondaChannels
from wherry.store.host import read_host_glibc, read_host_platform


@dataclass(frozen=True, slots=True)
class CondaSide:
    """The channels of one declaration's lock, for all of its platforms."""

    channels: CondaChannels
    cache: Path
    offline: bool

    def source(self, locked: PlatformLock, lock: Lock) -> CondaSource:
        """What the assembling of one platform needs."""
        return CondaSource(fetch=self._fetch, interpreter=partial(self._interpreter, locked, lock))

    def _fetch(self, records: Sequence[LockedRecord]) -> Mapping[str, Path]:
        return {record.name: path for record, path in zip(records, self.channels.fetch_all(records), strict=True)}

    def _interpreter(self, locked: PlatformLock, lock: Lock) -> HostInterpreter:
        host = read_host_platform()
        on_host = next((one for one in lock.platforms if one.platform == host and one.interpreter == locked.interpreter), None)
        records = on_host.records if on_host is not None else self._find_python(locked)
        return unpack_conda_python(locked.interpreter, records, self._fetch, self.cache)

    def _find_python(self, locked: PlatformLock) -> tuple[LockedRecord, ...]:
        """The same version of Python for this host, out of the same channels."""
        version, host = locked.interpreter.version, read_host_platform()
        request = CondaRequest(
            channels=tuple(dict.fromkeys(record.channel for record in locked.records)),
            specs=(CondaSpec(text=f"python =={version}", name="python"),),
        )
        target = CondaTarget(platform=host, glibc=read_host_glibc())
        try:
            return lock_records(request, target, self.channels, keep=None, options=LockOptions(offline=self.offline))
        except (LockError, TransferError) as error:
            raise StoreError(
                f"bytecode for {locked.platform} needs Python {version} on this host, {host}: {error.what}",
                where=error.where,
                hint='layers-from = [an image that was built on another host], or bytecode = "cache" or "none"',
            ) from error


@contextmanager
def open_conda_side(
    declared: Declaration,
    lock: Lock,
    env: Mapping[str, str],
    cache: Path,
    *,
    offline: bool,
    find: Sequence[Path],
    progress: Progress,
) -> Iterator[CondaSide | None]:
    """Conda's side of a lock, with connections that close at the end; None where nothing in it is conda's."""
    if not any(locked.records for locked in lock.platforms):
        yield None
        return
    channels = CondaChannels(
        env, cache, declared=list_channels(declared), root=declared.root, offline=offline, find=find, progress=progress
    )
    with closing(channels):
        yield CondaSide(channels, cache, offline)


def conda_source(side: CondaSide | None, locked: PlatformLock, lock: Lock) -> CondaSource:
    """The source of one platform's records, whether or not it has any."""
    return side.source(locked, lock) if side is not None else NO_CONDA
