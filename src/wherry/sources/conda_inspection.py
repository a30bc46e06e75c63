"""Looks into archives of conda packages once, and remembers beside each in the cache that it is sound, and its scripts.

An archive was verified by its digest before it comes here, so what was found stays true of it. What is remembered counts
only for the rules by which it was found: `RULES` is raised whenever the inspection learns to refuse more.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from wherry.errors import FormatError, StoreError
from wherry.formats.conda_package import inspect_conda_package
from wherry.model.conda_package import LinkScript, PackageScripts
from wherry.model.lock import LockedRecord
from wherry.store.posix import write_hint

RULES = 1
_LARGEST = 1 << 20


def inspect_archive(path: Path, record: LockedRecord) -> PackageScripts:
    """The scripts of a verified archive. One that is not sound, or not of the record, is a `FormatError`."""
    remembered = path.with_name(f"{path.name}.inspected")
    scripts = _recall(remembered)
    if scripts is None:
        try:
            with path.open("rb") as stream:
                package = inspect_conda_package(stream, path.name)
        except OSError as error:
            raise StoreError(f"cannot be read: {error.strerror}", where=str(path)) from error
        found, wanted = (package.name, package.version, package.build), (record.name, record.version, record.build)
        if found != wanted or package.subdir not in ("", record.subdir):
            what = f"is of {' '.join(found)} for {package.subdir}, not of {' '.join(wanted)} for {record.subdir}"
            raise FormatError(what, where=path.name, hint=f"wherry lock --upgrade-package {record.name}")
        scripts = PackageScripts(scripts=package.scripts, activation=package.activation)
        write_hint(remembered, json.dumps({"rules": RULES, **asdict(scripts)}).encode())
    return scripts


def _recall(remembered: Path) -> PackageScripts | None:
    try:
        with remembered.open("rb") as source:
            document = json.loads(source.read(_LARGEST))
        if document["rules"] != RULES:
            return None
        scripts = tuple(
            LinkScript(kind=str(script["kind"]), path=str(script["path"]), text=str(script["text"]))
            for script in document["scripts"]
        )
        return PackageScripts(scripts=scripts, activation=tuple(str(path) for path in document["activation"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
