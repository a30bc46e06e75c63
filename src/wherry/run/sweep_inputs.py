"""Brings a sweep's declared inputs to this machine, once for all of its tasks, and shows each attempt its own, to be read only.

What is wrong with an input itself (it is not there, it has another digest) fails the task, as a command that is not there does:
`CommandError` with the code of EX_NOINPUT, and no task of this worker asks for it again. Trouble of this machine or of the way
(no access, a full disk, a store that is down for long) fails no task.
"""

from __future__ import annotations

import hashlib
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from wherry.errors import TrustError, WherryError
from wherry.formats.object_address import AddressError, ObjectAddress, is_plain_path, parse_address
from wherry.model.sweep import Sweep, SweepInput, TakenInput
from wherry.run.sweep_launch import CommandError
from wherry.run.sweep_watch import StopSign
from wherry.store.input_cache import Fetched, InputCache
from wherry.store.object_download import Progress, Traffic
from wherry.store.object_sources import ObjectSources
from wherry.store.parallel import run_jobs

NO_INPUT = 66  # EX_NOINPUT of sysexits.h
_FILES = 8  # of a folder, at once
_TELL = 10.0
_MEGA = 1_000_000
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """What a task finds at `folder`; None where its sweep has no inputs."""

    folder: Path | None = None
    taken: tuple[TakenInput, ...] = ()


class TaskInputs:
    """The inputs of one sweep for one worker; `root` is where this machine keeps them, `env` where endpoints are read.

    What a worker has seen at an address stays that for all of its tasks, whatever becomes of the address.
    """

    def __init__(self, sweep: Sweep, root: Path, env: Mapping[str, str], stop: StopSign, say: Say = lambda _text: None) -> None:
        self._sweep = sweep
        self._root = root
        self._stop = stop
        self._say = say
        self._traffic = Traffic(stopped=lambda: stop.given)
        self._sources = ObjectSources(env)
        self._opened = ExitStack()
        self._opening = threading.Lock()
        self._cache: InputCache | None = None
        self._views: Path | None = None
        self._seen: dict[str, Fetched] = {}
        self._listed: dict[str, tuple[str, ...]] = {}
        self._refused: dict[str, CommandError] = {}

    def bring(self, task: int, attempt: int) -> Brought | None:
        """A task's inputs, until they are dropped; None: the worker was to stop meanwhile."""
        if not self._sweep.inputs:
            return Brought()
        cache, folder = self._open_cache(), self._folder_of(task, attempt)
        values = self._sweep.texts_of(task)
        try:
            taken = tuple(self._bring_one(cache, one, values, folder) for one in self._sweep.inputs)
        except WherryError:
            if self._stop.given:
                return None
            raise
        return Brought(folder=folder, taken=taken)

    def drop(self, task: int, attempt: int) -> None:
        """The attempt is over. What was downloaded stays, for others."""
        if self._views is not None:
            shutil.rmtree(self._folder_of(task, attempt), ignore_errors=True)

    def close(self) -> None:
        self._opened.close()

    def _open_cache(self) -> InputCache:
        with self._opening:
            if self._cache is None:
                cache = InputCache(self._root, self._traffic)
                self._views = self._opened.enter_context(cache.open_views(self._sweep.name))
                self._cache = cache
            return self._cache

    def _folder_of(self, task: int, attempt: int) -> Path:
        assert self._views is not None  # noqa: S101
        return self._views / f"{task}.{attempt}"

    def _bring_one(self, cache: InputCache, one: SweepInput, values: Mapping[str, str], folder: Path) -> TakenInput:
        text = one.address_of(values)
        try:
            address = parse_address(text)
        except AddressError as error:
            raise CommandError(f"the input for {one.target}: {error.what}\ntry: {error.hint}", NO_INPUT) from None
        digests, base = dict(one.digests), _base_of(one.source)
        if address.is_folder:
            return self._bring_folder(cache, one.target, address, _digests_below(digests, text[len(base) :]), folder)
        name = text[len(base) :]
        if digests and name not in digests:
            raise CommandError(f"{address}: the manifest has no {name}", NO_INPUT)
        found = self._bring_file(cache, address, digests.get(name), folder / one.target)
        return TakenInput(path=one.target, address=str(address), size=found.size, sha256=found.sha256, version=found.version)

    def _bring_folder(
        self, cache: InputCache, target: str, address: ObjectAddress, digests: Mapping[str, str], folder: Path
    ) -> TakenInput:
        names = tuple(digests) or self._list_names(address)
        found: dict[str, Fetched] = {}

        def bring(name: str) -> None:
            place = replace(address, key=f"{address.key}{name}")
            found[name] = self._bring_file(cache, place, digests.get(name), folder / target / name)

        run_jobs((partial(bring, name) for name in names), _FILES, threading.Event())
        lines = "".join(f"{found[name].sha256}  {name}\n" for name in sorted(found))
        total = hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()
        return TakenInput(path=target, address=str(address), size=sum(one.size for one in found.values()), sha256=total)

    def _list_names(self, address: ObjectAddress) -> tuple[str, ...]:
        """What lies in a folder. Names are a stranger's: none may lead out of the folder that it is put into."""
        known = self._listed.get(str(address))
        if known is not None:
            return known
        names = self._traffic.persist(lambda: tuple(sorted(self._sources.list_folder(address))))
        strange = [name for name in names if not is_plain_path(name)]
        if not names or strange:
            what = f"no file can be called {strange[0]!r}" if strange else "nothing lies there"
            raise CommandError(f"{address}: {what}", NO_INPUT)
        return self._listed.setdefault(str(address), names)

    def _bring_file(self, cache: InputCache, address: ObjectAddress, sha256: str | None, target: Path) -> Fetched:
        name = str(address)
        if refused := self._refused.get(name):
            raise refused
        seen = self._seen.get(name)
        try:
            known = sha256 or (seen.sha256 if seen else None)
            found = cache.fetch(self._sources.open(address), target, known, self._report(name))
        except TrustError as error:
            self._refused[name] = CommandError(str(error), NO_INPUT)
            raise self._refused[name] from None
        if found is None:
            raise CommandError(f"{name}: there is no such object", NO_INPUT)
        return self._seen.setdefault(name, found)

    def _report(self, name: str) -> Progress:
        """Says how far a download is, now and then."""
        told, before = time.monotonic(), 0

        def report(there: int, size: int, connections: int) -> None:
            nonlocal told, before
            now = time.monotonic()
            if now - told >= _TELL:
                self._say(_render_progress(name, there, size, connections, (there - before) / (now - told)))
                told, before = now, there

        return report


def _base_of(source: str) -> str:
    """The beginning of an address that no parameter changes, up to a ``/``: names in manifests come after it."""
    return source.partition("{")[0].rpartition("/")[0] + "/"


def _digests_below(digests: Mapping[str, str], folder: str) -> dict[str, str]:
    return {name.removeprefix(folder): digest for name, digest in digests.items() if name.startswith(folder)}


def _render_progress(name: str, there: int, size: int, connections: int, rate: float) -> str:
    amounts = f"{there / _MEGA:.0f} of {size / _MEGA:.0f} MB"
    return f"{name}: {amounts}, {rate / _MEGA:.0f} MB/s over {connections} connections"
