"""Which Python distributions conda's records bring: names differ between the two worlds, and no index tells.

In this order: what the lock says of a record (`provides`, read from its archive), the table that comes with wherry
(`data/conda-names.toml`), and the rule: a record that may hold Python files brings the distribution of its own name, in its own
version. A wrong guess makes a wheel too many or keeps one out, so the table can be refreshed: `wherry lock --refresh-names`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from wherry.model.lock import LockedRecord

_INTERPRETER = frozenset({"python", "python_abi", "cpython"})


def name_distributions(record: LockedRecord) -> tuple[str, ...]:
    """The normalised names of the distributions that a record brings, as far as is known."""
    if record.provides is not None:
        return record.provides
    if not record.may_hold_python or record.name in _INTERPRETER:
        return ()
    return _read_table().get(record.name, (canonicalize_name(record.name),))


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


@cache
def _read_table() -> Mapping[str, tuple[str, ...]]:
    text = resources.files("wherry.lock").joinpath("data/conda-names.toml").read_text(encoding="utf-8")
    return {name: tuple(brought) for name, brought in tomllib.loads(text)["names"].items()}
