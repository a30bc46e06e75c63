"""What a power cut may leave of a folder: every moment of a run is kept, and the states that a file system may show after it.

The rules are those of POSIX, and nothing kinder: a file's bytes are on the disk when it was fsynced, a name when its folder was;
before that, each of them may be there or not, whatever the order in which it was written. A file that was not fsynced may have
its former bytes, none of them, a part or all. Moments are the calls of fsync, rename, unlink, mkdir and rmdir, and those that a
test names.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

_CALLS = ("fsync", "rename", "replace", "unlink", "mkdir", "rmdir", "link", "posix_fallocate")
Tree = dict[str, bytes | None]  # path → bytes; None: a folder


@dataclass(frozen=True)
class _Look:
    """A folder as it is: names to inodes, and inodes' bytes."""

    names: dict[str, int]
    contents: dict[int, bytes | None]


@dataclass(frozen=True)
class Moment:
    """The folder as it is, what of it is on the disk, and the folder beside it, which is always on the disk."""

    what: str
    live: _Look
    durable: dict[int, bytes | None]  # inode → the bytes that are on the disk
    durable_names: dict[str, int]
    beside: Tree


@dataclass
class PowerRecorder:
    """Watches `folder`, and takes `beside` as it is, while work is done; `states` gives what a cut at any moment may leave."""

    folder: Path
    beside: Path
    moments: list[Moment] = field(default_factory=list)
    _durable: dict[int, bytes | None] = field(default_factory=dict)
    _durable_names: dict[str, int] = field(default_factory=dict)
    _watching: bool = False
    _held: dict[int, int] = field(default_factory=dict)  # inode → open file: so that no number is given twice

    @contextmanager
    def watch(self) -> Iterator[None]:
        """What is there at the start is on the disk."""
        look = self._look()
        self._durable, self._durable_names = dict(look.contents), dict(look.names)
        former = {name: getattr(os, name) for name in _CALLS}
        for name in _CALLS:
            setattr(os, name, self._wrap(name, former[name]))
        self._watching = True
        try:
            yield
        finally:
            self._watching = False
            for name, function in former.items():
                setattr(os, name, function)
            for handle in self._held.values():
                os.close(handle)

    def note(self, what: str) -> None:
        """A moment, unless it is like the one before."""
        if not self._watching:
            return
        self._watching = False
        moment = Moment(what, self._look(), dict(self._durable), dict(self._durable_names), read_tree(self.beside))
        if not self.moments or replace(self.moments[-1], what=what) != moment:
            self.moments.append(moment)
        self._watching = True

    def states(self, dice: random.Random, each: int) -> Iterator[tuple[str, Tree, Tree]]:
        """For each moment all as it was, only what is on the disk, and `each` mixtures, with what is beside; equal ones once."""
        seen: set[int] = set()
        for moment in self.moments:
            for number in range(each + 2):
                tree = _mix(moment, dice, {0: 1.0, 1: 0.0}.get(number, dice.random()))
                mark = hash((tuple(sorted(tree.items())), tuple(sorted(moment.beside.items()))))
                if mark not in seen:
                    seen.add(mark)
                    yield f"{moment.what} #{number}", tree, moment.beside

    def _wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            self.note(f"before {name}")
            result = function(*arguments, **more)
            if name == "fsync":
                self._sync(arguments[0])
            self.note(f"after {name}")
            return result

        return call

    def _sync(self, handle: Any) -> None:
        inode = os.fstat(handle if isinstance(handle, int) else handle.fileno()).st_ino
        look = self._look()
        if inode not in look.contents:
            return
        self._durable[inode] = look.contents[inode]
        for folder in [path for path, number in look.names.items() if number == inode and look.contents[inode] is None]:
            others = {path: number for path, number in self._durable_names.items() if not path or _parent(path) != folder}
            own = {path: number for path, number in look.names.items() if path and _parent(path) == folder}
            self._durable_names = others | own

    def _look(self) -> _Look:
        names: dict[str, int] = {"": self.folder.stat().st_ino}
        contents: dict[int, bytes | None] = {names[""]: None}
        for path in sorted(self.folder.rglob("*")):
            inode = path.lstat().st_ino
            if inode not in self._held:
                self._held[inode] = os.open(path, os.O_RDONLY)
                self._durable.setdefault(inode, None if path.is_dir() else b"")
            names[path.relative_to(self.folder).as_posix()] = inode
            contents[inode] = None if path.is_dir() else path.read_bytes()
        return _Look(names, contents)


def read_tree(folder: Path) -> Tree:
    """A folder's files and folders."""
    paths = sorted(folder.rglob("*"))
    return {path.relative_to(folder).as_posix(): None if path.is_dir() else path.read_bytes() for path in paths}


def lay_out(tree: Tree, folder: Path) -> None:
    """Make a state on the disk."""
    folder.mkdir(parents=True, exist_ok=True)
    for path, data in tree.items():
        if data is None:
            (folder / path).mkdir(parents=True, exist_ok=True)
        else:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)


def _mix(moment: Moment, dice: random.Random, share: float) -> Tree:
    """A state in which each thing that is not certain happened with the chance `share`."""
    tree: Tree = {}
    live, names = moment.live, moment.durable_names
    for path in sorted({*live.names, *names}):
        now, before = live.names.get(path), names.get(path)
        inode = now if now == before or dice.random() < share else before
        if inode is None or not path or (_parent(path) and tree.get(_parent(path), b"") is not None):
            continue  # it is not there, or its folder is not
        known = live.contents[inode] if inode in live.contents else moment.durable[inode]
        tree[path] = _choose_bytes(known, moment.durable.get(inode) or b"", dice, share)
    return tree


def _choose_bytes(now: bytes | None, before: bytes, dice: random.Random, share: float) -> bytes | None:
    if now is None or now == before or share == 1.0:
        return now
    if share == 0.0:
        return before
    cut = dice.randrange(len(now) + 1)
    return dice.choice((now, before, now[:cut], now[:cut] + bytes(len(now) - cut)))


def _parent(path: str) -> str:
    return path.rpartition("/")[0]
