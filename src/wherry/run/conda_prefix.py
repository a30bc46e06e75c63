"""Lays out a prefix of conda's: the records of this machine's subdir, with the wheels of the pip section over them.

What names the prefix (files in which it stands, scripts, links, conda-meta) is generated for each; all else is linked with
the cache. `conda-meta/history` is there, so that conda's own programs know the prefix for an environment. No link script
and no activation script is run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from wherry.formats.tar import EntryKind
from wherry.model.progress import Progress
from wherry.run.package_trees import PackageTrees, PlannedPackage
from wherry.sources.staged_records import StagedRecord

_HISTORY = "conda-meta/history"


def fill_prefix(making: Path, packages: Sequence[PlannedPackage], trees: PackageTrees, progress: Progress) -> None:
    """Lay everything out: `packages` are the records and the wheels."""
    for number, planned in enumerate(packages):
        trees.lay_out(planned, making)
        progress("environment", number + 1, len(packages))
    (making / _HISTORY).parent.mkdir(exist_ok=True)
    (making / _HISTORY).write_bytes(b"")


def plan_record(staged: StagedRecord, prefix: str, kept: frozenset[str]) -> PlannedPackage:
    """A record's files. `prefix` has no leading slash; what is not in `kept` another package brings, or nobody wants."""
    own = [staged.files[path] for path in _list_own(staged)]
    known = {entry.path for entry in own}
    start = len(prefix) + 1
    rest = [(entry.path[start:], entry) for entry in staged.entries(prefix, kept)]
    return PlannedPackage(
        sha256=staged.record.sha256,
        own=tuple(own),
        generated=tuple(replace(entry, path=path) for path, entry in rest if path not in known),
        dropped=frozenset(staged.files.keys() - kept),
    )


def _list_own(staged: StagedRecord) -> list[str]:
    """The files that are the same in every prefix."""
    return [
        file.path
        for file in staged.found.files
        if staged.files[file.path].kind is EntryKind.FILE
        and file.document.get("path_type") == "hardlink"
        and "prefix_placeholder" not in file.document
    ]
