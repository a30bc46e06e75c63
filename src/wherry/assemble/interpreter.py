"""Lays the image's interpreter out in the cache, for this host's architecture, so that it can compile bytecode here.

What lies in the cache is named by the packages it was made of, and appears whole or not at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from wherry.assemble.bytecode import HostInterpreter, find_interpreter
from wherry.assemble.debian import debian_entries
from wherry.assemble.spool import Spool
from wherry.engines.unpack import unpack_layer
from wherry.formats.tar import stream_tar
from wherry.model.lock import LayerKind, LockedDeb, LockedInterpreter
from wherry.store.folders import make_folder

Fetch = Callable[[Sequence[LockedDeb]], Sequence[tuple[LockedDeb, Path]]]


def unpack_interpreter(interpreter: LockedInterpreter, debs: Sequence[LockedDeb], fetch: Fetch, cache: Path) -> HostInterpreter:
    """The interpreter of these packages, which are for this host, ready to run."""
    return find_interpreter(unpack_packages(debs, fetch, cache), interpreter.path, interpreter.version)


def unpack_packages(debs: Sequence[LockedDeb], fetch: Fetch, cache: Path) -> Path:
    """The tree of these packages, a root to run programs in."""
    name = hashlib.sha256("\n".join(sorted(str(deb.sha256) for deb in debs)).encode()).hexdigest()[:32]
    root = cache / "interpreters" / name
    if not root.is_dir():
        _unpack(fetch(debs), root)
    return root


def _unpack(debs: Sequence[tuple[LockedDeb, Path]], root: Path) -> None:
    with make_folder(root) as making, Spool(making.parent) as spool:
        parts = [debian_entries(debs, part, spool) for part in (LayerKind.BASE, LayerKind.INTERPRETER)]
        entries = {entry.path: entry for part in parts for entry in part}
        unpack_layer(stream_tar(entries.values()), making, "the interpreter's packages")
