"""What was found out about a project's files, kept with their stamps: so that a job of a prepared project begins at once.

Only a hint. A stamp (size, times, inode) that changed, or one so young that a change might not show in it, means: look again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wherry.store.posix import write_hint
from wherry.version import VERSION

_GRAIN = 20_000_000  # ns


def recall(cache: Path, root: Path, name: str) -> Any:
    """What was remembered under `name`, if no file that it depends on has changed since; else None."""
    try:
        value = json.loads(_place(cache, root, name).read_bytes())
        if value["wherry"] != VERSION or any(_stamp(root / path) != stamp for path, stamp in value["stamps"]):
            return None
        return value["value"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remember(cache: Path, root: Path, name: str, files: Sequence[str], value: Any, since: int) -> None:
    """Remember what was found out from `files` after `since` (ns). They are relative or absolute; one that is not there counts."""
    stamps = {path: _stamp(root / path) for path in files}
    young = since - _GRAIN
    if all(stamp is None or max(stamp[1], stamp[2]) < young for stamp in stamps.values()):
        document = {"wherry": VERSION, "stamps": list(stamps.items()), "value": value}
        write_hint(_place(cache, root, name), json.dumps(document).encode())


def _place(cache: Path, root: Path, name: str) -> Path:
    return cache / "ready" / f"{hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:32]}-{name}.json"


def _stamp(path: Path) -> list[int] | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]
