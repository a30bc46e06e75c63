"""Which Python distributions conda's records bring: names differ between the two worlds, and no index tells.

In this order: what the lock says of a record (`provides`, read from its archive), the table that comes with wherry
(`data/conda-names.toml`), and the rule: a record that may hold Python files brings the distribution of its own name, in its own
version. A wrong guess makes a wheel too many or keeps one out, so the table can be refreshed: `wherry lock --refresh-names`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from importlib import resources
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from wherry.model.conda_package import CondaPackage
from wherry.model.lock import LockedRecord

_METADATA = re.compile(
    r"(?:lib/python3\.\d+/)?site-packages/(?P<name>[A-Za-z0-9._]+)-[^/]+\.(?:dist-info/METADATA|egg-info(?:/PKG-INFO)?)"
)
_INTERPRETER = frozenset({"python", "python_abi", "cpython"})


def name_distributions(record: LockedRecord) -> tuple[str, ...]:
    """The normalised names of the distributions that a record brings, as far as is known."""
    if record.provides is not None:
        return record.provides
    return _guess_distributions(record) if looks_worth(record) else ()


def looks_worth(record: LockedRecord) -> bool:
    """Whether a record may bring distributions at all."""
    return record.may_hold_python and record.name not in _INTERPRETER


def note_distributions(record: LockedRecord, package: CondaPackage) -> LockedRecord:
    """The record with what its archive truly brings, where that is another thing than would be guessed."""
    found = tuple(sorted({name for path in package.paths if (name := _name_of_metadata(path.path))}))
    return replace(record, provides=None if found == tuple(sorted(_guess_distributions(record))) else found)


def keep_distributions(records: Iterable[LockedRecord], former: Iterable[LockedRecord]) -> tuple[LockedRecord, ...]:
    """What was found in an archive once holds for later versions of the record, until somebody looks again."""
    known = {record.name: record.provides for record in former}
    return tuple(replace(record, provides=known.get(record.name)) for record in records)


def list_distributions(records: Iterable[LockedRecord]) -> dict[str, str]:
    """Name and version of all that the records bring; without those whose version is none of Python's kind."""
    found: dict[str, str] = {}
    for record in sorted(records, key=lambda each: each.name):
        try:
            version = str(Version(record.version))
        except InvalidVersion:
            continue
        for name in name_distributions(record):
            found.setdefault(name, version)
    return found


def name_in_conda(distribution: str) -> str | None:
    """What conda-forge calls a distribution (a normalised name), where that is known; for hints."""
    for record, brought in sorted(_read_table().items()):
        if distribution in brought:
            return record
    return distribution if distribution in _read_compiled() else None


def _guess_distributions(record: LockedRecord) -> tuple[str, ...]:
    return _read_table().get(record.name, (canonicalize_name(record.name),))


def _name_of_metadata(path: str) -> str:
    """``…/site-packages/NAME-VERSION.dist-info/METADATA`` → the normalised name; for old ones ``.egg-info``."""
    found = _METADATA.fullmatch(path)
    return canonicalize_name(found["name"]) if found is not None else ""


@cache
def _read_table() -> Mapping[str, tuple[str, ...]]:
    return {name: tuple(brought) for name, brought in _read_data()["names"].items()}


@cache
def _read_compiled() -> frozenset[str]:
    return frozenset(_read_data()["compiled"]["same"])


def _read_data() -> dict[str, Any]:
    return tomllib.loads(resources.files("wherry.lock").joinpath("data/conda-names.toml").read_text(encoding="utf-8"))
