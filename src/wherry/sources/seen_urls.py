"""Where a file was when it was locked: one small JSON file per sha256 under the cache's ``urls``; never committed.

Holds no credential. It is a hint: whoever follows it verifies what comes. A damaged entry is as good as none.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from wherry.formats.urls import strip_credentials
from wherry.model.digest import Digest
from wherry.store.posix import write_hint

_LONGEST = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenFile:
    url: str
    size: int


class SeenUrls:
    def __init__(self, cache: Path) -> None:
        self._folder = cache / "urls"

    def remember(self, sha256: Digest, url: str, size: int) -> None:
        """Best effort: a full disk or a read-only cache costs only the hint."""
        text = json.dumps({"size": size, "url": strip_credentials(url)})
        if len(text) <= _LONGEST:
            write_hint(self._folder / sha256.hex, text.encode())

    def find(self, sha256: Digest) -> SeenFile | None:
        try:
            with (self._folder / sha256.hex).open("rb") as source:
                value = json.loads(source.read(_LONGEST))
            url, size = value["url"], value["size"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        if not isinstance(url, str) or not isinstance(size, int) or isinstance(size, bool) or size <= 0:
            return None
        return SeenFile(url=url, size=size)
