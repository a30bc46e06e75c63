"""Is every file of a conda prefix what its package says? By the `paths_data` of conda-meta's records.

A file that two packages bring is one of theirs, whichever won. Bytecode, which is made when a package is laid out, is not
missed. A record that is not sound tells nothing, and is passed over: conda itself would not read it either.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from wherry.check.contents import Contents
from wherry.check.tree import Tree
from wherry.errors import FormatError
from wherry.formats.prefix_record import InstalledFile, parse_prefix_record
from wherry.model.report import Finding, Severity

_RECORD = re.compile(r"((?:.*/)?)conda-meta/[^/]+\.json")
_BYTECODE = re.compile(r"(?:.*/)?__pycache__/.*|.*\.py[co]")
_AGAIN = "install the package again, or build the image again"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixClaims:
    """What a package of conda's brought: its files with their sha256, None where that is not to be compared."""

    name: str
    files: Mapping[str, str | None]


def read_prefix_records(contents: Contents) -> tuple[PrefixClaims, ...]:
    """Every sound record of the conda prefixes in a root."""
    found = ((match[1], text) for path, text in contents.lists().items() if (match := _RECORD.fullmatch(path)))
    return tuple(record for prefix, text in found if (record := _read(prefix, text)) is not None)


def judge_prefixes(tree: Tree, contents: Contents, records: tuple[PrefixClaims, ...]) -> Iterator[Finding]:
    """Altered and missing files, by package."""
    claims: dict[str, set[str | None]] = {}
    for record in records:
        for path, digest in record.files.items():
            claims.setdefault(path, set()).add(digest)
    for record in records:
        altered, missing = [], []
        for path in record.files:
            found = None if _BYTECODE.fullmatch(path) else tree.resolve(path)
            if found is None:
                if not _BYTECODE.fullmatch(path) and path not in tree.entries:
                    missing.append(f"/{path}")
            elif None not in claims[path] and (real := contents.sha256(found)) is not None and real not in claims[path]:
                altered.append(f"/{path}")
        for rule, paths, say in (("altered-file", altered, "not what its record says"), ("missing-file", missing, "not there")):
            if paths:
                what = f"{len(paths)} file{'' if len(paths) == 1 else 's'} of conda's {record.name} {say}"
                yield Finding(
                    rule=rule,
                    severity=Severity.ERROR,
                    subject=record.name,
                    what=what,
                    where=tuple(paths),
                    owner=record.name,
                    remedy=_AGAIN,
                )


def _read(prefix: str, text: str) -> PrefixClaims | None:
    try:
        record = parse_prefix_record(text.encode(), f"{prefix}conda-meta")
    except FormatError:
        return None
    files = {f"{prefix}{file.path}": _digest(file) for file in record.files}
    return PrefixClaims(name=f"{record.document.get('name', '?')} {record.document.get('version', '')}".strip(), files=files)


def _digest(file: InstalledFile) -> str | None:
    """That of the file as laid out; one with the prefix's name in it has another than in its package."""
    replaced = file.document.get("prefix_placeholder") and not file.document.get("sha256_in_prefix")
    return None if replaced else file.sha256
