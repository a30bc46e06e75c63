"""Conda's channels: their indexes and the archives of locked records, each kept in the cache.

An index decides nothing but what to lock (`conda_repodata`). An archive is looked for by its sha256: in the cache; in the
folders given by `--find`; in its channel, at each of the addresses that this machine's conda configuration names. It is
believed only when its sha256 and size are the locked ones, also from a local folder; one that lies in the cache is hashed
again each time it is wanted, because whoever unpacks it trusts it blindly. Then it is inspected: an archive that is not sound
inside (`formats.conda_package`) is given to nobody.

No message holds a login or a channel's token, and no file in the cache does. Thread-safe.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import quote

from wherry.errors import FormatError, LockError, StoreError, TransferError, TrustError, WherryError
from wherry.formats.urls import strip_channel_credentials
from wherry.model.conda_package import PackageScripts
from wherry.model.digest import Digest
from wherry.model.lock import LockedRecord
from wherry.model.progress import Progress, be_silent
from wherry.sources.conda_addresses import ChannelAddresses
from wherry.sources.conda_configuration import read_conda_configuration
from wherry.sources.conda_inspection import inspect_archive
from wherry.sources.conda_logins import ChannelLogins
from wherry.sources.conda_repodata import RepodataCache
from wherry.sources.transport import MissingError, Transport
from wherry.sources.unlisted_archive import measure_archive
from wherry.store.parallel import run_jobs

AT_ONCE = 8


class CondaChannels:
    """`declared` are the channels as the author wrote them, names or addresses; folders among them are relative to `root`."""

    def __init__(
        self,
        env: Mapping[str, str],
        cache: Path,
        *,
        declared: Sequence[str] = (),
        root: Path = Path(),
        offline: bool = False,
        find: Sequence[Path] = (),
        progress: Progress = be_silent,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        configuration = read_conda_configuration(env)
        offline = offline or configuration.offline
        self._addresses = ChannelAddresses(configuration, declared, root)
        self._logins = ChannelLogins(env, adds_tokens=configuration.adds_tokens)
        self._cache = cache
        self._find = tuple(find)
        self._progress = progress
        self._transport = Transport(
            {**{f"{scheme}_proxy": proxy for scheme, proxy in configuration.proxies.items()}, **env},
            self._logins,
            certificates=configuration.certificates,
            trusted_hosts=() if configuration.checks_certificates else self._addresses.hosts(declared),
            offline=offline,
            show=strip_channel_credentials,
            pause=pause,
        )
        self._repodata = RepodataCache(cache, self._transport, offline=offline, progress=progress)

    def close(self) -> None:
        self._transport.close()

    def name_of(self, channel: str) -> str:
        """What a lock calls a channel that is given by name or address: never an address, never a credential."""
        return self._addresses.name_of(channel)

    def expand(self, channel: str) -> tuple[str, ...]:
        """The names of the channels behind a name or address: several for a multichannel such as ``defaults``."""
        return self._addresses.expand(channel)

    def describe(self, channel: str) -> str:
        """For messages: where a channel is looked for, without credentials."""
        return ", ".join(strip_channel_credentials(address) for address in self._addresses.addresses_of(channel))

    def fetch_repodata(self, channel: str, subdir: str) -> Path | None:
        """The `repodata.json` of a single channel's subdir, in the cache; None where the channel has no such subdir.

        Raises `TransferError` where no address of the channel answers, `FormatError` for what is no index.
        """
        return self._repodata.fetch(self._places_of(channel), subdir)

    def fetch_all(self, records: Sequence[LockedRecord]) -> list[Path]:
        """The verified, inspected archives in the cache, in the order of `records`.

        The first error, or Ctrl-C, ends all of them. `TrustError`: other bytes than were locked, from wherever they come, or an
        archive altered in the cache. `FormatError`: an archive that is damaged, hostile, or of another package.
        """
        stopped = threading.Event()

        def tell(file: str, done: int, total: int) -> None:
            if stopped.is_set():
                raise TransferError("stopped", where=file)
            self._progress(file, done, total)

        greatest_first = sorted(set(records), key=lambda record: (-record.size, record.file))
        run_jobs((partial(self._fetch, record, tell) for record in greatest_first), AT_ONCE, stopped)
        return [self.path_of(record) for record in records]

    def scripts_of(self, record: LockedRecord) -> PackageScripts:
        """What would run of a fetched record if conda installed it; wherry runs none of it."""
        return inspect_archive(self.path_of(record), record)

    def measure(self, channel: str, subdir: str, file: str, md5: str | None) -> tuple[int, Digest, Path]:
        """Size, sha256 and place of an archive that no index tells them of: it is fetched, and stays in the cache."""
        urls = [f"{address}/{subdir}/{quote(file, safe='!+=~')}" for address in self._places_of(channel)]
        return measure_archive(urls, file, md5, self._transport, self._cache, self._progress)

    def path_of(self, record: LockedRecord) -> Path:
        """Where a record's archive lies once it is fetched."""
        if record.file != Path(record.file).name or not record.file.endswith((".conda", ".tar.bz2")):
            raise FormatError(f"no name of a conda package: {record.file!r}", where="wherry.lock")
        return self._cache / "artefacts" / "sha256" / record.sha256.hex / record.file

    def _fetch(self, record: LockedRecord, progress: Progress) -> None:
        target = self.path_of(record)
        if target.exists():
            _verify_cached(target, record)
        else:
            self._fetch_missing(record, target, progress)
        inspect_archive(target, record)

    def _fetch_missing(self, record: LockedRecord, target: Path, progress: Progress) -> None:
        problems: list[WherryError] = []
        for url in self._places(record):
            try:
                return self._transport.download(url, target, record.sha256, record.size, progress)
            except TransferError as error:
                problems.append(error)
        for problem in problems:
            if not isinstance(problem, MissingError) or not problem.gone:
                raise problem
        raise LockError(
            f"{record.name} {record.version} is nowhere to be found: {record.subdir}/{record.file} of {record.channel}",
            where="wherry.lock",
            hint=f"wherry lock --upgrade-package {record.name}, or --find DIR with a folder that has the file",
        )

    def _places_of(self, channel: str) -> list[str]:
        """The addresses of a channel as they are asked: with the token that is kept for them."""
        return [self._logins.add_token(address) for address in self._addresses.addresses_of(channel)]

    def _places(self, record: LockedRecord) -> Iterator[str]:
        for folder in self._find:
            for path in (folder / record.file, folder / record.subdir / record.file, folder / record.sha256.hex / record.file):
                if path.is_file():
                    yield path.resolve().as_uri()
        for address in self._places_of(record.channel):
            yield f"{address}/{record.subdir}/{quote(record.file, safe='!+=~')}"


def _verify_cached(path: Path, record: LockedRecord) -> None:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StoreError(f"cannot be read: {error.strerror}", where=str(path)) from error
    if found != record.sha256.hex:
        what = f"{record.file} was altered in the cache: it has the digest sha256:{found} instead of {record.sha256}"
        raise TrustError(what, where=str(path), hint="find out who did that; without the file it is fetched again")
