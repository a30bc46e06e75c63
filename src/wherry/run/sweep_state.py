"""A sweep's state in an object store: where each document lies, and the rules of who writes it (docs/spec/sweep-state.md).

    sweeps/ID/spec                      put once; then the sweep exists
    sweeps/ID/rounds/R                  put once, before workers are asked for: owner, expiry, backend
    sweeps/ID/leases/BBBBB/NNN          who runs the task, and which attempt it is; taken over by `put_if_match` alone
    sweeps/ID/attempts/BBBBB/NNN/A/…    what attempt A left: stdout, stderr, metrics, outputs/…
    sweeps/ID/_DONE/BBBBB/NNN           put once: the task's end, and which attempt counts
    sweeps/ID/workers/W                 a worker's signs of life
    sweeps/ID/ends/W/N                  copies of `_DONE` by the hundred, so that lists are read quickly; never needed
    sweeps/ID/cancelled                 the sweep is to end
    tags/ID/R                           a copy of the round while it may stand: what `sweep gc` looks for

Task 42017 is ``00042/017``. A list of the keys below ``_DONE`` says which tasks are finished: no document need be opened for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from wherry.errors import FormatError, StoreError
from wherry.formats.sweep_json import parse_document, parse_journal, render_document, render_journal
from wherry.model.sweep import Beat, Lease, Round, SweepSpec, TaskDone
from wherry.store.objects import Held, ObjectStore

_PLAIN = re.compile(r"[A-Za-z0-9_.-]")
_SPELLED = re.compile(r"=([0-9A-F]{2})")
_PLACE = re.compile(r"[0-9]{5,}/[0-9]{3}")
_AT_ONCE = 16
BLOCK = 1000  # tasks to a folder
_D = TypeVar("_D", Round, Beat)


class SweepState:
    """The state of one sweep. Every method is one call of the store, or says otherwise."""

    def __init__(self, store: ObjectStore, sweep: str) -> None:
        self.store = store
        self.id = sweep
        self._root = f"sweeps/{sweep}"

    # The sweep itself

    def create(self, spec: SweepSpec) -> bool:
        """False: there is one already, and it stays as it is."""
        return self.store.put_if_absent(f"{self._root}/spec", render_document(spec))

    def read_spec(self) -> SweepSpec:
        key = f"{self._root}/spec"
        held = self.store.get(key)
        if held is None:
            raise StoreError(f"there is no sweep {self.id}", where=self.store.url, hint="wherry sweep ls")
        return parse_document(held.data, SweepSpec, key)

    def cancel(self) -> None:
        self.store.put(f"{self._root}/cancelled", b"")

    def resume(self) -> None:
        self.store.delete(f"{self._root}/cancelled")

    def is_cancelled(self) -> bool:
        return self.store.size(f"{self._root}/cancelled") is not None

    # Rounds: what may cost money

    def add_round(self, made: Round) -> None:
        """Write a round down; the tag is there before the round is."""
        self.store.put(_tag(made), render_document(made))
        self.store.put(f"{self._root}/rounds/{made.id}", render_document(made))

    def read_rounds(self) -> tuple[Round, ...]:
        return tuple(_read_all(self.store, f"{self._root}/rounds/", Round))

    def read_tags(self) -> tuple[Round, ...]:
        """Rounds that may stand."""
        return tuple(_read_all(self.store, f"tags/{self.id}/", Round))

    def close_round(self, made: Round) -> None:
        """Nothing of the round stands any more."""
        self.store.delete(_tag(made))

    # Tasks

    def claim(self, lease: Lease, version: str | None = None) -> bool:
        """Take a task that nobody had, or take over the lease of this version."""
        key, data = f"{self._root}/leases/{spread(lease.task)}", render_document(lease)
        return self.store.put_if_absent(key, data) if version is None else self.store.put_if_match(key, data, version)

    def read_lease(self, task: int) -> tuple[Lease, str] | None:
        """Who has a task, and the version that takes it over."""
        key = f"{self._root}/leases/{spread(task)}"
        held = self.store.get(key)
        return None if held is None else (parse_document(held.data, Lease, key), held.version)

    def commit(self, done: TaskDone) -> bool:
        """Make an attempt the one that counts; False where another one is, or this task's end was known."""
        return self.store.put_if_absent(f"{self._root}/_DONE/{spread(done.task)}", render_document(done))

    def read_done(self, task: int) -> TaskDone | None:
        key = f"{self._root}/_DONE/{spread(task)}"
        held = self.store.get(key)
        return None if held is None else _parse_done(held.data, key)

    def is_done(self, task: int) -> bool:
        return self.store.size(f"{self._root}/_DONE/{spread(task)}") is not None

    def list_done(self) -> Iterator[int]:
        """The tasks that are finished, in order: a call for each thousand."""
        return _list_tasks(self.store, f"{self._root}/_DONE/")

    def list_done_beside(self, is_known: Callable[[int], bool]) -> Iterator[int]:
        """Finished tasks in the thousands that `is_known` does not know whole: a call, and one for each of these, some at once."""
        prefix = f"{self._root}/_DONE/"
        blocks = [int(name) for name in self.store.folders(prefix) if name.isdecimal() and not is_known(int(name))]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for keys in pool.map(lambda block: list(_list_keys(self.store, f"{prefix}{block:05}/")), blocks):
                yield from _find_tasks(keys, prefix)

    def list_leased(self) -> Iterator[int]:
        """The tasks that somebody has or had."""
        return _list_tasks(self.store, f"{self._root}/leases/")

    def attempt_key(self, task: int, attempt: int, path: str) -> str:
        """Where an attempt's file lies: ``stdout``, ``stderr``, ``metrics``, ``outputs/…``. What no key can hold is spelled out."""
        return f"{self._root}/attempts/{spread(task)}/{attempt}/{spell(path)}"

    def put_file(self, task: int, attempt: int, path: str, source: bytes | Path) -> None:
        self.store.put(self.attempt_key(task, attempt, path), source)

    # Workers

    def write_beat(self, beat: Beat) -> None:
        self.store.put(f"{self._root}/workers/{beat.worker}", render_document(beat))

    def read_beat(self, worker: str) -> Beat | None:
        key = f"{self._root}/workers/{worker}"
        held = self.store.get(key)
        return None if held is None else parse_document(held.data, Beat, key)

    def read_beats(self) -> tuple[Beat, ...]:
        """All workers that ever were: a call for each, some at once."""
        return tuple(_read_all(self.store, f"{self._root}/workers/", Beat))

    def write_ends(self, worker: str, number: int, ends: Iterable[TaskDone]) -> None:
        self.store.put(f"{self._root}/ends/{worker}/{number:06}", render_journal(ends))

    def read_new_ends(self, known: set[str]) -> Iterator[TaskDone]:
        """Ends that workers copied, in copies that are not `known`; their keys are known then."""
        prefix = f"{self._root}/ends/"
        for key, held in _get_all(self.store, (key for key in _list_keys(self.store, prefix) if key not in known)):
            known.add(key)
            yield from parse_journal(held.data, key)

    def read_dones(self, tasks: Iterable[int]) -> Iterator[TaskDone]:
        """How these tasks ended: a call for each, some at once."""
        for key, held in _get_all(self.store, (f"{self._root}/_DONE/{spread(task)}" for task in tasks)):
            yield _parse_done(held.data, key)

    def read_ends(self) -> dict[int, TaskDone]:
        """How each finished task ended."""
        found = {done.task: done for done in self.read_new_ends(set())}
        found.update((done.task, done) for done in self.read_dones(task for task in self.list_done() if task not in found))
        return found


