"""Which user and group a container runs as, from the image's own passwd and group files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wherry.engines.sandbox import resolve_inside
from wherry.errors import EngineError

_LONGEST = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    uid: int
    gid: int
    home: str


def find_account(root: Path, user: str) -> Account:
    """Read ``[user|uid][:group|gid]`` as docker does; empty is root. An unknown name is an `EngineError`."""
    name, _, group = (user or "0").partition(":")
    entry = next((line for line in _read_table(root, "/etc/passwd", 7) if name in (line[0], line[2])), None)
    if entry is None and not name.isdigit():
        raise EngineError(f"the image has no user {name!r}", hint="give a number with -u")
    uid = int(entry[2]) if entry else int(name)
    gid = int(entry[3]) if entry else 0
    if group:
        gid = _find_group(root, group)
    return Account(uid=uid, gid=gid, home=(entry[5] if entry else "") or "/")


def _find_group(root: Path, group: str) -> int:
    if group.isdigit():
        return int(group)
    for line in _read_table(root, "/etc/group", 4):
        if line[0] == group:
            return int(line[2])
    raise EngineError(f"the image has no group {group!r}", hint="give a number with -u USER:GROUP")


def _read_table(root: Path, table: str, fields: int) -> Iterator[list[str]]:
    path = root / resolve_inside(root, table).lstrip("/")
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file.read(_LONGEST).splitlines():
            parts = line.split(":")
            if len(parts) >= fields and parts[2].isdigit():
                yield parts
