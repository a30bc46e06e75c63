"""What changed between two locks of another tool's, of conda packages: by platform, or for all of them where that is one change.

Pure. A package of pip's world is ``pip NAME``. A change on some platforms alone is ``SUBDIR: NAME``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from wherry.deliver.changes import Change, compare_versions
from wherry.model.foreign_lock import ForeignLock


def diff_foreign_locks(base: ForeignLock, target: ForeignLock) -> tuple[Change, ...]:
    """One change for each package that is not the same; its build is shown where the version alone does not tell."""
    before, after = _versions(base), _versions(target)
    subdirs = sorted(before.keys() | after.keys())
    found: dict[Change, list[str]] = defaultdict(list)
    for subdir in subdirs:
        for change in compare_versions(before.get(subdir, {}), after.get(subdir, {})):
            found[_without_build(change)].append(subdir)
    general = [change for change, where in found.items() if len(where) == len(subdirs)]
    special = [_on_platform(change, subdir) for change, where in found.items() if len(where) < len(subdirs) for subdir in where]
    return (*sorted(general, key=lambda change: change.name), *sorted(special, key=lambda change: change.name))


def _versions(lock: ForeignLock) -> Mapping[str, Mapping[str, str]]:
    """Platform → package → version and build."""
    return {
        platform.subdir: {record.name: f"{record.version} {record.build}".strip() for record in platform.records}
        | {f"pip {wheel.name}": wheel.version for wheel in platform.wheels}
        for platform in lock.platforms
    }


def _without_build(change: Change) -> Change:
    versions = [text and text.partition(" ")[0] for text in (change.base, change.target)]
    return change if versions[0] == versions[1] else Change(name=change.name, base=versions[0], target=versions[1])


def _on_platform(change: Change, subdir: str) -> Change:
    return Change(name=f"{subdir}: {change.name}", base=change.base, target=change.target)
