"""`wherry check --fix`: writes the remedies into the declaration and locks again; a lock that fails takes the edits back."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from wherry.cli.talk import format_size, say, show_progress
from wherry.declare.edit import add_system_packages, replace_requirement
from wherry.declare.project import read_declaration
from wherry.lock.storage import read_lock
from wherry.model.lock import Lock, PlatformLock
from wherry.model.report import Finding, Report, Severity
from wherry.pipeline import Project
from wherry.store.posix import write_atomically

_EDITED = ("wherry.toml", "wherry.lock")


def fix_project(root: Path, reports: Sequence[Report], severities: Sequence[Severity]) -> bool:
    """Write what would mend the findings of these severities. Gives whether each of them has been seen to."""
    findings = [one for report in reports for one in report.findings if one.severity in severities]
    fixable = [one for one in findings if one.fix]
    if not fixable:
        say("nothing that could be mended in the declaration" if findings else "nothing to mend")
        return not findings
    declared = read_declaration(root, os.environ)
    before = read_lock(root)
    with _taken_back_on_failure(root, [*_EDITED, *declared.environment.files]), show_progress() as progress:
        left = _edit(root, fixable)
        lock = Project(root, say=say, progress=progress).lock().value
    if before:
        _say_price(before, lock)
    say("wherry build, then wherry check, shows whether that is all")
    return not left and len(fixable) == len(findings)


def _edit(root: Path, findings: Sequence[Finding]) -> list[str]:
    """Gives the requirements that nobody asks for in a place that can be edited."""
    requirements = read_declaration(root, os.environ).environment.requirements
    fixes = [one.fix for one in findings if one.fix]
    left = []
    for former, wanted in dict.fromkeys(pair for fix in fixes for pair in fix.replacements):
        file = replace_requirement(root, requirements, former, wanted)
        if file:
            say(f"{file.name}: {wanted} in place of {former}")
        else:
            left.append(former)
            say(f"{former} is not named on a line of a requirements file: ask for {wanted} by hand")
    packages = dict.fromkeys(package for fix in fixes for package in fix.system_packages)
    if packages:
        file = add_system_packages(root, packages)
        say(f"{file.name}: system-packages, with {', '.join(packages)}")
    return left


@contextmanager
def _taken_back_on_failure(root: Path, files: Sequence[str]) -> Iterator[None]:
    former = {root / file: (root / file).read_bytes() if (root / file).is_file() else None for file in files}
    try:
        yield
    except BaseException:
        for path, data in former.items():
            if data is None:
                path.unlink(missing_ok=True)
            else:
                write_atomically(path, data)
        say("the edits are taken back")
        raise


def _say_price(before: Lock, after: Lock) -> None:
    known = {one.platform: one for one in before.platforms}
    for locked in after.platforms:
        former = known.get(locked.platform)
        if former is None or former == locked:
            continue
        had = {deb.name for deb in former.debs}
        added = [deb for deb in locked.debs if deb.name not in had]
        more = f"; {len(added)} Debian packages more, {format_size(sum(deb.size for deb in added))} to fetch" if added else ""
        say(f"{locked.platform}: {format_size(_weigh(former))} of packages before, {format_size(_weigh(locked))} now{more}")


def _weigh(locked: PlatformLock) -> int:
    """Bytes of all packages as they are published."""
    return sum(one.size for packages in (locked.debs, locked.wheels, locked.records) for one in packages)