def list_tags(store: ObjectStore) -> tuple[Round, ...]:
    """Rounds that may stand, of all sweeps of a store."""
    return tuple(_read_all(store, "tags/", Round))


def list_sweeps(store: ObjectStore) -> tuple[str, ...]:
    """The sweeps of a store, by name."""
    return store.folders("sweeps/")


def spread(task: int) -> str:
    """A task's place: a thousand to a folder."""
    return f"{task // BLOCK:05}/{task % BLOCK:03}"


def spell(path: str) -> str:
    """A path as a key: what is no letter, digit or ``_ . -`` as ``=`` and two digits of each byte."""
    return "/".join(map(_spell_part, path.split("/")))


def unspell(key: str) -> str:
    """The path that a key spells."""
    raw = _SPELLED.sub(lambda found: chr(int(found[1], 16)), key)
    return raw.encode("latin-1", "replace").decode("utf-8", "backslashreplace")


def _spell_part(part: str) -> str:
    spelled = (
        letter if _PLAIN.fullmatch(letter) and (place or letter not in ".-") else _spell_letter(letter)
        for place, letter in enumerate(part)
    )
    return "".join(spelled)


def _spell_letter(letter: str) -> str:
    return "".join(f"={byte:02X}" for byte in letter.encode("utf-8", "surrogateescape"))


def _tag(made: Round) -> str:
    return f"tags/{made.sweep}/{made.id}"


def _list_keys(store: ObjectStore, prefix: str) -> Iterator[str]:
    return (one.key for page in store.list(prefix) for one in page)


def _list_tasks(store: ObjectStore, prefix: str) -> Iterator[int]:
    return _find_tasks(_list_keys(store, prefix), prefix)


def _find_tasks(keys: Iterable[str], prefix: str) -> Iterator[int]:
    """The tasks whose places these are; what else lies there is nobody's."""
    for key in keys:
        place = key[len(prefix) :]
        if _PLACE.fullmatch(place):
            yield int(place[:-4]) * BLOCK + int(place[-3:])


def _parse_done(data: bytes, key: str) -> TaskDone:
    done = parse_document(data, TaskDone, key)
    if not key.endswith(f"/{spread(done.task)}"):
        raise FormatError(f"damaged: it is task {done.task}'s", where=key)
    return done


def _get_all(store: ObjectStore, keys: Iterable[str]) -> Iterator[tuple[str, Held]]:
    names = list(keys)
    if len(names) < 2:
        found = map(store.get, names)
        yield from ((key, held) for key, held in zip(names, found, strict=True) if held is not None)
        return
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for key, held in zip(names, pool.map(store.get, names), strict=True):
            if held is not None:
                yield key, held


def _read_all(store: ObjectStore, prefix: str, kind: type[_D]) -> Iterator[_D]:
    for key, held in _get_all(store, _list_keys(store, prefix)):
        yield parse_document(held.data, kind, key)
