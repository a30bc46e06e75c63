"""Lays conda's Python out in the cache, for this host, so that it can compile bytecode here.

The records are those of the image's Python and of what it needs, for this host's subdir. They are laid out as for an image and
started with this host's own loader, as conda starts them. What lies in the cache is named by the records it was made of, and
appears whole or not at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from wherry.assemble.bytecode import HostInterpreter, check_interpreter
from wherry.assemble.packages import FetchRecords, read_contents
from wherry.assemble.records import plan_records
from wherry.assemble.wheels import NO_WHEELS
from wherry.engines.unpack import unpack_layer
from wherry.formats.tar import TarEntry, add_parents, stream_tar
from wherry.model.layout import EnvironmentLayout, environment_layout
from wherry.model.lock import LockedInterpreter, LockedRecord
from wherry.sources.staged_records import stage_records
from wherry.store.folders import make_folder


def unpack_conda_python(
    interpreter: LockedInterpreter, records: Sequence[LockedRecord], fetch: FetchRecords, cache: Path
) -> HostInterpreter:
    """The Python among `records`, which are this host's, ready to run."""
    needed = python_closure(records)
    name = hashlib.sha256("\n".join(sorted(str(record.sha256) for record in needed)).encode()).hexdigest()[:32]
    root = cache / "interpreters" / f"conda-{name}"
    if not root.is_dir():
        archives = fetch(needed)
        with make_folder(root) as making:
            entries = _lay_out(needed, archives, environment_layout(interpreter), cache)
            unpack_layer(stream_tar(entries), making, "conda's Python")
    program = root / interpreter.path.lstrip("/")
    return check_interpreter(root, (str(program),), interpreter.path, interpreter.version)


def python_closure(records: Sequence[LockedRecord]) -> tuple[LockedRecord, ...]:
    """The record of Python and all that it needs, sorted by name."""
    known = {record.name: record for record in records}
    found: set[str] = set()
    waiting = ["python"]
    while waiting:
        name = waiting.pop()
        if name in known and name not in found:
            found.add(name)
            waiting += known[name].requires
    return tuple(known[name] for name in sorted(found))


def _lay_out(
    records: Sequence[LockedRecord], archives: Mapping[str, Path], environment: EnvironmentLayout, folder: Path
) -> Iterator[TarEntry]:
    planned = plan_records(list(read_contents(records, archives, environment)), NO_WHEELS, environment)
    pairs = [(record, archives[record.name]) for record in records]
    python = f"{environment.minor}.0"
    with stage_records(pairs, python=python, prefix=environment.prefix, folder=folder) as staged:
        kept = planned.kept
        yield from add_parents(entry for name, one in staged.items() for entry in one.entries(environment.prefix, kept[name]))
