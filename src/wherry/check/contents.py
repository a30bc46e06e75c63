"""What files hold, told by digest: for `wherry check --files`, which reads everything, once for each layer.

sha256 for what a wheel's RECORD may name, md5 for what dpkg's lists name, and these lists themselves. For a folder of this
machine the same is read when it is asked for.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from wherry.check.facts import HARDLINK, Facts
from wherry.check.tree import LayeredTree
from wherry.formats.tar import EntryKind
from wherry.formats.untar import read_members

CONTENTS_KIND = "contents-3"
_LIST = re.compile(r"(?:.*/)?[^/]+\.dist-info/RECORD|var/lib/dpkg/(?:info|status\.d)/[^/]+\.md5sums|(?:.*/)?conda-meta/[^/]+\.json")
_MAX_LIST = 64 << 20
_PACKAGED = re.compile(r"(?:site|dist)-packages/|(?:^|/)bin/|(?:^|/)(?:opt|srv|home|root|app)/")


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerContents:
    """Of a layer's files, by path. `lists` are the texts of RECORDs, md5sums and conda-meta's records."""

    sha256: dict[str, str] = field(default_factory=dict)
    md5: dict[str, str] = field(default_factory=dict)
    lists: dict[str, str] = field(default_factory=dict)


class Contents(Protocol):
    """What can be asked of a root's files. Paths are resolved already; None where there is no such file."""

    def sha256(self, path: str) -> str | None: ...
    def md5(self, path: str) -> str | None: ...
    def lists(self) -> Mapping[str, str]: ...


def read_contents(chunks: Iterable[bytes], where: str) -> LayerContents:
    """Digest a layer's tar."""
    found = LayerContents()
    for member in read_members(chunks, where, others=True, lenient=True):
        if member.kind is not EntryKind.FILE or not member.path:
            continue
        sha256 = hashlib.sha256() if _PACKAGED.search(member.path) else None
        md5 = None if sha256 and "-packages/" in member.path else hashlib.md5(usedforsecurity=False)
        kept = bytearray() if _LIST.fullmatch(member.path) and member.size <= _MAX_LIST else None
        for chunk in member.content:
            if sha256:
                sha256.update(chunk)
            if md5:
                md5.update(chunk)
            if kept is not None:
                kept += chunk
        if sha256:
            found.sha256[member.path] = sha256.hexdigest()
        if md5:
            found.md5[member.path] = md5.hexdigest()
        if kept is not None:
            found.lists[member.path] = kept.decode("utf-8", "replace")
    return found


class LayeredContents:
    """The contents that a root shows of its layers; `layers` pairs each layer's facts with its contents."""

    def __init__(self, tree: LayeredTree, layers: Iterable[tuple[Facts, LayerContents]]) -> None:
        by_layer = {id(facts): contents for facts, contents in layers}
        self._tree = tree
        self._of = {path: by_layer[id(facts)] for path, facts in tree.gather()}

    def sha256(self, path: str) -> str | None:
        return self._digest(path, "sha256")

    def md5(self, path: str) -> str | None:
        return self._digest(path, "md5")

    def lists(self) -> Mapping[str, str]:
        return {path: contents.lists[path] for path, contents in self._of.items() if path in contents.lists}

    def _digest(self, path: str, algorithm: str) -> str | None:
        entry = self._tree.entries.get(path)
        if entry is None:
            return None
        name = entry.link if entry.kind == HARDLINK else path
        for contents in (self._of[path], self._of.get(name)):
            digests: dict[str, str] = getattr(contents, algorithm) if contents else {}
            if name in digests:
                return digests[name]
        return None


class LocalContents:
    """Files of this machine; `paths` are those that were scanned, counted from `root`."""

    def __init__(self, paths: Iterable[str], root: Path = Path("/")) -> None:
        self._root = root
        self._lists = [path for path in paths if _LIST.fullmatch(path)]

    def sha256(self, path: str) -> str | None:
        return _digest_file(self._root / path, "sha256")

    def md5(self, path: str) -> str | None:
        return _digest_file(self._root / path, "md5")

    def lists(self) -> Mapping[str, str]:
        texts = {}
        for path in self._lists:
            file = self._root / path
            if file.is_file() and file.stat().st_size <= _MAX_LIST:
                texts[path] = file.read_bytes().decode("utf-8", "replace")
        return texts


def _digest_file(path: Path, algorithm: str) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, algorithm).hexdigest()
    except OSError:
        return None
